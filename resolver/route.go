package resolver

import (
	"fmt"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/internal/weighted"
	"github.com/weft-mesh/weft/resilience"
)

// Route is one route of a table: what policy says of the calls that match it
// (envoy.config.route.v3.Route). It is immutable, but for Pick's turns.
type Route struct {
	// Name is the route's name in policy; may be empty.
	Name string
	// VirtualHost is the name of the virtual host that it stands in.
	VirtualHost string
	// NotFound is the HTTP status that stands for a cluster which does not exist: 503,
	// unless policy says 404 or 500 (cluster_not_found_response_code).
	NotFound int

	// What each call asks for is together from here on.

	// Timeout bounds an HTTP call from the request's end to the response's end
	// (RouteAction.timeout). Zero means no bound; where policy does not say, it is
	// Envoy's default of 15 s. It does not apply to gRPC (gRFC A31).
	Timeout time.Duration
	// MaxStreamDuration bounds a call from its first to its last byte
	// (RouteAction.max_stream_duration, else the listener's
	// common_http_protocol_options). Zero means no bound. For gRPC use GRPCTimeout.
	MaxStreamDuration time.Duration
	// GRPCTimeout is the longest a gRPC call may take, by gRFC A31:
	// grpc_timeout_header_max if policy has it, else MaxStreamDuration. Zero
	// leaves the application's deadline alone; it never extends one.
	GRPCTimeout time.Duration
	// IdleTimeout bounds the time in which nothing comes or goes of a call
	// (RouteAction.idle_timeout, else the listener's stream_idle_timeout). Zero means no
	// bound, which is what holds where policy says nothing: Envoy's five minutes guard a
	// proxy against callers that went away, and here the caller is the process itself.
	IdleTimeout time.Duration

	only     *Destination // if that is all there is to Pick, as it is of an answer; else nil
	answer   *Answer
	policy   *resilience.Policy  // of attempts
	priority resilience.Priority // likewise
	errHTTP  error

	// And what few ask for.
	destinations []Destination
	turns        *weighted.Schedule // nil if there is one destination
	hash         []hashRule
	mirrors      []Mirror
	attempts     *attempts
	err          error
	inbound      *Destination // of a server's route; nil for nothing
}

// Destination is where a route sends a call. It is immutable.
type Destination struct {
	// Cluster is nil if the call names it itself: ClusterName.
	Cluster *balancer.Cluster

	plain  bool
	direct bool
	bare   bool

	// Change is what is to be changed of the call, nil for nothing.
	Change *Change
	// Subset is what the call asks of the labels of its endpoint, nil for nothing: the
	// route's metadata_match and, over it, that of the weighted cluster.
	Subset *balancer.Criteria

	header *headerRef
}

// NamedByCall reports whether the call says which cluster.
func (d *Destination) NamedByCall() bool { return d.header != nil }

// Plain reports whether there is nothing in policy to do for a call between its
// routing and its end but to send it, again where policy has it tried again, within its
// timeouts: no filter sees it, nothing of it or of its answer changes, no attempt is numbered,
// no copy is sent, nothing of it says which endpoint it goes to, and no time without
// progress ends it.
func (d *Destination) Plain() bool { return d.plain }

// Direct reports whether a call is Plain, and none of its attempts has a bound of its own
// or others beside it: as long as it succeeds, there is no more to it than one attempt.
func (d *Destination) Direct() bool { return d.direct }

// Bare reports whether an HTTP call is Direct and has no timeout.
func (d *Destination) Bare() bool { return d.bare }

// ClusterName is the name of the cluster that a header of the call gives, where policy
// leaves that to the call (RouteAction.cluster_header); empty if it gives none.
func (d *Destination) ClusterName(r *Request) string { return d.header.clusterName(r) }

