package resolver

import (
	"slices"
	"strings"

	"github.com/weft-mesh/weft/filter"
)

// Change is what a route changes of the calls that it sends to one of its clusters:
// headers of the request and the response, path and host, and the filters before that.
// It is immutable. A nil *Change changes nothing.
type Change struct {
	route   *routePolicy
	vhost   string
	cluster string

	request, response headerMutation
	path              *pathRewrite
	host              *hostRewrite
	clusterHost       *hostRewrite // of the weighted cluster; the route's goes over it
	filters           filter.Chain
	keepsNoOriginals  bool
}

// Rewritten is what a call is to say instead of what the application said.
type Rewritten struct {
	// Path is the path, with a query behind it if policy wrote one there. Empty
	// leaves it.
	Path string
	// Host is the host or authority. Empty leaves it.
	Host string
}

// The headers in which Envoy keeps what it rewrote.
var (
	originalPath  = NewHeaderName("x-envoy-original-path")
	originalHost  = NewHeaderName("x-envoy-original-host")
	forwardedHost = NewHeaderName("x-forwarded-host")
)

// ChangesRequest reports whether Request would do anything to calls of the protocol.
func (c *Change) ChangesRequest(grpc bool) bool {
	return c != nil && (len(c.request) > 0 || c.path != nil || c.host.changes(grpc) || c.clusterHost.changes(grpc))
}

// Request changes the headers of a request, which are h, and returns what else is to
// change. protocol is what %PROTOCOL% stands for. What comes later sees what came
// before, as in Envoy: the headers and the host of the weighted cluster, the headers of
// the other levels, the host and the path of the route. In headers Envoy's rewrites keep
// the originals.
//
// The other levels come in Envoy's order: the route's, the virtual host's, the
// configuration's; or the other way around if most_specific_header_mutations_wins is
// set. The weighted cluster's are the first in any case.
func (c *Change) Request(r *Request, h MutableHeaders, protocol string) (to Rewritten) {
	now := *r
	now.Headers = h
	of := c.subject(&now, protocol)
	of1 := c.request.of(levelCluster)
	c.request[:of1].apply(h, &of)
	byCluster := c.rehost(c.clusterHost, &now, h, &of)
	c.request[of1:].apply(h, &of)
	if c.rehost(c.host, &now, h, &of) || byCluster {
		to.Host = now.Authority
	}
	if c.path != nil {
		if to.Path = c.path.rewrite(r.Path, &of); to.Path != "" {
			old := r.Path
			if r.RawQuery != "" {
				old += "?" + r.RawQuery
			}
			if !c.keepsNoOriginals {
				h.Set(originalPath, old)
			}
		}
	}
	return to
}

// rehost does what w says to the host of the request, and reports whether that is
// anything.
func (c *Change) rehost(w *hostRewrite, now *Request, h MutableHeaders, of *subject) bool {
	if w == nil || w.auto || now.GRPC && !w.grpc {
		return false
	}
	host := w.rewrite(of)
	if host == "" || validHost(host) != nil { // it may come from a header
		return false
	}
	if w == c.host && !now.GRPC { // Envoy notes nothing of the cluster's
		c.keep(now.Authority, h)
	}
	now.Authority = host
	return true
}

// keepNoOriginals has a route's rewrites leave no word of what they replace.
func (r *Route) keepNoOriginals() {
	for i := range r.destinations {
		if to := &r.destinations[i]; to.Change != nil {
			without := *to.Change
			without.keepsNoOriginals = true
			to.Change = &without
		}
	}
}

// AutoHost reports whether the name of a call's endpoint, if it has one, takes the
// place of the host that the call names.
func (c *Change) AutoHost(grpc bool) bool {
	return c != nil && c.host.changes(grpc) && c.host.auto
}

// Rehosted notes the host of an HTTP request which is to go with the name of its
// endpoint instead. Request does so itself where it rewrites the host.
func (c *Change) Rehosted(r *Request, h MutableHeaders) {
	host := r.Authority
	if c.clusterHost != nil {
		host = c.clusterHost.literal
	}
	c.keep(host, h)
}

// keep keeps a host that another takes the place of.
func (c *Change) keep(host string, h MutableHeaders) {
	if !c.keepsNoOriginals {
		h.Set(originalHost, host)
	}
	if !c.host.forwarded {
		return
	}
	list := strings.Join(h.Values(forwardedHost), ",")
	switch {
	case list == "":
		h.Set(forwardedHost, host)
	case list[strings.LastIndexByte(list, ',')+1:] != host:
		h.Set(forwardedHost, list+","+host)
	}
}

// ChangesResponse reports whether Response would do anything.
func (c *Change) ChangesResponse() bool { return c != nil && len(c.response) > 0 }

// Response changes the headers of a response with this HTTP status, which are h. r is
// the request as it was sent, with all that Request changed.
func (c *Change) Response(r *Request, h MutableHeaders, protocol string, status int) {
	of := c.subject(r, protocol)
	of.response, of.status = h, status
	c.response.apply(h, &of)
}

func (c *Change) subject(r *Request, protocol string) subject {
	return subject{request: r, protocol: protocol, route: c.route.name, cluster: c.cluster}
}

// change makes what the levels and the route come to for calls to one cluster; nil if
// nothing. The levels are the most specific first.
func (r *routePolicy) change(vhost string, cluster *weightedName, levels []headerLevel, mostSpecificWins bool) *Change {
	c := &Change{route: r, vhost: vhost, path: r.path, host: r.host}
	if mostSpecificWins {
		levels = slices.Clone(levels)
		slices.Reverse(levels)
	}
	if cluster != nil {
		c.cluster, c.clusterHost = cluster.name, cluster.host
		levels = append([]headerLevel{cluster.headers}, levels...)
	}
	for _, l := range levels {
		c.request = append(c.request, l.request...)
		c.response = append(c.response, l.response...)
	}
	if len(c.request)+len(c.response) == 0 && c.path == nil && c.host == nil && c.clusterHost == nil {
		return nil
	}
	return c
}

// The levels of header changes, which tell their entries in a flat list apart.
const (
	levelConfig uint8 = iota
	levelHost
	levelRoute
	levelCluster
)

// changes makes the changes of all routes, once their levels are known.
func (v *routeConfig) changes(config headerLevel, mostSpecificWins bool) {
	for _, h := range v.hosts {
		for _, r := range h.routes {
			levels := []headerLevel{r.headers, h.headers, config}
			r.changesHeaders = slices.ContainsFunc(levels, headerLevel.changes)
			for i := range r.clusters {
				r.clusters[i].change = r.change(h.name, &r.clusters[i], levels, mostSpecificWins)
			}
			if r.answer != nil {
				if r.answer.to.Change = r.change(h.name, nil, levels, mostSpecificWins); r.answer.to.Change == nil {
					r.answer.to.Change = &Change{route: r, vhost: h.name}
				}
			}
		}
	}
}
