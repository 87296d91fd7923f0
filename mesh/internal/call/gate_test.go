package call

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weft-mesh/weft/resilience"
)

// TestShutGateIsEmptyOnceDrained has calls come without a pause, to be counted in several
// places, while the gate is shut: none is inside when Drain has returned, nor gets in.
func TestShutGateIsEmptyOnceDrained(t *testing.T) {
	for range 100 {
		var g Gate
		places := []*atomic.Int64{nil}
		for range 3 {
			l := new(resilience.Limits)
			g.Join(l)
			places = append(places, l.Calls())
		}
		var entered atomic.Int64
		var drained atomic.Bool
		var callers sync.WaitGroup
		for i := range 4 {
			callers.Go(func() {
				for n := i; ; n++ {
					in := g.enter(places[n%len(places)])
					if in == nil {
						return
					}
					entered.Add(1)
					runtime.Gosched()
					if drained.Load() {
						t.Error("a call is inside")
					}
					in.Add(-resilience.CallUnit)
				}
			})
		}
		for entered.Load() < 100 {
			runtime.Gosched()
		}
		g.Shut()
		if err := g.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		drained.Store(true)
		callers.Wait()
	}
}

// TestDrainWaitsForCallsOfEachPlace has one call in flight, counted here or there.
func TestDrainWaitsForCallsOfEachPlace(t *testing.T) {
	var g Gate
	first, second := new(resilience.Limits), new(resilience.Limits)
	g.Join(first)
	g.Join(second)
	g.Shut()
	for _, in := range []*atomic.Int64{&g.active, first.Calls(), second.Calls()} {
		in.Add(resilience.CallUnit)
		if !g.busy() {
			t.Error("a call in flight is not seen")
		}
		in.Add(-resilience.CallUnit)
	}
	if g.busy() {
		t.Error("a call is seen where there is none")
	}
}

// TestGateForgetsClusters has clusters come and go.
func TestGateForgetsClusters(t *testing.T) {
	var g Gate
	for range 20 {
		for range 1000 {
			g.Join(new(resilience.Limits))
		}
		runtime.GC()
	}
	if n := len(g.limits); n > 10_000 {
		t.Errorf("the gate keeps %d of 20,000", n)
	}
}
