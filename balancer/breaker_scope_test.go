package balancer

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resilience"
)

// TestBreakersAndPriorities counts open breakers as unhealthy where load spills over, and
// half-open ones not.
func TestBreakersAndPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, breaking(Config{}), &Assignment{Localities: []LocalityEndpoints{
			{Weight: 1, Endpoints: addresses("near", 2)},
			{Weight: 1, Priority: 1, Endpoints: []EndpointConfig{at("far:1")}},
		}})
		r.broken("near0:1")
		if diff := cmp.Diff(map[string]int{"near1:1": 70, "far:1": 30}, r.picks(100)); diff != "" {
			t.Errorf("picks with one open (-want +got):\n%s", diff)
		}
		r.broken("near1:1")
		if diff := cmp.Diff(map[string]int{"far:1": 100}, r.picks(100)); diff != "" {
			t.Errorf("picks with the priority open (-want +got):\n%s", diff)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"near0:1": 1, "near1:1": 1, "far:1": 98}, r.hold(100)); diff != "" {
			t.Errorf("picks with the priority half open (-want +got):\n%s", diff)
		}
	})
}

// hold is picks of calls that do not end.
func (r *rig) hold(n int) map[string]int {
	got := map[string]int{}
	for range n {
		got[r.pick(PickInfo{}).endpoint.Address()]++
	}
	return got
}

// TestBreakersInPanic sends calls to endpoints that are unhealthy, and none to those whose
// breakers are open.
func TestBreakersInPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := at("sick:1")
		sick.Health = Unhealthy
		r := newRig(t, httpView, breaking(Config{PanicThreshold: 50}), one(at("a:1"), at("b:1"), sick))
		r.broken("a:1")
		if diff := cmp.Diff(map[string]int{"b:1": 10, "sick:1": 10}, r.picks(20)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
		r.broken("b:1", "sick:1")
		r.refused(`cluster "c": no endpoint is left; the breakers of 3 are open, such as that of a:1`)
	})
}

// TestBreakersAndOverrides have sessions leave an endpoint whose breaker is open.
func TestBreakersAndOverrides(t *testing.T) {
	for _, view := range []ViewOptions{httpView, grpcView} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, view, breaking(Config{}), one(at("a:1"), at("b:1")))
			r.settle()
			to := func(o Override) (string, error) {
				l, err := r.view.Pick(PickInfo{Override: o})
				if err != nil {
					return "", err
				}
				l.Done(Outcome{Err: ErrUnsent})
				return l.endpoint.Address(), nil
			}
			if got, err := to(Override{Addresses: "a:1"}); got != "a:1" {
				t.Errorf("the session goes to %s, %v", got, err)
			}
			r.broken("a:1")
			for _, o := range []Override{{Addresses: "a:1"}, {Addresses: "a:1", AnyHealth: true}} {
				if got, err := to(o); got != "b:1" {
					t.Errorf("%+v goes to %s, %v", o, got, err)
				}
			}
			if got, err := to(Override{Addresses: "a:1", Strict: true}); !errors.Is(err, ErrNoEndpoints) {
				t.Errorf("the strict session goes to %s, %v", got, err)
			}
			time.Sleep(10*time.Second + time.Millisecond)
			synctest.Wait()
			if got, err := to(Override{Addresses: "a:1"}); got != "a:1" {
				t.Errorf("the session's probe goes to %s, %v", got, err)
			}
		})
	}
}

