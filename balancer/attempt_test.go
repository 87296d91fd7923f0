package balancer

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/weft-mesh/weft/resilience"
)

// TestPickNext picks for calls that ask for nothing, and has them leave, under policies that
// need no more than that and under those that do.
func TestPickNext(t *testing.T) {
	for _, c := range []struct {
		what   string
		config Config
		want   bool
	}{
		{"in turn", Config{}, true},
		{"least request", Config{Policy: Policy{Kind: LeastRequest}}, true},
		{"latency is measured", Config{Policy: Policy{Kind: PeakEWMA}}, false},
		{"a hash", Config{Policy: Policy{Kind: RingHash}}, false},
		{"none may be in flight", Config{Limits: &resilience.LimitsConfig{}}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.config.Name = "c"
				r := newRig(t, ViewOptions{GRPC: true}, &c.config, one(at("a:1"), at("b:1")))
				r.up("a:1", "b:1")
				limits := r.cluster.Limits()
				counted := func(what string, calls, picked int64) {
					t.Helper()
					var active int64
					for _, e := range r.cluster.Endpoints() {
						active += e.Active()
					}
					if n := limits.Calls().Load(); n != calls*resilience.CallUnit+picked || active != picked {
						t.Errorf("%s: counted %x, %d in flight", what, n, active)
					}
				}
				a := Attempt{Cluster: r.cluster, In: limits.Calls()}
				limits.Calls().Add(resilience.CallUnit)
				if ok, err := r.view.PickNext(context.Background(), &a); ok || err != nil {
					t.Errorf("%v, %v for a call that asks for more", ok, err)
				}
				counted("before", 1, 0)
				a.Next = true
				ok, err := r.view.PickNext(context.Background(), &a)
				if ok != c.want || err != nil {
					t.Fatalf("%v, %v", ok, err)
				}
				if !ok {
					counted("not picked", 1, 0)
					return
				}
				counted("picked", 1, 1)
				if a.Next || a.Link == nil || a.Epoch != a.Link.Epoch() && a.Link.endpoint.guards.Load() != nil {
					t.Errorf("%+v", a)
				}
				given := a.Give()
				if a.Leave() || a.Link != nil {
					t.Error("it leaves after it was given away")
				}
				counted("given", 1, 1)
				if !given.Leave() || given.Leave() {
					t.Error("it does not leave once")
				}
				counted("left", 0, 0)
			})
		})
	}
}

// TestPickNextHeedsBreakers has a breaker open, its probe be one of the next calls, and
// PickNext say no while the cluster's is open.
func TestPickNextHeedsBreakers(t *testing.T) {
	breaker := &resilience.BreakerConfig{ConsecutiveFailures: 1, OpenTime: 1e9}
	for what, config := range map[string]*Config{
		"endpoint": {Name: "c", EndpointBreaker: breaker},
		"cluster":  {Name: "c", ClusterBreaker: breaker},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, ViewOptions{GRPC: true}, config, one(at("a:1")))
				r.up("a:1")
				limits := r.cluster.Limits()
				next := func() (*Attempt, bool, error) {
					a := &Attempt{Cluster: r.cluster, In: limits.Calls(), Next: true}
					ok, err := r.view.PickNext(context.Background(), a)
					return a, ok, err
				}
				a, ok, err := next()
				if !ok || err != nil {
					t.Fatal(ok, err)
				}
				limits.Release(resilience.Requests, a.Priority)
				if a.Done(Outcome{Code: 14}); a.Link != nil || a.Leave() {
					t.Error("it is not done")
				}
				// The first is before the view hears of it.
				if _, ok, _ := next(); ok {
					t.Error("a call goes where the breaker has opened")
				}
				synctest.Wait()
				if _, ok, _ := next(); ok {
					t.Error("a call goes where the breaker is open")
				}
				if n := limits.InFlight(resilience.Requests, resilience.PriorityDefault); n != 0 {
					t.Errorf("%d are counted that were not picked", n)
				}
			})
		})
	}
}
