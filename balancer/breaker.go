package balancer

import (
	"context"
	"errors"
	"log/slog"

	"github.com/weft-mesh/weft/resilience"
)

// Breakers stand beside outlier detection and go by what each call says: what fails is a
// status of 5xx, for gRPC one that Envoy takes for a 5xx (UNKNOWN, INTERNAL, UNAVAILABLE,
// DEADLINE_EXCEEDED, UNIMPLEMENTED, DATA_LOSS), a connection that failed or broke, and a
// deadline that passed without an answer. A call that somebody cancelled says nothing.
//
// An endpoint whose breaker is open counts as unhealthy where the load is divided among
// priorities, localities and zones, and towards the panic threshold; but panic sends it no
// calls. When its time has passed it counts as before, and of the calls that policy
// sends it, one at a time gets there, as the probe. The others go elsewhere; only where
// there is nowhere else is a call refused, with a *resilience.BreakerError.
//
// A breaker stays as it is across updates of the endpoints and of the cluster. Another
// configuration of it begins with one that is closed.

// guards are the breakers that a call to an endpoint goes by: its own and the cluster's.
// Either may be nil.
type guards struct{ own, all *resilience.Breaker }

var unguarded guards

// idle reports whether they have nothing to learn of calls that succeed.
func (g *guards) idle() bool { return g.own.Idle() && g.all.Idle() }

// breakers returns the endpoint's guards, never nil.
func (e *Endpoint) breakers() *guards {
	if g := e.guards.Load(); g != nil {
		return g
	}
	return &unguarded
}

// guard has the breakers of the cluster and of the endpoints of the newest snapshot be as
// its policy says. It reports whether the class of any endpoint may have changed. The
// caller holds c.mu.
func (c *Cluster) guard() (changed bool) {
	config := c.snapshot.config
	all := c.breaker.Load()
	if config.Discovery != DiscoverAggregate && !fits(all, config.ClusterBreaker) { // whose calls are its clusters'
		all.Close()
		all = c.newBreaker(config.ClusterBreaker, nil)
		c.breaker.Store(all)
	}
	guarded := all != nil || config.EndpointBreaker != nil
	if !guarded && !c.guarded {
		return false
	}
	c.guarded = guarded
	for _, part := range c.snapshot.populations() {
		for i := range part {
			changed = part[i].endpoint.guard(config.EndpointBreaker, all) || changed
		}
	}
	return changed
}

// guard is the same for one endpoint.
func (e *Endpoint) guard(config *resilience.BreakerConfig, all *resilience.Breaker) (changed bool) {
	now := *e.breakers()
	before := now.own
	if !fits(before, config) {
		before.Close()
		now.own = e.cluster.newBreaker(config, e)
	}
	now.all = all
	switch {
	case now == unguarded:
		e.guards.Store(nil)
	case now != *e.breakers():
		e.guards.Store(&now)
	}
	return before != nil && now.own != before
}

func fits(b *resilience.Breaker, config *resilience.BreakerConfig) bool {
	if b == nil || config == nil {
		return b == nil && config == nil
	}
	return b.Config() == *config
}

// newBreaker returns the breaker of an endpoint, or if that is nil of the cluster; nil for
// none.
func (c *Cluster) newBreaker(config *resilience.BreakerConfig, e *Endpoint) *resilience.Breaker {
	if config == nil {
		return nil
	}
	return resilience.NewBreaker(*config, func(from, to resilience.BreakerState) {
		c.news.Lock()
		defer c.news.Unlock()
		if !c.silent {
			c.running.Go(func() { c.breakerMoved(e, from, to) }) // a call is not to wait for the views
		}
	})
}

// breakerMoved tells the log and the views of another state of a breaker.
func (c *Cluster) breakerMoved(e *Endpoint, from, to resilience.BreakerState) {
	level, attrs := slog.LevelInfo, []any{"cluster", c.name, "from", from.String()}
	if e != nil {
		attrs = append(attrs, "endpoint", e.Address())
	}
	if to == resilience.BreakerOpen {
		level = slog.LevelWarn
	}
	c.logger.Log(context.Background(), level, "breaker is "+to.String(), attrs...)
	if e != nil {
		c.healthChanged()
	}
}

// unguard stops the timers of all breakers, which tell nothing more. The caller holds c.mu.
func (c *Cluster) unguard() {
	c.news.Lock()
	c.silent = true
	c.news.Unlock()
	c.breaker.Load().Close()
	for _, e := range c.index {
		e.retire()
	}
	c.one.retire()
}

// retire stops what belongs to an endpoint that the cluster has no more; nil is none.
func (e *Endpoint) retire() {
	if e != nil {
		e.breakers().own.Close()
	}
}

// Breaker returns the endpoint's breaker, nil if policy has none. It is there to be looked
// at: see [resilience.Breaker.Status].
func (e *Endpoint) Breaker() *resilience.Breaker { return e.breakers().own }

// Breaker returns the cluster's own breaker, nil if policy has none.
func (c *Cluster) Breaker() *resilience.Breaker { return c.breaker.Load() }

// broken reports whether the endpoint's breaker is open, and no probe due or under way.
func (e *Endpoint) broken() bool {
	g := e.guards.Load()
	return g != nil && g.own.State() == resilience.BreakerOpen
}

// verdict is what an outcome says of where the call went, by what outlier detection
// takes for an error.
func (o Outcome) verdict(grpc bool) resilience.Verdict {
	if o.Err != nil {
		if errors.Is(o.Err, context.Canceled) || errors.Is(o.Err, ErrUnsent) {
			return resilience.NoVerdict
		}
		return resilience.Failure
	}
	status := o.Code
	if grpc {
		if o.Code == codeCancelled {
			return resilience.NoVerdict
		}
		status = statusOfGRPC(o.Code)
	}
	switch {
	case status == 0:
		return resilience.NoVerdict
	case status >= httpError:
		return resilience.Failure
	}
	return resilience.Success
}

// codeCancelled is gRPC's CANCELLED.
const codeCancelled = 1