// TestBreakersOutliveUpdates keeps them while the endpoints and other policy change, and
// begins anew with their own.
func TestBreakersOutliveUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := breaking(Config{ClusterBreaker: &resilience.BreakerConfig{ConsecutiveFailures: 9, OpenTime: time.Hour}})
		r := newRig(t, httpView, config, one(at("a:1"), at("b:1")))
		r.broken("a:1")
		r.assign(one(at("c:1"), at("b:1"), at("a:1")))
		other := *config
		other.PanicThreshold = 10
		other.EndpointBreaker = new(*config.EndpointBreaker)
		r.cluster.Configure(&other)
		if diff := cmp.Diff(map[string]string{"a:1": "open", "b:1": "closed", "c:1": "closed"}, r.states()); diff != "" {
			t.Errorf("after updates (-want +got):\n%s", diff)
		}
		r.calls("b:1", 1, failed)
		slower := other
		slower.EndpointBreaker = &resilience.BreakerConfig{ConsecutiveFailures: 2, OpenTime: time.Hour}
		r.cluster.Configure(&slower)
		if diff := cmp.Diff(map[string]string{"a:1": "closed", "b:1": "closed", "c:1": "closed"}, r.states()); diff != "" {
			t.Errorf("after another configuration (-want +got):\n%s", diff)
		}
		if got := r.picks(30); got["a:1"] != 10 {
			t.Errorf("picks: %v", got)
		}
		r.broken("a:1")
		gone := r.link("a:1").endpoint.Breaker()
		r.assign(one(at("b:1")))
		r.assign(one(at("a:1"), at("b:1")))
		if diff := cmp.Diff(map[string]string{"a:1": "closed", "b:1": "closed"}, r.states()); diff != "" {
			t.Errorf("after it was gone (-want +got):\n%s", diff)
		}
		if time.Sleep(2 * time.Hour); gone.State() != resilience.BreakerOpen {
			t.Errorf("the breaker of an endpoint that is gone goes on: %s", gone.State())
		}

		r.calls("a:1", 4, failed) // five in a row before, whatever became of their endpoints
		r.refused(`cluster "c": its breaker is open`)
		none := *config
		none.EndpointBreaker, none.ClusterBreaker = nil, nil
		r.cluster.Configure(&none)
		synctest.Wait()
		if got := r.picks(10); got["a:1"] != 5 || r.cluster.Breaker() != nil || r.cluster.Endpoints()[0].Breaker() != nil {
			t.Errorf("picks without breakers: %v", got)
		}
		r.calls("a:1", 20, failed)
		r.picks(10)
	})
}

// TestProbeAcrossUpdates has the views rebuilt while a probe is under way, which is then
// cancelled: the endpoint is still one to probe.
func TestProbeAcrossUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, breaking(Config{}), one(at("a:1"), at("b:1")))
		r.broken("a:1")
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		probe := r.pick(PickInfo{})
		if probe.endpoint.Address() != "a:1" {
			probe = r.pick(PickInfo{})
		}
		r.assign(one(at("a:1"), at("b:1"), at("c:1")))
		probe.Done(Outcome{Err: context.Canceled})
		if got := r.hold(9); got["a:1"] != 1 {
			t.Errorf("picks: %v", got)
		}
	})
}

// TestClusterBreaker lets one call through at a time, whatever endpoints there are, and
// gives the place back of one that finds none.
func TestClusterBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := &Config{Name: "c", ClusterBreaker: &resilience.BreakerConfig{FailurePercent: 50, MinimumRequests: 4, Interval: time.Second, OpenTime: time.Second}}
		r := newRig(t, httpView, config, one(at("a:1"), at("b:1")))
		r.calls("a:1", 2, good)
		r.calls("b:1", 2, failed)
		r.refused(`cluster "c": its breaker is open`)
		time.Sleep(time.Second + time.Millisecond)
		if _, err := r.view.Pick(PickInfo{Exclude: r.cluster.Endpoints()}); !errors.Is(err, ErrExcluded) {
			t.Errorf("a probe with nowhere to go: %v", err)
		}
		probe := r.pick(PickInfo{})
		r.refused(`cluster "c": its breaker is open`)
		probe.Done(good)
		r.picks(10)
	})
}

