package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// sotwDialect is xDS by the state of the world.
type sotwDialect struct{}

func (sotwDialect) protocol() Protocol { return ProtocolSotW }
func (sotwDialect) method() string     { return SotWMethod }

func (sotwDialect) absentIsRemoved(t ResourceType) bool { return t.AllRequiredInSotW }

// request says everything there is to say of a type: all names, the last good
// version, the last nonce. Of several answers that wait only the last counts.
func (sotwDialect) request(s *subscription, node *corev3.Node) (proto.Message, []*entry) {
	ask, drop := s.settle()
	if len(ask) == 0 && len(drop) == 0 && len(s.acks) == 0 {
		return nil, nil
	}
	r := &discoveryv3.DiscoveryRequest{
		Node:          node,
		TypeUrl:       s.typ.URL,
		ResourceNames: s.watched(),
		ResponseNonce: s.nonce,
	}
	if s.begun || allHeld(ask) {
		r.VersionInfo = s.version
	}
	if len(s.acks) > 0 {
		r.ErrorDetail = s.acks[len(s.acks)-1].errorDetail()
		s.acks = nil
	}
	return r, ask
}

// allHeld reports whether the version of the last stream may be claimed on a new
// one: a server need send nothing to a client that claims the newest.
func allHeld(entries []*entry) bool {
	for _, e := range entries {
		if e.held == nil || e.state != ResourceAcked {
			return false
		}
	}
	return true
}

// The fields of envoy.service.discovery.v3.DiscoveryResponse.
const (
	sotwVersionInfo    = 1
	sotwResources      = 2
	sotwTypeURL        = 4
	sotwNonce          = 5
	sotwResourceErrors = 7
)

func (sotwDialect) parse(b []byte) (*response, error) {
	r := &response{}
	err := fields(b, func(num protowire.Number, b []byte) (err error) {
		switch num {
		case sotwVersionInfo:
			r.version, err = text(b)
		case sotwResources:
			var it item
			it.err = parseAnyOrResource(b, &it)
			r.items = append(r.items, it)
		case sotwTypeURL:
			r.typeURL, err = text(b)
		case sotwNonce:
			r.nonce, err = text(b)
		case sotwResourceErrors:
			r.refuse(b)
		}
		return err
	})
	for i := range r.items {
		if it := &r.items[i]; it.version == "" {
			it.version = r.version
		}
	}
	return r, err
}
