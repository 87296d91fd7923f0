package balancer

import (
	"context"
	"sync/atomic"

	"github.com/weft-mesh/weft/resilience"
)

// Attempt is a call's way to an endpoint and back, for who picks and ends for it. One call
// after the other may use it. It is used by one goroutine at a time.
type Attempt struct {
	// Cluster is where the call goes.
	Cluster *Cluster
	// In counts the call, in units of resilience.CallUnit: a number that Limits.Calls
	// returned, or any other.
	In *atomic.Int64
	// Link is the one that was taken and not yet ended; nil for none.
	Link *Link
	// Epoch is for the Outcome.
	Epoch Epoch
	// Priority is among whose requests the call counts.
	Priority resilience.Priority
	// Next says that the call asks for nothing of its endpoint, and was at none yet.
	Next bool

	own bool // Link is of Cluster, and there is no more to it than to count the call out
}

// Take has the attempt be over a link, which was picked.
func (a *Attempt) Take(l *Link) {
	a.Link, a.Epoch, a.Next = l, l.Epoch(), false
	a.own = l.view.cluster == a.Cluster && l.probing == nil && l.lane == nil
}

// Done is Link.Done, for the link that the attempt is over.
func (a *Attempt) Done(o Outcome) {
	o.Epoch = a.Epoch
	a.Give().Link.Done(o)
}

// Give returns the attempt as it is, for another call of the same cluster to end it.
func (a *Attempt) Give() Attempt {
	given := *a
	a.Link, a.own = nil, false
	return given
}

// PickNext is Pick for a call that asks for Next, of the view's cluster, and counts it among
// the cluster's requests. False without an error says that there is more to it just now than
// to take the next link, and that nothing was counted: acquire a place among the requests,
// Pick, and Take. The link's endpoint has no OriginalDst.
func (v *View) PickNext(ctx context.Context, a *Attempt) (bool, error) {
	p, all, limits := v.picker.Load(), v.cluster.breaker.Load().Enter(), &v.cluster.limits
	if !p.simple || !a.Next || all == 0 {
		return false, nil
	}
	if !limits.TryAcquire(resilience.Requests, a.Priority) && !limits.Acquire(resilience.Requests, a.Priority) {
		return false, nil
	}
	var l *Link
	if p.inTurn != nil {
		l = p.inTurn.choose()
	} else {
		l = p.root.choose()
	}
	own := l.endpoint.breakers().own.Enter()
	if own == 0 || l.pool != nil || !v.connected(l) {
		return v.pickClosed(ctx, p, l, a)
	}
	l.endpoint.begin()
	a.Link, a.Epoch, a.Next, a.own = l, epochOf(own, all), false, true
	return true, nil
}

// pickClosed is the rest of PickNext from a picker that chose l, which is not open.
func (v *View) pickClosed(ctx context.Context, from *picker, l *Link, a *Attempt) (bool, error) {
	l, err := v.pickChosen(from, l, &PickInfo{Context: ctx})
	if err != nil {
		v.cluster.limits.Release(resilience.Requests, a.Priority)
		return false, err
	}
	a.Take(l)
	return true, nil
}

// Leave is Link.Done for a call that succeeded, and takes it away from the cluster's requests
// and from In. It does so only if there is no more to learn of it just now than that; else it
// does nothing and returns false.
func (a *Attempt) Leave() bool {
	if !a.own || a.Cluster.limits.Throttle() != nil {
		return false
	}
	e := a.Link.endpoint
	if g := e.guards.Load(); g != nil && !g.idle() {
		return false
	}
	if m := e.monitor.Load(); m == nil {
		e.end()
	} else if e.learnsMore() {
		return false
	} else {
		e.endWell()
	}
	a.Cluster.limits.ReleaseCall(a.Priority, a.In)
	a.Link, a.own = nil, false
	return true
}
