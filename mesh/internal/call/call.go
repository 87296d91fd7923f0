package call

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

// Call is one call's way through policy. The adapter sets Target and Request, and
// uses the call from one goroutine at a time.
type Call struct {
	// What most calls read and write fills three cache lines.
	balancer.Attempt // the one under way; Cluster, In and Priority are the call's
	progress
	routed
	Target  *Target
	Request resolver.Request

	// Client stands for the gRPC channel or HTTP transport that the call is made
	// through, in hash policies; not 0.
	Client uint64
	hashing
}

// progress is how far a call has come.
type progress struct {
	passed *passed // the filters; nil for none
	watch  *watch  // nil if no latency is measured
	tries  *tries  // nil before a second attempt is in sight

	picked bool // there was a pick that asked for something
	copied bool // the call is a mirrored one

	hasHash, hashed bool // of hashing
	goesByHash      bool // the view of the last pick does
}

// hashing is what the route makes of the call for ring_hash and maglev.
type hashing struct {
	hash      uint64
	setCookie *string // nil for none
}

// routed is where a call goes. A call that begins anew may find itself going there again.
type routed struct {
	route *resolver.Route
	to    *resolver.Destination // by route; nil before routing, and for copies

	by       *resolver.Table // that the call began with
	at       *atomic.Int64   // its Calls
	again    bool            // calls that by has take the same route go to the same place
	straight bool            // and there they are Direct and have no Timeout
	sampled  bool            // straight calls are for a Sampler, because there is a Policy
}

// Begin lets the call in, unless the mesh is closed, and finds the route and cluster of it by
// the target's newest table, for the first of which it waits within ctx. A call whose route
// answers itself gets no cluster but an Answer. Enter has it pass the filters then, and End
// ends it. After an error, which is an *[Error], there is nothing to end.
func (c *Call) Begin(ctx context.Context) error {
	table := c.Target.Table()
	if table != c.by {
		c.by, c.at, c.again, c.straight = table, table.Calls(), false, false
	}
	in := c.Target.Gate.enter(c.at)
	if in == nil {
		return c.Target.refuse(ErrClosed, codes.Canceled, ErrClosed)
	}
	c.In = in
	if c.again && table.Again(&c.Request) == c.route && !c.Request.HasHeeded() {
		c.Request.Unescaped = false
	} else if err := c.routeBy(ctx, table); err != nil {
		in.Add(-resilience.CallUnit)
		return err
	}
	c.Next = c.to.Plain()
	return nil
}

// BeginStraight is Begin for a call that goes where the last one went, if that is no more than
// to go there: it is Direct, and has no Timeout. If it is not, or if that cannot be told
// without a look at routes, it does nothing and returns false. That the Request has no headers
// at all need only be known if it Heeds them.
func (c *Call) BeginStraight(headerless bool) bool {
	table := c.Target.Table()
	if !c.straight || table != c.by || table.Again(&c.Request) != c.route || !headerless && c.Request.HasHeeded() {
		return false
	}
	in := c.Target.Gate.enter(c.at)
	if in == nil {
		return false
	}
	c.In, c.Next = in, true
	return true
}

// Sampled reports whether a call that began by BeginStraight has a Policy, without a look at
// that.
func (c *Call) Sampled() bool { return c.sampled }

// Reroute routes a call anew that has passed the filters. The error is an *[Error] or a
// status that policy answers with.
func (c *Call) Reroute(ctx context.Context) error {
	c.Done(balancer.Outcome{Err: balancer.ErrUnsent})
	c.Next = false
	if err := c.routeBy(ctx, c.Target.Table()); err != nil {
		return err
	}
	return c.answered()
}

