package resolver

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weft-mesh/weft/balancer"
)

// Table is the compiled form of one target's policy: virtual hosts, routes and
// the clusters they name. It is immutable and complete: every cluster it refers to
// had its endpoints, or was known to fail, when the table was published.
type Table struct {
	host *boundHost        // of all calls, where the target says which or there is but one; else nil
	last *balancer.Cluster // of the last route that has one; nil if it has none

	target  TargetName
	version uint64
	err     error

	config   *routeConfig
	hosting  hosting
	hosts    []*boundHost // by virtual host; nil where the target says which
	clusters []*balancer.Cluster
	filters  []Filter
	demanded map[string]*demand // by cluster; those that calls asked for by name
}

// hosting is what a listener says of how authorities are matched.
type hosting struct {
	stripPort    bool   // any port
	stripPortOf  string // this port
	stripLastDot bool
}

func (h *hosting) host(authority string) string {
	if !h.stripPort && h.stripPortOf == "" && !h.stripLastDot {
		return authority
	}
	host, port := splitPort(authority)
	withPort := authority
	if h.stripLastDot && strings.HasSuffix(host, ".") {
		host = host[:len(host)-1]
		withPort = host
		if port != "" {
			withPort += ":" + port
		}
	}
	if h.stripPort || port != "" && port == h.stripPortOf {
		return host
	}
	return withPort
}

// tableSpec is what a table is made of.
type tableSpec struct {
	demands           *demands
	demanded          []string // clusters that calls asked for by name
	target            TargetName
	config            *routeConfig
	hosting           hosting
	maxStreamDuration time.Duration
	streamIdleTimeout time.Duration
	filters           []httpFilter
	keepsNoOriginals  bool
}

// virtualHosts returns those that the target's calls may be for.
func (s *tableSpec) virtualHosts() []*virtualHost {
	if s.target.Authority == "" {
		return s.config.hosts
	}
	if h := s.config.index.find(s.hosting.host(s.target.Authority)); h != nil {
		return []*virtualHost{h}
	}
	return nil
}

