package resolver

import "fmt"

// protectiveFilters are those of harmlessFilters without which a server does more than
// policy lets it: a client that leaves them out troubles nobody else.
var protectiveFilters = map[string]bool{
	filterTypes + "adaptive_concurrency.v3.AdaptiveConcurrency": true,
	filterTypes + "admission_control.v3.AdmissionControl":       true,
	filterTypes + "bandwidth_limit.v3.BandwidthLimit":           true,
	filterTypes + "buffer.v3.Buffer":                            true,
	filterTypes + "local_ratelimit.v3.LocalRateLimit":           true,
	filterTypes + "ratelimit.v3.RateLimit":                      true,
}

// harmless reports whether a filter of the type may be left out.
func (p *path) harmless(url string) bool {
	return harmlessFilters[url] && !(p.decoder.server && protectiveFilters[url])
}

// clientOnly reports whether a server has no use for filters of the type (gRFC A55).
func (p *path) clientOnly(url string) bool {
	return p.decoder.server && url == filterTypes+"stateful_session.v3.StatefulSession"
}

// closeServer has calls fail that would pass a discovered filter which must not be left
// out: the resource of its configuration does not say what it is for.
func closeServer(filters []httpFilter) {
	for i := range filters {
		if f := &filters[i]; f.discovery != nil && f.config == nil && f.missing == "" && !f.discovery.optional && protectiveFilters[f.TypeURL] {
			f.missing = fmt.Sprintf("type %s: %v on servers", f.TypeURL, ErrUnsupported)
		}
	}
}

// serve makes the route of a server, with the filters of its level. Only
// non_forwarding_action is served (gRFC A36); what asks for more fails the call.
func (r *routePolicy) serve(h *virtualHost, at *filterLevel) *Route {
	route := &Route{Name: r.name, VirtualHost: h.name}
	switch {
	case !r.nonForwarding:
		route.err = fmt.Errorf("%s: its action is %w on servers: only non_forwarding_action is", route, ErrUnsupported)
		return route
	case r.changesHeaders:
		// What takes a header away may keep callers from saying who they are.
		route.err = fmt.Errorf("%s: header changes of routes are %w on servers: filters make them", route, ErrUnsupported)
		return route
	case r.unsupportedHTTP != nil: // require_tls
		route.err = fmt.Errorf("%s: %w", route, r.unsupportedHTTP)
		return route
	}
	if chain := route.chain(at, r); len(chain) > 0 {
		route.inbound = &Destination{Change: &Change{route: r, vhost: h.name, filters: chain}}
	}
	return route
}

// Inbound returns what becomes of a request that comes in by a server's route: the
// filters that it passes, as the Change of a destination without a cluster. Nil for none.
func (r *Route) Inbound() (*Destination, error) { return r.inbound, r.err }
