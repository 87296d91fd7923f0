package policy

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// inboundPrefix begins the names of servers, in filters and routes and as listeners. The
// slash keeps them apart from the names that clients dial.
const inboundPrefix = "inbound/"

// inbound returns the server that a name in filters or routes is for.
func inbound(name string) (server string, ok bool) { return strings.CutPrefix(name, inboundPrefix) }

// servers are the names of servers that have filters or routes, with the prefix, sorted.
func (s *scope) servers() []string {
	var all []string
	for name := range concat(maps.Keys(s.policy.Filters), maps.Keys(s.policy.Routes)) {
		if _, ok := inbound(name); ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// inboundName checks the name of a server.
func (v *validator) inboundName(p path, name string) {
	server, _ := inbound(name)
	v.name(p, "server", server)
}

// inboundRoute checks a route of a server, which has the calls already: it says which,
// and what filters make of them.
func (v *validator) inboundRoute(p path, name string, r *Route) {
	if r.Match != nil {
		v.match(p.field("match"), r.Match)
	}
	v.filterOverrides(p.field("filters"), name, r.Filters)
	v.fault(p.field("fault"), name, r.Fault, true)
	v.rateLimit(p.field("rateLimit"), r.RateLimit, true)
	for _, one := range []struct {
		name string
		is   bool
	}{
		{"to", r.To != nil}, {"toHeader", r.ToHeader != ""}, {"mirror", len(r.Mirror) > 0}, {"redirect", r.Redirect != nil},
		{"respond", r.Respond != nil}, {"rewrite", r.Rewrite != nil}, {"headers", r.Headers != nil}, {"session", r.Session != nil},
		{"hash", len(r.Hash) > 0}, {"timeout", r.Timeout != nil}, {"maxStreamDuration", r.MaxStreamDuration != nil}, {"idleTimeout", r.IdleTimeout != nil},
	} {
		if one.is {
			v.nameErrorf(p.field(one.name), "%q is for the routes of clients: those of a server have name, match, fault, rateLimit and filters", one.name)
		}
	}
}

// inboundListener is the listener of a server (gRFC A36), with its routes.
func (c *compiler) inboundListener(name string) *listenerv3.Listener {
	vh := &routev3.VirtualHost{Name: name, Domains: []string{"*"}}
	routes := c.scope.policy.Routes[name]
	if routes == nil {
		routes = []*Route{{}}
	}
	for _, r := range routes {
		vh.Routes = append(vh.Routes, &routev3.Route{
			Name:                 r.Name,
			Match:                routeMatch(r.Match),
			TypedPerFilterConfig: c.overrides(name, r),
			Action:               &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
		})
	}
	return &listenerv3.Listener{
		Name:    name,
		Address: inboundAddress(name),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&hcmv3.HttpConnectionManager{
				StatPrefix: name,
				RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{
					RouteConfig: &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{vh}},
				},
				HttpFilters: httpFilters(c.filters(name), false),
			})},
		}}}},
	}
}

// inboundAddress is the address of a server that is named by it, as gRPC's are.
func inboundAddress(name string) *corev3.Address {
	server, _ := inbound(name)
	host, port, err := net.SplitHostPort(server)
	if err != nil || net.ParseIP(host) == nil {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(n)},
	}}}
}