// TestBreakersOfAggregates goes to the next cluster while the first is open.
func TestBreakersOfAggregates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := &Config{Name: "c", ClusterBreaker: &resilience.BreakerConfig{ConsecutiveFailures: 2, OpenTime: time.Hour}}
		first, second := newRig(t, httpView, config, one(at("a:1"))), newRig(t, httpView, config, one(at("b:1")))
		r := newRig(t, httpView, &Config{Discovery: DiscoverAggregate, ClusterBreaker: config.ClusterBreaker}, nil)
		r.cluster.Compose([]*Cluster{first.cluster, second.cluster})
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"a:1": 10}, r.picks(10)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
		first.calls("a:1", 2, failed)
		if diff := cmp.Diff(map[string]int{"b:1": 10}, r.picks(10)); diff != "" {
			t.Errorf("picks with the first open (-want +got):\n%s", diff)
		}
		second.calls("b:1", 2, failed)
		r.refused(`cluster "c": its breaker is open`)
	})
}

// TestBreakersRace has calls fail at random while policy changes, at one endpoint that
// never does: no call fails, and none is at another place than a breaker lets it.
func TestBreakersRace(t *testing.T) {
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	configs := make([]*Config, 4)
	for i := range configs {
		configs[i] = &Config{Policy: Policy{Kind: []PolicyKind{RoundRobin, LeastRequest, Maglev, Random}[i], TableSize: 101}, PanicThreshold: 50}
		if i > 0 {
			configs[i].EndpointBreaker = &resilience.BreakerConfig{ConsecutiveFailures: 2, OpenTime: time.Duration(i) * 10 * time.Microsecond}
			configs[i].ClusterBreaker = &resilience.BreakerConfig{ConsecutiveFailures: 1 << 30, OpenTime: time.Hour}
		}
	}
	endpoints := append(addresses("e", 9), at("always:1"))
	c.Configure(configs[1])
	c.Assign(one(endpoints...))
	v := c.View(new(fakeConnector), httpView)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range 5000 {
				l, err := v.Pick(PickInfo{})
				if err != nil {
					t.Errorf("Pick: %v", err)
					return
				}
				epoch, o := l.Epoch(), good
				if l.endpoint.Address() != "always:1" && rand.IntN(2) == 0 {
					o = failed
				}
				o.Epoch = epoch
				l.Done(o)
			}
		})
	}
	for i := range 200 {
		c.Configure(configs[i/2%4])
		c.Assign(one(endpoints[i%5:]...))
		for _, e := range c.Endpoints() {
			e.Breaker().Status()
		}
	}
	running.Wait()
	c.Close()
	for _, e := range c.Endpoints() {
		if got := e.Active(); got != 0 {
			t.Errorf("%s has %d calls in flight after the last is done", e.Address(), got)
		}
	}
}

// BenchmarkBreaker is a pick and the end of a call with breakers that are closed.
func BenchmarkBreaker(b *testing.B) {
	row := &resilience.BreakerConfig{ConsecutiveFailures: 5, OpenTime: time.Second}
	ratio := &resilience.BreakerConfig{FailurePercent: 50, MinimumRequests: 20, Interval: 10 * time.Second, OpenTime: time.Second}
	for _, c := range []struct {
		name          string
		endpoint, all *resilience.BreakerConfig
	}{{"none", nil, nil}, {"row", row, nil}, {"ratio", ratio, nil}, {"ratio, cluster", nil, ratio}} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(c.name+"/callers="+map[int]string{1: "1", 16: "16", 64: "64"}[callers], func(b *testing.B) {
				cluster := NewCluster("c", ClusterOptions{Logger: quiet})
				defer cluster.Close()
				cluster.Configure(&Config{EndpointBreaker: c.endpoint, ClusterBreaker: c.all})
				cluster.Assign(one(addresses("a", 3)...))
				v := cluster.View(&fakeConnector{}, httpView)
				call := func() {
					l, err := v.Pick(PickInfo{})
					if err != nil {
						b.Fatal(err)
					}
					o := good
					o.Epoch = l.Epoch()
					l.Done(o)
				}
				b.ReportAllocs()
				if callers == 1 {
					for b.Loop() {
						call()
					}
					return
				}
				b.SetParallelism(callers / 2)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						call()
					}
				})
			})
		}
	}
}
