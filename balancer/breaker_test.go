package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resilience"
)

// brittle opens for two failures in a row, for 10 s.
func brittle() *resilience.BreakerConfig {
	return &resilience.BreakerConfig{ConsecutiveFailures: 2, OpenTime: 10 * time.Second}
}

func breaking(config Config) *Config {
	config.Name, config.EndpointBreaker = "c", brittle()
	return &config
}

// states are those of the endpoints' breakers, by their addresses.
func (r *rig) states() map[string]string {
	synctest.Wait()
	states := map[string]string{}
	for _, e := range r.cluster.Endpoints() {
		states[e.Address()] = e.Breaker().State().String()
	}
	return states
}

// pick is a pick that must succeed.
func (r *rig) pick(info PickInfo) *Link {
	r.Helper()
	info.Context = r.Context()
	l, err := r.view.Pick(info)
	if err != nil {
		r.Fatalf("Pick: %v", err)
	}
	return l
}

// refused checks that a pick fails for a breaker.
func (r *rig) refused(want string) {
	r.Helper()
	l, err := r.view.Pick(PickInfo{})
	if !errors.Is(err, resilience.ErrBreaker) || err.Error() != want {
		r.Errorf("pick of %v: %v\nwant %s", l, err, want)
	}
}

var failed, good = Outcome{Code: 500}, Outcome{Code: 200}

// broken has the breakers of the addresses open.
func (r *rig) broken(addresses ...string) {
	r.Helper()
	for _, a := range addresses {
		r.calls(a, 2, failed)
	}
}

// up has all connections succeed, where there are any to make.
func (r *rig) up(addresses ...string) {
	r.Helper()
	if !r.view.options.OnDemand {
		r.report(Ready, nil, addresses...)
	}
}

// TestSuccessEndsRowOfBreaker has a call that succeeds keep breakers closed that one failure
// more would have opened.
func TestSuccessEndsRowOfBreaker(t *testing.T) {
	for _, config := range []*Config{breaking(Config{}), {Name: "c", ClusterBreaker: brittle()}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, httpView, config, one(at("a:1"), at("b:1")))
			for range 3 {
				r.calls("a:1", 1, failed)
				r.calls("a:1", 1, good)
			}
			if diff := cmp.Diff(map[string]string{"a:1": "closed", "b:1": "closed"}, r.states()); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if s := r.cluster.Breaker().State(); s != resilience.BreakerClosed {
				t.Errorf("the cluster's breaker is %s", s)
			}
		})
	}
}

// TestBreakerOfEndpoint is the life of one: it opens, its calls go elsewhere, it lets one
// probe through at a time, and closes.
func TestBreakerOfEndpoint(t *testing.T) {
	for _, view := range []ViewOptions{httpView, grpcView} {
		t.Run(fmt.Sprint("gRPC ", view.GRPC), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failed, good := failed, good
				if view.GRPC {
					failed, good = Outcome{Code: 14}, Outcome{}
				}
				r := newRig(t, view, breaking(Config{}), one(at("a:1"), at("b:1")))
				r.up("a:1", "b:1")
				l := r.link("a:1")
				for range 2 {
					l.endpoint.begin()
					l.Done(failed)
				}
				for range 10 { // before any picker can have been made
					if got := r.pick(PickInfo{}); got.endpoint == l.endpoint {
						t.Fatal("a call goes to an endpoint whose breaker has opened")
					}
				}
				if diff := cmp.Diff(map[string]string{"a:1": "open", "b:1": "closed"}, r.states()); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(map[string]int{"b:1": 10}, r.picks(10)); diff != "" {
					t.Errorf("picks (-want +got):\n%s", diff)
				}
				time.Sleep(10*time.Second + time.Millisecond)
				synctest.Wait()
				var probe *Link
				for range 10 {
					if got := r.pick(PickInfo{}); got.endpoint == l.endpoint {
						if probe != nil {
							t.Fatal("two probes at a time")
						}
						probe = got
					}
				}
				if probe == nil {
					t.Fatal("no probe")
				}
				l.Done(good) // of a call from before
				if got := r.states()["a:1"]; got != "half-open" {
					t.Errorf("an old call moved the breaker: %s", got)
				}
				probe.Done(good)
				if diff := cmp.Diff(map[string]string{"a:1": "closed", "b:1": "closed"}, r.states()); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
				if got := r.picks(10); got["a:1"] == 0 {
					t.Errorf("no call returned: %v", got)
				}
			})
		})
	}
}