// routeBy finds the route and cluster of the call, by the target's first table if that is
// still to come.
func (c *Call) routeBy(ctx context.Context, table *resolver.Table) error {
	if table == nil {
		var err error
		if table, err = c.Target.await(ctx); err != nil {
			return err
		}
	}
	route, err := table.Route(&c.Request)
	if err != nil {
		return c.Target.refuse(ErrNoRoute, codes.Unavailable, err)
	}
	to, err := route.Pick()
	if err != nil {
		return c.Target.refuse(ErrNoRoute, codes.Unavailable, err)
	}
	c.route, c.Cluster, c.Priority, c.to = route, to.Cluster, route.Priority(), to
	c.again = table == c.by && route.GoesTo() == to && to.Cluster != nil
	c.straight = c.again && to.Direct() && c.Timeout() == 0
	c.sampled = c.straight && c.Policy() != nil
	c.hashed, c.hasHash = false, false
	if to.Cluster == nil {
		if route.Answer() != nil {
			return nil
		}
		return c.demand(ctx, table)
	}
	if c.passed != nil {
		c.prefer()
	}
	return nil
}

// Timeout is how long the routed call may take by policy; zero for no limit. For
// gRPC it is what gRFC A31 makes of the route, for HTTP the shorter of Envoy's route
// timeout and stream duration.
func (c *Call) Timeout() time.Duration {
	r := c.route
	switch {
	case c.Request.GRPC:
		return r.GRPCTimeout
	case r.Timeout == 0 || r.MaxStreamDuration != 0 && r.MaxStreamDuration < r.Timeout:
		return r.MaxStreamDuration
	default:
		return r.Timeout
	}
}

// TimeoutSinceSent is how long an HTTP call may take from the end of its request on; zero
// for no limit.
func (c *Call) TimeoutSinceSent() time.Duration { return c.route.Timeout }

// StreamDuration is how long an HTTP call may take in all; zero for no limit.
func (c *Call) StreamDuration() time.Duration { return c.route.MaxStreamDuration }

// IdleTimeout is how long nothing has to come or go of the call; zero for no limit.
func (c *Call) IdleTimeout() time.Duration { return c.route.IdleTimeout }

// Plain reports whether policy has nothing to do for the routed call but to send it: see
// [resolver.Destination.Plain].
func (c *Call) Plain() bool { return c.to != nil && c.to.Plain() && c.passed == nil }

// Direct reports whether the routed call is one attempt and nothing else as long as that
// succeeds: see [resolver.Destination.Direct].
func (c *Call) Direct() bool { return c.to != nil && c.to.Direct() && c.passed == nil }

// Bare reports whether the routed HTTP call is Direct and has no Timeout.
func (c *Call) Bare() bool { return c.to.Bare() && c.passed == nil }

// Alone reports whether nobody but its owner can have a hold on the call: it has met
// neither filters nor copies, was tried once, and nobody measures it.
func (c *Call) Alone() bool { return c.Plain() && c.tries == nil && c.watch == nil }

// Renew has a call that has ended, and was Alone, begin anew. It still has the Target, the
// Client and the Request that it had.
func (c *Call) Renew() {
	if c.picked { // otherwise there is nothing of that, if it was Alone
		c.progress, c.hashing = progress{}, hashing{}
	}
}

// Pick begins an attempt: within ctx it chooses an endpoint of a view of the call's
// cluster, one that is not among those to exclude. An attempt under way is ended first, as
// one of which nothing was learned. The error is the balancer's; Refused makes it one to
// return.
func (c *Call) Pick(ctx context.Context, v *balancer.View, exclude []*balancer.Endpoint) (*balancer.Link, error) {
	if ok, err := v.PickNext(ctx, &c.Attempt); ok || err != nil {
		return c.Link, err
	}
	c.Done(balancer.Outcome{Err: balancer.ErrUnsent})
	link, err := c.pickAsAsked(ctx, v, exclude)
	if err != nil {
		return nil, err
	}
	c.Take(link)
	if c.watch != nil || link.WantsLatency() {
		c.watchAttempt(link)
	}
	c.picked = true
	return link, nil
}

