package xdsserver

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// request is what the server reads of a DiscoveryRequest or DeltaDiscoveryRequest.
// Requests are read from the wire by hand because nearly all of them are ACKs:
// a state-of-the-world client repeats every name it subscribed with each of them,
// and telling by a hash that the names are those of the last request costs no
// allocation, where decoding them costs one each.
type request struct {
	typeURL string
	nonce   string
	node    []byte         // still encoded: only a stream's first is looked at
	nack    *status.Status // nil for an ACK and for a request that answers nothing

	// State of the world: resource_names, still encoded, and a hash of them.
	raw         []byte
	namesDigest uint64

	// Delta.
	subscribe, unsubscribe []string
	held                   map[string]string // initial_resource_versions
}

// Field numbers of envoy.service.discovery.v3.DiscoveryRequest.
const (
	sotwNode        protowire.Number = 2
	sotwNames       protowire.Number = 3
	sotwTypeURL     protowire.Number = 4
	sotwNonce       protowire.Number = 5
	sotwErrorDetail protowire.Number = 6
)

// Field numbers of envoy.service.discovery.v3.DeltaDiscoveryRequest.
const (
	deltaNode        protowire.Number = 1
	deltaTypeURL     protowire.Number = 2
	deltaSubscribe   protowire.Number = 3
	deltaUnsubscribe protowire.Number = 4
	deltaHeld        protowire.Number = 5
	deltaNonce       protowire.Number = 6
	deltaErrorDetail protowire.Number = 7
)

const digestFactor = 0x9e3779b97f4a7c15 // odd, so that no factor loses a bit

func parseSotW(raw []byte) (*request, error) {
	req := &request{raw: raw}
	err := eachField(raw, func(num protowire.Number, value []byte) (err error) {
		switch num {
		case sotwNode:
			req.node = value
		case sotwNames:
			// A polynomial of the names' hashes: it tells their order, too.
			req.namesDigest = (req.namesDigest + xxhash.Sum64(value)) * digestFactor
		case sotwTypeURL:
			req.typeURL, err = typeURLString(value)
		case sotwNonce:
			req.nonce, err = text(value)
		case sotwErrorDetail:
			req.nack, err = parseStatus(value)
		}
		return err
	})
	return req, err
}

// names decodes resource_names.
func (req *request) names() ([]string, error) {
	var names []string
	err := eachField(req.raw, func(num protowire.Number, value []byte) error {
		if num != sotwNames {
			return nil
		}
		name, err := text(value)
		names = append(names, name)
		return err
	})
	return names, err
}

func parseDelta(raw []byte) (*request, error) {
	req := &request{}
	err := eachField(raw, func(num protowire.Number, value []byte) (err error) {
		var name string
		switch num {
		case deltaNode:
			req.node = value
		case deltaTypeURL:
			req.typeURL, err = typeURLString(value)
		case deltaSubscribe:
			name, err = text(value)
			req.subscribe = append(req.subscribe, name)
		case deltaUnsubscribe:
			name, err = text(value)
			req.unsubscribe = append(req.unsubscribe, name)
		case deltaHeld:
			err = req.addHeld(value)
		case deltaNonce:
			req.nonce, err = text(value)
		case deltaErrorDetail:
			req.nack, err = parseStatus(value)
		}
		return err
	})
	return req, err
}

// addHeld decodes one entry of initial_resource_versions.
func (req *request) addHeld(entry []byte) error {
	var name, version string
	err := eachField(entry, func(num protowire.Number, value []byte) (err error) {
		switch num {
		case 1:
			name, err = text(value)
		case 2:
			version, err = text(value)
		}
		return err
	})
	if req.held == nil {
		req.held = make(map[string]string)
	}
	req.held[name] = version
	return err
}

var errTruncated = errors.New("truncated message")

// eachField calls f with every length-delimited field of a message. The server
// reads no others.
func eachField(raw []byte, f func(num protowire.Number, value []byte) error) error {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return errTruncated
		}
		raw = raw[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, raw); n < 0 {
				return errTruncated
			}
			raw = raw[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(raw)
		if n < 0 {
			return errTruncated
		}
		if err := f(num, value); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
		raw = raw[n:]
	}
	return nil
}

func text(value []byte) (string, error) {
	if !utf8.Valid(value) {
		return "", errors.New("string is not valid UTF-8")
	}
	return string(value), nil
}

// typeURLString allocates nothing for the types that are in every request.
func typeURLString(value []byte) (string, error) {
	if typeURL, ok := knownTypes[string(value)]; ok {
		return typeURL, nil
	}
	return text(value)
}

func parseStatus(value []byte) (*status.Status, error) {
	st := new(status.Status)
	return st, proto.Unmarshal(value, st)
}