// TestBreakersUnderPolicies has every policy pass over an endpoint whose breaker is open,
// refuse calls when all are, and give each one probe, from which it recovers.
func TestBreakersUnderPolicies(t *testing.T) {
	for _, view := range []ViewOptions{httpView, grpcView} {
		for name, config := range map[string]Config{
			"round_robin":             {},
			"random":                  {Policy: Policy{Kind: Random}},
			"least_request":           {Policy: Policy{Kind: LeastRequest}},
			"least_request, full":     {Policy: Policy{Kind: LeastRequest, FullScan: true}},
			"ring_hash":               {Policy: Policy{Kind: RingHash}},
			"maglev":                  {Policy: Policy{Kind: Maglev}},
			"maglev, bounded":         {Policy: Policy{Kind: Maglev, HashBalanceFactor: 150}},
			"peak_ewma":               {Policy: Policy{Kind: PeakEWMA}},
			"client side weighted":    {Policy: Policy{Kind: ClientSideWeightedRoundRobin}},
			"locality weights":        {LocalityWeighted: true},
			"panic":                   {PanicThreshold: 100},
			"connections are counted": {Connection: Connection{MaxPerEndpoint: 2}},
			"subsets":                 {Subsets: &Subsets{Fallback: FallbackAny}},
			"cluster breaker":         {ClusterBreaker: &resilience.BreakerConfig{ConsecutiveFailures: 1000, OpenTime: time.Hour}},
		} {
			t.Run(fmt.Sprintf("%s, gRPC %v", name, view.GRPC), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, view, breaking(config), one(addresses("a", 3)...))
					r.settle()
					r.broken("a0:1")
					if got := r.spread(30); got["a0:1"] > 0 || len(got) != 2 {
						t.Errorf("picks with a0 open: %v", got)
					}
					r.broken("a1:1", "a2:1")
					r.refused(`cluster "c": no endpoint is left; the breakers of 3 are open, such as that of a0:1`)
					time.Sleep(10*time.Second + time.Millisecond)
					synctest.Wait()
					probes := map[string]*Link{}
					for range 3 {
						l := r.pick(PickInfo{})
						probes[l.endpoint.Address()] = l
					}
					if len(probes) != 3 {
						t.Fatalf("probes: %v", probes)
					}
					r.refused(`cluster "c": no endpoint is left; the breakers of 3 are open, such as that of a0:1`)
					probes["a0:1"].Done(failed)
					probes["a1:1"].Done(Outcome{Err: context.Canceled})
					probes["a2:1"].Done(r.ok())
					if diff := cmp.Diff(map[string]string{"a0:1": "open", "a1:1": "half-open", "a2:1": "closed"}, r.states()); diff != "" {
						t.Errorf("states after the probes (-want +got):\n%s", diff)
					}
					for range 50 { // of which chance gives one to a1
						r.pick(PickInfo{}).Done(r.ok())
					}
					if got := r.states()["a1:1"]; got != "closed" {
						t.Errorf("after the probe of a1 that follows the cancelled one: %s", got)
					}
				})
			})
		}
	}
}

// settle has all links connect that the policy needs.
func (r *rig) settle() {
	r.k.mu.Lock()
	made := slices.Collect(maps.Values(r.k.conns))
	r.k.connects = up
	r.k.mu.Unlock()
	for _, c := range made {
		if c.connects > 0 {
			up(c)
		}
	}
	for range 20 {
		if l, err := r.view.Pick(PickInfo{Context: r.Context()}); err == nil {
			l.Done(Outcome{Err: ErrUnsent})
		}
		synctest.Wait()
	}
}

// spread is picks by calls that wait.
func (r *rig) spread(n int) map[string]int {
	r.Helper()
	got := map[string]int{}
	for range n {
		l := r.pick(PickInfo{})
		got[l.endpoint.Address()]++
		l.Done(r.ok())
	}
	return got
}

// ok is the outcome of a call that succeeded.
func (r *rig) ok() Outcome {
	if r.view.options.GRPC {
		return Outcome{}
	}
	return good
}

// TestCloseEndsNewsOfBreakers has Close wait for what a breaker is telling the log, and
// breakers tell nothing after it.
func TestCloseEndsNewsOfBreakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		c := NewCluster("c", ClusterOptions{Logger: slog.New(slowly{quiet.Handler(), &told})})
		c.Configure(breaking(Config{}))
		c.Assign(one(at("a:1"), at("b:1")))
		r := &rig{T: t, cluster: c, k: &fakeConnector{}}
		r.view = c.View(r.k, httpView)
		links := []*Link{r.pick(PickInfo{}), r.pick(PickInfo{})}
		for _, l := range links {
			r.calls(l.Endpoint().Address(), 1, failed)
		}
		links[0].Done(failed)
		c.Close()
		if want := []string{"breaker is open"}; !slices.Equal(told, want) {
			t.Errorf("when Close returned the log had %q, want %q", told, want)
		}
		links[1].Done(failed)
		time.Sleep(time.Hour)
		if len(told) > 1 {
			t.Errorf("after Close the log has %q", told)
		}
	})
}

// slowly takes a second to handle a record.
type slowly struct {
	slog.Handler
	told *[]string
}

func (slowly) Enabled(context.Context, slog.Level) bool { return true }

func (s slowly) Handle(_ context.Context, r slog.Record) error {
	time.Sleep(time.Second)
	*s.told = append(*s.told, r.Message)
	return nil
}