// bind gives a route its clusters.
func (r *routePolicy) bind(h *virtualHost, maxStreamDuration time.Duration, cluster func(name string) *balancer.Cluster) *Route {
	route := &Route{
		Name:              r.name,
		VirtualHost:       h.name,
		Timeout:           r.timeouts.timeout,
		MaxStreamDuration: maxStreamDuration,
		IdleTimeout:       r.timeouts.idle.d,
		NotFound:          r.notFound,
		hash:              r.hash,
		mirrors:           r.bindMirrors(cluster),
		attempts:          &r.attempts,
		policy:            r.attempts.policy,
		priority:          r.attempts.priority,
	}
	if d := r.timeouts.maxStreamDuration; d.set {
		route.MaxStreamDuration = d.d
	}
	route.GRPCTimeout = route.MaxStreamDuration
	if d := r.timeouts.grpcTimeoutHeaderMax; d.set {
		route.GRPCTimeout = d.d
	}
	if r.unsupported != nil {
		route.err = fmt.Errorf("%s: %w", route, r.unsupported)
	}
	if r.unsupportedHTTP != nil {
		route.errHTTP = fmt.Errorf("%s: %w", route, r.unsupportedHTTP)
	}
	weights := make([]uint32, len(r.clusters))
	route.destinations = make([]Destination, len(r.clusters))
	for i, c := range r.clusters {
		route.destinations[i] = Destination{Change: c.change, Subset: c.subset, header: c.header}
		if c.header == nil {
			route.destinations[i].Cluster = cluster(c.name)
		}
		weights[i] = c.weight
	}
	route.answer = r.answer
	if len(weights) > 1 {
		route.turns = weighted.New(weights)
	}
	return route
}

// settle is called when the route is complete.
func (r *Route) settle() {
	request, response := r.CountsAttempts()
	plain := len(r.hash) == 0 && len(r.mirrors) == 0 && r.IdleTimeout == 0 && !request && !response
	for i := range r.destinations {
		to := &r.destinations[i]
		to.plain = plain && to.Change == nil && to.Subset == nil
		to.direct = to.plain && !r.Attempts().Cuts()
		to.bare = to.direct && r.Timeout == 0 && r.MaxStreamDuration == 0
	}
	switch {
	case r.answer != nil:
		r.only = &r.answer.to
	case r.err == nil && len(r.destinations) == 1:
		r.only = &r.destinations[0]
	}
}

// Answer is what the route answers itself, or nil if it has clusters.
func (r *Route) Answer() *Answer { return r.answer }

// Pick returns where one call goes: to the route's cluster, or to one of its weighted
// clusters in exact proportion over a window. Once per call: the attempts of a call
// stay with its cluster (gRFC A31). An Answer has a destination without one.
//
// It fails with [ErrUnsupported] when the route's action is not one that sends
// the call to a cluster.
func (r *Route) Pick() (*Destination, error) {
	if r.only != nil {
		return r.only, nil
	}
	return r.pick()
}

// GoesTo returns where Pick says that every call goes; nil if there is more to it.
func (r *Route) GoesTo() *Destination { return r.only }

func (r *Route) pick() (*Destination, error) {
	if r.err != nil {
		return nil, r.err
	}
	if len(r.destinations) == 0 {
		return nil, fmt.Errorf("%w: %s is a server's", ErrUnsupported, r)
	}
	i := 0
	if r.turns != nil {
		i = r.turns.Next()
	}
	return &r.destinations[i], nil
}

// To returns where the route sends a call to a cluster of this name, if it sends calls
// there; else nil.
func (r *Route) To(cluster string) *Destination {
	for i := range r.destinations {
		if d := &r.destinations[i]; d.Cluster != nil && d.Cluster.Name() == cluster {
			return d
		}
	}
	return nil
}

// String names the route for people.
func (r *Route) String() string {
	if r.Name == "" {
		return fmt.Sprintf("a route of virtual host %q", r.VirtualHost)
	}
	return fmt.Sprintf("route %q of virtual host %q", r.Name, r.VirtualHost)
}
