package call

import (
	"context"
	"sync/atomic"
	"time"
)

// Gate counts the calls in flight of a mesh, and shuts when the mesh closes. Its
// zero value is open.
type Gate struct {
	active atomic.Int64
	shut   atomic.Bool
}

// enter counts a call in; false means that the gate is shut. Counting comes first,
// so that Shut misses no call that got through.
func (g *Gate) enter() bool {
	g.active.Add(1)
	if g.shut.Load() {
		g.active.Add(-1)
		return false
	}
	return true
}

func (g *Gate) leave() { g.active.Add(-1) }

// IsShut reports whether Shut was called.
func (g *Gate) IsShut() bool { return g.shut.Load() }

// Shut lets no more calls in; false means that it was called before.
func (g *Gate) Shut() bool { return !g.shut.Swap(true) }

// Drain waits until no call is in flight, or for ctx, whose error it returns. Calls
// must not pay for being waited for, so it looks now and then.
func (g *Gate) Drain(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for g.active.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
