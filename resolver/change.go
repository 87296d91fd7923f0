package resolver

import (
	"slices"

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
	filters           filter.Chain
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
	return c != nil && (len(c.request) > 0 || c.path != nil || c.host != nil && (!grpc || c.host.grpc))
}

// Request changes the headers of a request, which are h, and returns what else is to
// change. protocol is what %PROTOCOL% stands for. The headers come first, then the
// host, then the path, as in Envoy, and in headers Envoy's rewrites keep the originals.
//
// The levels of headers come in Envoy's order: the weighted cluster's, the route's,
// the virtual host's, the configuration's; or the other way around if
// most_specific_header_mutations_wins is set.
func (c *Change) Request(r *Request, h MutableHeaders, protocol string) Rewritten {
	of := c.subject(r, protocol)
	of.headers = h
	c.request.apply(h, &of)
	var to Rewritten
	if w := c.host; w != nil && !w.auto && (!r.GRPC || w.grpc) {
		host := w.rewrite(&of)
		if validHost(host) == nil { // it may come from a header
			to.Host = host
		}
	}
	if to.Host != "" && !r.GRPC {
		c.Rehosted(r, h)
	}
	if c.path != nil {
		to.Path = c.path.rewrite(r.Path, &of)
		old := r.Path
		if r.RawQuery != "" {
			old += "?" + r.RawQuery
		}
		h.Set(originalPath, old)
	}
	return to
}

// AutoHost reports whether the name of a call's endpoint, if it has one, takes the
// place of the host that the call names.
func (c *Change) AutoHost(grpc bool) bool {
	return c != nil && c.host != nil && c.host.auto && (!grpc || c.host.grpc)
}

// Rehosted notes the host that the application named in the headers of an HTTP
// request to another. Request does so itself.
func (c *Change) Rehosted(r *Request, h MutableHeaders) {
	h.Set(originalHost, r.Authority)
	if !c.host.forwarded {
		return
	}
	if values := h.Values(forwardedHost); len(values) == 0 || values[len(values)-1] != r.Authority {
		h.Add(forwardedHost, r.Authority)
	}
}

// ChangesResponse reports whether Response would do anything.
func (c *Change) ChangesResponse() bool { return c != nil && len(c.response) > 0 }

// Response changes the headers of a response with this HTTP status, which are h.
// %REQ(...)% in their values is what the application sent.
func (c *Change) Response(r *Request, h MutableHeaders, protocol string, status int) {
	of := c.subject(r, protocol)
	of.response, of.status = h, status
	c.response.apply(h, &of)
}

func (c *Change) subject(r *Request, protocol string) subject {
	return subject{request: r, protocol: protocol, route: c.route.name, host: c.vhost, cluster: c.cluster}
}

// change makes what the levels and the route come to for calls to one cluster; nil if
// nothing. The levels are the most specific first.
func (r *routePolicy) change(vhost, cluster string, host *hostRewrite, levels []headerLevel, mostSpecificWins bool) *Change {
	c := &Change{route: r, vhost: vhost, cluster: cluster, path: r.path, host: host}
	if mostSpecificWins {
		levels = slices.Clone(levels)
		slices.Reverse(levels)
	}
	for _, l := range levels {
		c.request = append(c.request, l.request...)
		c.response = append(c.response, l.response...)
	}
	if len(c.request)+len(c.response) == 0 && c.path == nil && c.host == nil {
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
			levels := []headerLevel{{}, r.headers, h.headers, config}
			for i := range r.clusters {
				c := &r.clusters[i]
				levels[0] = c.headers
				host := r.host
				if c.host != nil {
					host = c.host
				}
				c.change = r.change(h.name, c.name, host, levels, mostSpecificWins)
			}
			if r.answer != nil {
				if r.answer.change = r.change(h.name, "", nil, levels[1:], mostSpecificWins); r.answer.change == nil {
					r.answer.change = &Change{route: r, vhost: h.name}
				}
			}
		}
	}
}
