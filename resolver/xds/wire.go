package xds

import (
	"errors"
	"fmt"
	"unicode/utf8"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Responses are read field by field rather than by the generated messages, for
// two reasons: a resource that is malformed leaves the others readable, and the
// resources that turn out to be the ones held already are never copied.

// fields calls f with each length-delimited field of a message and skips others.
func fields(b []byte, f func(num protowire.Number, value []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(num, value); err != nil {
			return err
		}
	}
	return nil
}

var errNotUTF8 = errors.New("string is not valid UTF-8")

func text(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", errNotUTF8
	}
	return string(b), nil
}

// The fields of google.protobuf.Any.
const (
	anyTypeURL = 1
	anyValue   = 2
)

// wrapperURL is the type of a Resource that wraps the actual one in SotW.
const wrapperURL = "type.googleapis.com/envoy.service.discovery.v3.Resource"

func parseAny(b []byte, it *item) error {
	if it.body == nil {
		it.body = []byte{}
	}
	return fields(b, func(num protowire.Number, b []byte) error {
		switch num {
		case anyTypeURL:
			it.typeURL = b
		case anyValue:
			it.body = b
		}
		return nil
	})
}

func parseAnyOrResource(b []byte, it *item) error {
	if err := parseAny(b, it); err != nil {
		return err
	}
	if string(it.typeURL) != wrapperURL {
		return nil
	}
	wrapped := it.body
	*it = item{}
	if err := parseResource(wrapped, it); err != nil {
		return err
	}
	if it.body == nil && it.name == "" {
		return errNameless
	}
	return nil
}

// The fields of envoy.service.discovery.v3.Resource.
const (
	resourceVersion      = 1
	resourceResource     = 2
	resourceName         = 3
	resourceTTL          = 6
	resourceResourceName = 8
)

func parseResource(b []byte, it *item) error {
	var ttl *durationpb.Duration
	err := fields(b, func(num protowire.Number, b []byte) (err error) {
		switch num {
		case resourceVersion:
			it.version, err = text(b)
		case resourceResource:
			err = parseAny(b, it)
		case resourceName:
			it.name, err = text(b)
		case resourceResourceName:
			var name string
			if name, err = parseResourceName(b); name != "" {
				it.name = name
			}
		case resourceTTL:
			if ttl == nil {
				ttl = &durationpb.Duration{}
			}
			err = proto.UnmarshalOptions{Merge: true}.Unmarshal(b, ttl)
		}
		return err
	})
	it.name = canonicalName(it.name)
	if err != nil {
		return err
	}
	if ttl != nil {
		if err := ttl.CheckValid(); err != nil {
			return fmt.Errorf("ttl: %w", err)
		}
		if it.ttl = ttl.AsDuration(); it.ttl <= 0 {
			return fmt.Errorf("ttl: %v is not positive", it.ttl)
		}
	}
	return nil
}

// parseResourceName reads the name in an envoy.service.discovery.v3.ResourceName.
// Its parameter constraints are for variants of a resource that were not asked for.
func parseResourceName(b []byte) (name string, err error) {
	err = fields(b, func(num protowire.Number, b []byte) (err error) {
		if num == 1 {
			name, err = text(b)
		}
		return err
	})
	return name, err
}

// refuse adds an entry of resource_errors. One that cannot be read is left out:
// it cannot be answered for, and the resource's own time still runs.
func (r *response) refuse(b []byte) {
	var e discoveryv3.ResourceError
	if proto.Unmarshal(b, &e) != nil {
		return
	}
	r.refused = append(r.refused, refusal{
		name:    canonicalName(e.GetResourceName().GetName()),
		code:    codes.Code(e.GetErrorDetail().GetCode()),
		message: e.GetErrorDetail().GetMessage(),
	})
}