// pickAsAsked is Pick for a call that asks something of its endpoint, or may.
func (c *Call) pickAsAsked(ctx context.Context, v *balancer.View, exclude []*balancer.Endpoint) (*balancer.Link, error) {
	if v.Aggregates() {
		c.Cluster.Limits().Add(resilience.Requests, c.route.Priority())
	} else if !c.Cluster.Limits().Acquire(resilience.Requests, c.route.Priority()) {
		return nil, c.exceeded()
	}
	link, err := c.pickOf(v, &balancer.PickInfo{Context: ctx, Exclude: exclude})
	if err == nil && link.Endpoint().Cluster() != c.Cluster {
		err = c.admitTo(link)
	}
	if err != nil {
		c.dismiss()
		return nil, err
	}
	return link, nil
}

// pickOf picks what the call asks for beside info.
func (c *Call) pickOf(v *balancer.View, info *balancer.PickInfo) (*balancer.Link, error) {
	c.asks(v, info)
	if c.tries == nil {
		return v.Pick(*info)
	}
	return c.tries.pick(v, info)
}

// asks fills in what the call asks of its endpoint.
func (c *Call) asks(v *balancer.View, info *balancer.PickInfo) {
	if c.route.HasHash() {
		c.goesByHash = v.Hashes()
		if c.goesByHash && !c.hashed {
			c.Sends(&c.Request)
		}
		info.Hash, info.HasHash = c.hash, c.hasHash
	}
	if c.to != nil {
		info.Subset = c.to.Subset
	}
	info.Override = c.override(v)
}

// End ends the call, and with it the attempt under way, which had this outcome.
func (c *Call) End(o balancer.Outcome) {
	if o.Succeeded(c.Request.GRPC) && c.Plain() && c.Leave() {
		return
	}
	if c.passed != nil {
		c.passed.end(o)
	}
	c.Done(o)
	c.In.Add(-resilience.CallUnit)
}

// Leave is End for a call that is Plain and succeeded, if that needs no more than to count it
// out, and the call was Alone. Else it does nothing and returns false.
func (c *Call) Leave() bool { return c.tries == nil && c.watch == nil && c.Attempt.Leave() }

// Done ends the attempt under way, if any, with its outcome.
func (c *Call) Done(o balancer.Outcome) {
	if c.Link != nil {
		c.done(o)
	}
}

func (c *Call) done(o balancer.Outcome) {
	if of := c.Link.Endpoint().Cluster(); of != c.Cluster || c.watch != nil || c.Cluster.Limits().Throttle() != nil {
		c.settle(of, o)
	}
	c.dismiss()
	c.Attempt.Done(o)
}

// settle ends what few attempts have: a place among the requests of another cluster, a
// latency that is measured, and a throttle to tell.
func (c *Call) settle(of *balancer.Cluster, o balancer.Outcome) {
	if of != c.Cluster {
		of.Limits().Release(resilience.Requests, c.route.Priority())
	}
	if c.watch != nil {
		c.unwatch(o)
	}
	if t := c.Cluster.Limits().Throttle(); t != nil {
		c.earn(t, o)
	}
}

// Refused explains why no endpoint was picked.
func (c *Call) Refused(err error) error {
	if reply := c.overridden(err); reply != nil {
		return reply
	}
	kind, code := ErrUnavailable, codes.Unavailable
	switch {
	case isStatus(err): // from Route, under way to a pick
		return err
	case errors.Is(err, xds.ErrNotFound): // the cluster
		kind, code = ErrNoRoute, c.notFound()
	case errors.Is(err, resolver.ErrUnsupported):
		kind = ErrNoRoute
	case errors.Is(err, balancer.ErrNoEndpoints):
		kind = ErrNoEndpoints
	case errors.Is(err, balancer.ErrDropped), errors.Is(err, resilience.ErrLimit), errors.Is(err, resilience.ErrBreaker):
		kind = ErrOverloaded
	}
	return c.Target.refuse(kind, code, err) // which names the cluster
}
