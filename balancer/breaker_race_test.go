package balancer

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestProbesAreRacedFor has two calls at a time choose an endpoint that takes one probe.
// The one that comes second goes elsewhere, be it the call's first attempt or not.
func TestProbesAreRacedFor(t *testing.T) {
	const rounds = 500
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, breaking(Config{}), &Assignment{Localities: []LocalityEndpoints{
			{Weight: 1, Endpoints: addresses("near", 1)},
			{Weight: 1, Priority: 1, Endpoints: []EndpointConfig{at("far:1"), at("tried:1")}},
		}})
		r.broken("near0:1")
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		tried := PickInfo{Exclude: []*Endpoint{r.link("tried:1").endpoint}}
		for _, info := range []PickInfo{{}, tried} {
			var ready, done atomic.Int64
			var callers sync.WaitGroup
			meet := func(at *atomic.Int64, n int64) {
				for at.Add(1); at.Load() < n; runtime.Gosched() { // as close together as can be
				}
			}
			for range 2 {
				callers.Go(func() {
					for n := range int64(rounds) {
						meet(&ready, 2*(n+1))
						l, err := r.view.Pick(info)
						meet(&done, 2*(n+1))
						if err != nil {
							t.Errorf("round %d: %v", n, err)
							continue
						}
						l.Done(Outcome{Err: context.Canceled}) // which gives the probe back
					}
				})
			}
			callers.Wait()
		}
	})
}
