package call

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/weft-mesh/weft/resilience"
)

// Gate counts the calls in flight of a mesh, and shuts when the mesh closes. Its
// zero value is open.
//
// A number that all calls write to is dear: a core that writes has to fetch it from the one
// that wrote last. So most calls are counted beside the requests of a cluster, which they
// write to anyway; the table of their target says which cluster. A call stays counted there
// until it ends, wherever it goes.
//
// No call is missed: it is counted and then looks whether the gate has shut, while who closes
// has the gate shut and then looks at the numbers. Atomic operations have one order for all
// cores, so that one of the two sees the other. Once the gate is shut each number only falls,
// but for calls that are about to be refused: one that was seen at zero needs no other look,
// and the numbers need not be read at one moment.
type Gate struct {
	active atomic.Int64 // calls that are counted at no cluster, in units of resilience.CallUnit
	_      [56]byte     // the rest of a cache line: all calls read what follows
	shut   atomic.Bool

	mu     sync.Mutex
	limits []weak.Pointer[resilience.Limits] // those that were joined; calls in flight keep theirs
}

// Join has calls be counted beside the requests that l counts, where tables say so. It is
// called before there is a table that does.
func (g *Gate) Join(l *resilience.Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.limits) == cap(g.limits) {
		g.limits = slices.DeleteFunc(g.limits, func(p weak.Pointer[resilience.Limits]) bool { return p.Value() == nil })
	}
	g.limits = append(g.limits, weak.Make(l))
}

// enter counts a call in, with others of limits that were joined, or with those that are
// counted at none if at is nil. It returns the number to take it from when it ends; nil means
// that the gate is shut.
func (g *Gate) enter(at *atomic.Int64) (in *atomic.Int64) {
	if at == nil {
		at = &g.active
	}
	at.Add(resilience.CallUnit)
	if g.shut.Load() {
		at.Add(-resilience.CallUnit)
		return nil
	}
	return at
}

// IsShut reports whether Shut was called.
func (g *Gate) IsShut() bool { return g.shut.Load() }

// Shut lets no more calls in; false means that it was called before.
func (g *Gate) Shut() bool { return !g.shut.Swap(true) }

// Drain waits until no call is in flight, or for ctx, whose error it returns. Calls
// must not pay for being waited for, so it looks now and then.
func (g *Gate) Drain(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for g.busy() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// busy reports whether a call is in flight. The gate is shut.
func (g *Gate) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.active.Load() > 0 || slices.ContainsFunc(g.limits, func(p weak.Pointer[resilience.Limits]) bool {
		l := p.Value()
		return l != nil && l.Calls().Load() >= resilience.CallUnit
	})
}
