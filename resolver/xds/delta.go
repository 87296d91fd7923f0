package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// deltaDialect is incremental xDS.
type deltaDialect struct{}

func (deltaDialect) protocol() Protocol                { return ProtocolDelta }
func (deltaDialect) method() string                    { return DeltaMethod }
func (deltaDialect) absentIsRemoved(ResourceType) bool { return false }

// request sends each answer in a request of its own, as the protocol wants it,
// and with the first of them all that changed in what is asked for.
func (deltaDialect) request(s *subscription, node *corev3.Node) (proto.Message, []*entry) {
	ask, drop := s.settle()
	if len(ask) == 0 && len(drop) == 0 && len(s.acks) == 0 {
		return nil, nil
	}
	r := &discoveryv3.DeltaDiscoveryRequest{
		Node:                     node,
		TypeUrl:                  s.typ.URL,
		ResourceNamesUnsubscribe: drop,
	}
	for _, e := range ask {
		r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, e.name)
	}
	if !s.begun {
		r.InitialResourceVersions = initialVersions(ask)
	}
	if len(s.acks) > 0 {
		a := s.acks[0]
		s.acks = s.acks[1:]
		r.ResponseNonce, r.ErrorDetail = a.nonce, a.errorDetail()
	}
	return r, ask
}

// initialVersions claims what is held, so that the server leaves it out. What has
// no version (istiod's resources) or was deleted and kept all the same is not
// claimed: the server shall say anew what it is.
func initialVersions(entries []*entry) map[string]string {
	versions := make(map[string]string)
	for _, e := range entries {
		if e.held != nil && e.held.Version != "" && e.state != ResourceDoesNotExist {
			versions[e.name] = e.held.Version
		}
	}
	return versions
}

// The fields of envoy.service.discovery.v3.DeltaDiscoveryResponse.
const (
	deltaResources            = 2
	deltaTypeURL              = 4
	deltaNonce                = 5
	deltaRemovedResources     = 6
	deltaRemovedResourceNames = 8
	deltaResourceErrors       = 9
)

func (deltaDialect) parse(b []byte) (*response, error) {
	r := &response{}
	err := fields(b, func(num protowire.Number, b []byte) (err error) {
		switch num {
		case deltaResources:
			var it item
			if it.err = parseResource(b, &it); it.err == nil && it.name == "" {
				it.err = errNameless
			}
			r.items = append(r.items, it)
		case deltaTypeURL:
			r.typeURL, err = text(b)
		case deltaNonce:
			r.nonce, err = text(b)
		case deltaRemovedResources:
			r.removed = append(r.removed, canonicalName(string(b)))
		case deltaRemovedResourceNames:
			var name string
			if name, err = parseResourceName(b); err == nil {
				r.removed = append(r.removed, canonicalName(name))
			}
		case deltaResourceErrors:
			r.refuse(b)
		}
		return err
	})
	return r, err
}
