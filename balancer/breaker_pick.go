package balancer

import (
	"errors"
	"fmt"
	"time"

	"github.com/weft-mesh/weft/resilience"
)

// probing is a link's part in the probes of half-open breakers. The link is one of its
// own, whose Done tells them from other calls.
type probing struct {
	of                *Link // that was picked
	endpoint, cluster *resilience.Probe
}

// errProbed says that another call took a probe's place that this one was about to.
var errProbed = errors.New("a probe is under way")

// admits reports whether the endpoint's breaker lets a call through.
func (e *Endpoint) admits() bool {
	g := e.guards.Load()
	return g == nil || g.own.Admits()
}

// guarded is Pick under the cluster's own breaker, if any.
func (v *View) guarded(b *resilience.Breaker, p *picker, info *PickInfo) (*Link, error) {
	if b.Closed() {
		return v.pickFrom(p, info)
	}
	probe := b.Probe()
	if probe == nil && !b.Closed() {
		return nil, &resilience.BreakerError{Cluster: v.cluster.name}
	}
	l, err := v.pickFrom(p, info)
	switch {
	case err != nil:
		probe.Done(resilience.NoVerdict)
		return nil, err
	case probe == nil:
		return l, nil
	case l.probing == nil:
		l = l.probe(nil)
	}
	l.probing.cluster = probe
	return l, nil
}

// take counts a call in flight on a link that was picked. If that makes it the probe of
// the endpoint's breaker, the link is the call's own.
func (l *Link) take(info *PickInfo) (*Link, error) {
	b := l.endpoint.breakers().own
	if b.Closed() {
		return l.enter(info)
	}
	probe := b.Probe()
	if probe == nil && !b.Closed() {
		refusal := resilience.BreakerError{Cluster: l.view.cluster.name, Endpoint: l.endpoint.Address(), Endpoints: 1}
		return nil, fmt.Errorf("%w: %w", &refusal, errProbed)
	}
	of, err := l.enter(info)
	switch {
	case err != nil:
		probe.Done(resilience.NoVerdict)
		return nil, err
	case probe == nil:
		return of, nil
	}
	return of.probe(probe), nil
}

// probe returns a link for one call over l.
func (l *Link) probe(probe *resilience.Probe) *Link {
	return &Link{endpoint: l.endpoint, conn: l.conn, view: l.view, lane: l.lane, probing: &probing{of: l, endpoint: probe}}
}

// judge tells the breakers what became of a call.
func (l *Link) judge(o Outcome) {
	g, verdict := l.endpoint.breakers(), o.verdict(l.view.options.GRPC)
	if p := l.probing; p != nil {
		settle(p.endpoint, g.own, verdict, uint8(o.Epoch))
		settle(p.cluster, g.all, verdict, uint8(o.Epoch>>8))
		return
	}
	g.own.Learn(verdict, uint8(o.Epoch))
	g.all.Learn(verdict, uint8(o.Epoch>>8))
}

// settle is for a probe if the call was one.
func settle(probe *resilience.Probe, b *resilience.Breaker, v resilience.Verdict, epoch uint8) {
	if probe != nil {
		probe.Done(v)
		return
	}
	b.Learn(v, epoch)
}

// Epoch is for the Outcome of the call that picked the link, which asks right after the
// pick.
func (l *Link) Epoch() Epoch {
	g := l.endpoint.guards.Load()
	if g == nil {
		return 0
	}
	return epochOf(g.own.Epoch(), g.all.Epoch())
}

// epochOf is the epoch of a call that the breakers of its endpoint and of its cluster let
// through in theirs.
func epochOf(own, all uint8) Epoch { return Epoch(own) | Epoch(all)<<8 }

// barred returns the error of a call that found nothing to pick because of the breakers
// of endpoints; nil if that is not why.
func (v *View) barred(p *picker) error {
	now := time.Now()
	var refusal *resilience.BreakerError
	for _, l := range p.links {
		switch {
		case l == nil:
		case !l.endpoint.admits():
			refusal = v.cluster.refusal(refusal, l.endpoint)
		case !v.options.OnDemand && l.connects(now): // a call may wait for it
			return nil
		}
	}
	if refusal == nil {
		return nil
	}
	return refusal
}

// refusal counts one more endpoint whose breaker is in the way.
func (c *Cluster) refusal(r *resilience.BreakerError, e *Endpoint) *resilience.BreakerError {
	if r == nil {
		r = &resilience.BreakerError{Cluster: c.name, Endpoint: e.Address()}
	}
	r.Endpoints++
	return r
}
