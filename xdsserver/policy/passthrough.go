package policy

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// UnknownHosts is what becomes of requests to hosts that policy does not name.
type UnknownHosts string

// What to do with unknown hosts.
const (
	Deny        UnknownHosts = "deny"
	Passthrough UnknownHosts = "passthrough"
)

func (UnknownHosts) values() []string { return []string{string(Deny), string(Passthrough)} }

// The resources for hosts that policy does not name. The slash keeps their names
// apart from those of services. A client asks for the listener when it is told that a
// host has none of its own.
const (
	unknownHostsName = "weft/unknown-hosts"
	passthroughName  = "weft/passthrough"
)

// passthroughTo is what a route's to calls the cluster.
const passthroughTo = "passthrough"

// passesThrough reports whether anything goes to the address that its caller named.
func (s *scope) passesThrough() bool {
	if s.policy.UnknownHosts == Passthrough {
		return true
	}
	for host, routes := range s.policy.Routes {
		for _, r := range routes {
			names := maps.Keys(r.To)
			for _, m := range r.Mirror {
				names = concat(names, slices.Values([]string{m.To}))
			}
			for name := range names {
				if found := s.destinations(host, name); len(found) == 1 && found[0].cluster == passthroughName {
					return true
				}
			}
		}
	}
	return false
}

// unknownHosts adds the routes of unknown hosts. To deny them takes resources, too: a
// client keeps what it has when a resource is deleted (gRFC A88).
func (c *compiler) unknownHosts() {
	var routes []*Route
	switch c.scope.policy.UnknownHosts {
	case "":
		return
	case Passthrough:
		routes = []*Route{{To: Destinations{passthroughTo: 1}}}
	}
	c.add(c.listener(unknownHostsName))
	c.add(c.routesOf(unknownHostsName, routes))
}

// passthrough adds the cluster of calls that go to the address that the caller named,
// in the protocol that the caller speaks.
func (c *compiler) passthrough() {
	if !c.scope.passesThrough() {
		return
	}
	c.add(&clusterv3.Cluster{
		Name:                 passthroughName,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&upstreamv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
					UseDownstreamProtocolConfig: &upstreamv3.HttpProtocolOptions_UseDownstreamHttpConfig{
						HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
						Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
					},
				},
			}),
		},
	})
}