// clusters returns the names of the clusters that the table will refer to, sorted.
func (s *tableSpec) clusters() []string {
	if s.target.Server {
		return nil
	}
	names := make(map[string]bool)
	for _, h := range s.virtualHosts() {
		h.clusters(names)
	}
	for _, name := range s.demanded {
		names[name] = true
	}
	delete(names, "") // where calls name the cluster
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// build returns the table.
func (s *tableSpec) build(version uint64, cluster func(name string) *balancer.Cluster) *Table {
	t := &Table{
		target:  s.target,
		version: version,
		config:  s.config,
		hosting: s.hosting,
	}
	if s.target.Authority == "" {
		t.hosts = make([]*boundHost, len(s.config.hosts))
	}
	if s.demands != nil {
		t.demanded = s.demands.inTable(s.demanded)
	}
	for _, name := range s.clusters() {
		t.clusters = append(t.clusters, cluster(name))
	}
	for _, f := range s.filters {
		t.filters = append(t.filters, f.Filter)
	}
	filters := newFilterLevel(s.filters).under(s.config.filters)
	for _, h := range s.virtualHosts() {
		hostFilters := filters.under(h.filters)
		routes := make([]*Route, len(h.routes))
		for i, p := range h.routes {
			if s.target.Server {
				routes[i] = p.serve(h, hostFilters.under(p.filters))
				continue
			}
			routes[i] = p.bind(h, s.maxStreamDuration, cluster)
			if !p.timeouts.idle.set {
				routes[i].IdleTimeout = s.streamIdleTimeout
			}
			routes[i].filter(p, hostFilters.under(p.filters))
			if s.keepsNoOriginals {
				routes[i].keepNoOriginals()
			}
			routes[i].settle()
		}
		if n := len(routes); n > 0 && len(routes[n-1].destinations) > 0 {
			t.last = routes[n-1].destinations[0].Cluster
		}
		bound := &boundHost{virtualHost: h, bound: routes, ignoreParams: s.config.ignoreParams}
		if t.hosts != nil {
			t.hosts[h.ordinal] = bound
		}
		if t.hosts == nil || s.config.index.only() == h {
			t.host = bound
		}
	}
	return t
}

// errorTable returns a table that stands for an error.
func errorTable(target TargetName, version uint64, err error) *Table {
	return &Table{target: target, version: version, err: err}
}

// Route returns the route for a request: the best virtual host for its
// authority, and in it the first route that matches.
//
// The error is what the target's policy says of the call: [ErrNoRoute] when
// nothing matches; [ErrUnsupported] when an HTTP request matches a route that
// would have to change it in a way that is not supported; or, in the table of a
// target whose listener or route configuration cannot be had, why. Route allocates
// nothing when it succeeds, unless a header that decides was sent several times,
// and may be called from any number of goroutines.
func (t *Table) Route(r *Request) (*Route, error) {
	h := t.host
	if h == nil {
		var err error
		if h, err = t.hostOf(r); err != nil {
			return nil, err
		}
	}
	path := r.Path
	if h.ignoreParams {
		path = withoutParams(r.escape())
	}
	kept := h.recall.Load()
	if kept == nil {
		kept = h.remember()
	}
	var route *Route
	place := kept.placeOf(path)
	if known := place.Load(); known != nil && known.path == path {
		r.Unescaped = false // Path is the same escaped
		if known.decides(r) {
			route = known.sure
			if t.host != nil && !h.ignoreParams && route != nil && route.errHTTP == nil {
				r.last = recollection{t, r.Path, route, known.keys}
			}
		} else {
			route = h.among(known, r, path)
		}
	} else {
		route = h.search(r, path, place)
	}
	if route == nil {
		return nil, t.unrouted(h, r)
	}
	if route.errHTTP != nil && !r.GRPC {
		return nil, route.errHTTP
	}
	return route, nil
}

// Again returns the Route of a Request that is used for one call after the other where that is
// known from the last time: the same table was asked for the same path, which is as it goes on
// the wire, and goes by nothing else of requests for it but headers. Nil says nothing, as it
// does of one that has any of those that [Request.Heeds] tells of: ask Route.
func (t *Table) Again(r *Request) *Route {
	if r.last.table == t && r.last.path == r.Path {
		return r.last.route
	}
	return nil
}

// unrouted is why a request to a virtual host has no route.
func (t *Table) unrouted(h *boundHost, r *Request) error {
	return fmt.Errorf("%w in virtual host %q of route configuration %q for %s %s (target %s, table %d)",
		ErrNoRoute, h.name, t.config.name, r.method(), r.Path, t.target, t.version)
}

// hostOf returns the virtual host for a request's authority.
func (t *Table) hostOf(r *Request) (*boundHost, error) {
	if t.err != nil {
		return nil, t.err
	}
	authority := t.target.Authority
	if t.hosts != nil {
		authority = r.Authority
		if h := t.config.index.find(t.hosting.host(authority)); h != nil {
			return t.hosts[h.ordinal], nil
		}
	}
	return nil, fmt.Errorf("%w: no virtual host of route configuration %q is for %q (target %s, table %d)",
		ErrNoRoute, t.config.name, authority, t.target, t.version)
}

// Clusters returns the clusters that the table refers to, each once, by name. The
// slice must not be changed.
func (t *Table) Clusters() []*balancer.Cluster { return t.clusters }

// Calls is where the calls of the table are best counted, of those that there are at the
// limits of its clusters: at the one whose limits most of the calls count at anyway, for all
// that can be told. That is the last route's, which takes what no other takes. Nil if it has
// none, or if there is no table.
func (t *Table) Calls() *atomic.Int64 {
	if t == nil || t.last == nil {
		return nil
	}
	return t.last.Limits().Calls()
}

// Filters returns the listener's HTTP filters in order, less the router. The slice
// must not be changed.
func (t *Table) Filters() []Filter { return t.filters }

// Target returns what the table is made of.
func (t *Table) Target() TargetName { return t.target }

// Version counts the tables of a target from 1.
func (t *Table) Version() uint64 { return t.version }

// Err is not nil when the table stands for an error: every Route returns it.
func (t *Table) Err() error { return t.err }
