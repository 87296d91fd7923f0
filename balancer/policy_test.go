package balancer

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// within checks counts of n draws against shares, within seven standard deviations: a
// right policy fails less than once in 10^9 runs of all.
func within(t *testing.T, counts map[string]int, n int, shares map[string]float64) {
	t.Helper()
	for address, share := range shares {
		sigma := math.Sqrt(float64(n) * share * (1 - share))
		if off := math.Abs(float64(counts[address]) - float64(n)*share); off > 7*sigma {
			t.Errorf("%s was picked %d times in %d, want about %.0f", address, counts[address], n, float64(n)*share)
		}
	}
}

func weigh(weights ...uint32) []EndpointConfig {
	list := addresses("e", len(weights))
	for i, w := range weights {
		list[i].Weight = w
	}
	return list
}

func policyRig(t *testing.T, p Policy, endpoints []EndpointConfig) *rig {
	return newRig(t, httpView, &Config{Policy: p}, one(endpoints...))
}

func TestRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{}, weigh(1, 5, 0, 3)) // a weight of 0 is 1
		if diff := cmp.Diff(map[string]int{"e0:1": 10, "e1:1": 50, "e2:1": 10, "e3:1": 30}, r.picks(100)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
	})
}

func TestRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50_000
		r := policyRig(t, Policy{Kind: Random}, weigh(1, 5, 0, 3))
		within(t, r.picks(n), n, map[string]float64{"e0:1": 0.1, "e1:1": 0.5, "e2:1": 0.1, "e3:1": 0.3})
		r = policyRig(t, Policy{Kind: Random}, addresses("e", 2))
		got := r.picks(n)
		within(t, got, n, map[string]float64{"e0:1": 0.5, "e1:1": 0.5})
		if got["e0:1"] == n/2 {
			t.Log("exactly half: possible, if rarely")
		}
	})
}

// Picks that draw at random must not come in turn.
func TestRandomIsNotRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{Kind: Random}, addresses("e", 2))
		var last string
		repeats := 0
		for range 100 {
			l, _ := r.view.Pick(PickInfo{})
			if l.Endpoint().Address() == last {
				repeats++
			}
			last = l.Endpoint().Address()
			l.Done(Outcome{})
		}
		if repeats == 0 {
			t.Error("100 picks went strictly in turn")
		}
	})
}

func TestLeastRequest(t *testing.T) {
	const n = 50_000
	for _, test := range []struct {
		name   string
		policy Policy
		// Of the endpoints e0, e1, ...
		weights []uint32
		active  []int64
		want    []float64 // shares
	}{
		{"idle", Policy{}, []uint32{1, 1, 1}, []int64{0, 0, 0}, []float64{1. / 3, 1. / 3, 1. / 3}},
		// Of two different ones out of three, the one with the fewest: each pair has
		// a third, and the busiest is never the better of two.
		{"two choices", Policy{}, []uint32{1, 1, 1}, []int64{0, 1, 2}, []float64{2. / 3, 1. / 3, 0}},
		{"two of two", Policy{}, []uint32{1, 1}, []int64{5, 4}, []float64{0, 1}},
		// The third is any of the three: the pair {1,2}, of chance 1/3, meets 0 with 1/3.
		{"three choices", Policy{ChoiceCount: 3}, []uint32{1, 1, 1}, []int64{0, 1, 2}, []float64{7. / 9, 2. / 9, 0}},
		// Envoy's example: weight 2 with four in flight counts 0.4.
		{"weights", Policy{ActiveRequestBias: 1}, []uint32{2, 1}, []int64{4, 0}, []float64{0.4 / 1.4, 1 / 1.4}},
		{"weights, bias unset", Policy{ActiveRequestBias: -1}, []uint32{2, 1}, []int64{4, 0}, []float64{0.4 / 1.4, 1 / 1.4}},
		{"weights, strong bias", Policy{ActiveRequestBias: 2}, []uint32{4, 1}, []int64{1, 0}, []float64{0.5, 0.5}},
		{"weights, no bias", Policy{ActiveRequestBias: 0}, []uint32{4, 1}, []int64{100, 0}, []float64{0.8, 0.2}},
		{"weights, idle", Policy{ActiveRequestBias: 1}, []uint32{4, 1}, []int64{0, 0}, []float64{0.8, 0.2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.policy.Kind = LeastRequest
				r := policyRig(t, test.policy, weigh(test.weights...))
				shares := map[string]float64{}
				for i, e := range r.cluster.Endpoints() {
					e.active.Store(test.active[i])
					shares[e.Address()] = test.want[i]
				}
				within(t, r.picks(n), n, shares)
			})
		})
	}
}

// Without a bias, least_request is weighted round robin, to the call.
func TestLeastRequestWithoutBias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{Kind: LeastRequest}, weigh(4, 1))
		if diff := cmp.Diff(map[string]int{"e0:1": 80, "e1:1": 20}, r.picks(100)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
	})
}

// Of many endpoints a sample is weighed. Where none is busy the weights alone
// decide, and one that is busy gets fewer.
func TestLeastRequestOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		weights := make([]uint32, 40)
		for i := range weights {
			weights[i] = uint32(1 + i%4) // 100 in all
		}
		r := policyRig(t, Policy{Kind: LeastRequest, ActiveRequestBias: 1}, weigh(weights...))
		within(t, r.picks(n), n, map[string]float64{"e0:1": 0.01, "e1:1": 0.02, "e2:1": 0.03, "e3:1": 0.04})

		r.cluster.Endpoints()[3].active.Store(9) // a tenth of its weight: 0.4 of 96.4
		got := r.picks(n)["e3:1"]
		if want := n * 0.4 / 96.4; float64(got) > 1.5*want || float64(got) < want/1.5 {
			t.Errorf("a busy endpoint was picked %d times in %d, want about %.0f", got, n, want)
		}
	})
}

func TestPickFirstOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{Kind: PickFirst}, addresses("e", 3))
		if got := r.picks(10); got["e0:1"] != 10 {
			t.Errorf("picks = %v, want the first", got)
		}
		r.report(TransientFailure, errRefused, "e0:1")
		if got := r.picks(10); got["e1:1"] != 10 {
			t.Errorf("picks with the first down = %v, want the second", got)
		}
	})
}

func TestPickFirstConnectsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := &Config{Policy: Policy{Kind: PickFirst}, PanicThreshold: 50}
		r := newRig(t, grpcView, config, two(addresses("a", 3), addresses("b", 1)))
		want := func(addresses ...string) {
			t.Helper()
			if diff := cmp.Diff(addresses, r.k.connected()); diff != "" {
				t.Fatalf("connected (-want +got):\n%s", diff)
			}
		}
		want("a0:1")
		r.report(Connecting, nil, "a0:1")
		want("a0:1")
		r.report(TransientFailure, errRefused, "a0:1")
		want("a0:1", "a1:1")
		r.report(Ready, nil, "a1:1")
		r.report(Idle, nil, "a0:1") // its backoff is over: nobody needs it
		if got := r.k.conn(t, "a0:1").connects; got != 1 {
			t.Errorf("the first was told to connect %d times while the second is Ready", got)
		}
		if got := r.picks(10); got["a1:1"] != 10 {
			t.Errorf("picks = %v", got)
		}
		// The connection stays when its endpoint is no longer the first.
		r.assign(two(append(addresses("new", 1), addresses("a", 3)...), nil))
		want("a0:1", "a1:1")

		r.assign(two(addresses("a", 2), addresses("b", 1)))
		r.report(TransientFailure, errRefused, "a1:1")
		r.report(TransientFailure, errRefused, "a0:1")
		want("a0:1", "a1:1", "b0:1")
	})
}

func TestPickFirstTriesAgainWhenAllHaveFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, &Config{Policy: Policy{Kind: PickFirst}}, one(addresses("a", 2)...))
		r.report(TransientFailure, errRefused, "a0:1")
		r.report(TransientFailure, errRefused, "a1:1")
		if s, _ := r.view.State(); s != TransientFailure {
			t.Errorf("State = %v", s)
		}
		r.report(Idle, nil, "a1:1")
		if got := r.k.conn(t, "a1:1").connects; got != 2 {
			t.Errorf("told to connect %d times, want 2", got)
		}
		if s, _ := r.view.State(); s != TransientFailure {
			t.Errorf("State while trying again = %v, want TRANSIENT_FAILURE to stay", s)
		}
		r.report(Ready, nil, "a1:1")
		if got := r.picks(10); got["a1:1"] != 10 {
			t.Errorf("picks = %v", got)
		}
	})
}

func TestPickFirstShuffles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := map[string]int{}
		for range 60 {
			r := policyRig(t, Policy{Kind: PickFirst, Shuffle: true}, addresses("e", 3))
			for address := range r.picks(10) {
				first[address]++
			}
			before := r.picks(1)
			r.assign(one(append(addresses("e", 3), at("more:1"))...))
			r.assign(one(addresses("e", 3)...))
			if diff := cmp.Diff(before, r.picks(1)); diff != "" {
				t.Fatalf("another order after an update (-want +got):\n%s", diff)
			}
		}
		// One of three is missed in 60 draws with a probability of 10^-10.
		if len(first) != 3 {
			t.Errorf("first choices of 60 clients = %v, want all three", first)
		}
	})
}

// Clients that start together must not all begin with the same endpoint.
func TestRoundRobinBeginsAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]bool{}
		for range 100 {
			for address := range policyRig(t, Policy{}, addresses("e", 3)).picks(1) {
				seen[address] = true
			}
		}
		if len(seen) != 3 {
			t.Errorf("100 clients began with %v", seen)
		}
	})
}

func BenchmarkPick(b *testing.B) {
	policies := []struct {
		name    string
		policy  Policy
		weights func(i int) uint32
	}{
		{"round_robin", Policy{}, func(int) uint32 { return 1 }},
		{"weighted_round_robin", Policy{}, func(i int) uint32 { return uint32(1 + i%7) }},
		{"random", Policy{Kind: Random}, func(i int) uint32 { return uint32(1 + i%7) }},
		{"least_request", Policy{Kind: LeastRequest}, func(int) uint32 { return 1 }},
		{"weighted_least_request", Policy{Kind: LeastRequest, ActiveRequestBias: 1}, func(i int) uint32 { return uint32(1 + i%7) }},
		{"peak_ewma", Policy{Kind: PeakEWMA}, func(int) uint32 { return 1 }},
		{"pick_first", Policy{Kind: PickFirst}, func(int) uint32 { return 1 }},
		{"ring_hash", Policy{Kind: RingHash}, func(int) uint32 { return 1 }},
		{"maglev", Policy{Kind: Maglev}, func(int) uint32 { return 1 }},
	}
	for _, p := range policies {
		for _, n := range []int{1, 100, 10_000} {
			endpoints := addresses("e", n)
			for i := range endpoints {
				endpoints[i].Weight = p.weights(i)
			}
			c := NewCluster("c", ClusterOptions{})
			c.Configure(&Config{Policy: p.policy})
			c.Assign(one(endpoints...))
			v := c.View(&fakeConnector{}, httpView)
			b.Run(fmt.Sprintf("%s/%d", p.name, n), func(b *testing.B) {
				b.ReportAllocs()
				var hash uint64
				for b.Loop() {
					hash += 0x9e3779b97f4a7c15
					l, err := v.Pick(PickInfo{Hash: hash, HasHash: true})
					if err != nil {
						b.Fatal(err)
					}
					l.Done(Outcome{})
				}
			})
			if n == 100 {
				b.Run(fmt.Sprintf("%s/%d/parallel", p.name, n), func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							l, _ := v.Pick(PickInfo{})
							l.Done(Outcome{})
						}
					})
				})
			}
			c.Close()
		}
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	for _, kind := range []PolicyKind{RoundRobin, Random, LeastRequest, PickFirst, RingHash, Maglev, PeakEWMA, ClientSideWeightedRoundRobin} {
		for _, weight := range []uint32{1, 2} {
			endpoints := addresses("e", 20)
			endpoints[0].Weight = weight
			c := NewCluster("c", ClusterOptions{})
			c.Configure(&Config{Policy: Policy{Kind: kind, ActiveRequestBias: 1}})
			c.Assign(one(endpoints...))
			v := c.View(&fakeConnector{}, httpView)
			exclude := slices.Clone(c.Endpoints()[:2])
			got := testing.AllocsPerRun(100, func() {
				l, _ := v.Pick(PickInfo{Hash: 1 << 40, HasHash: true})
				l.Done(Outcome{})
				l, _ = v.Pick(PickInfo{Exclude: exclude})
				l.Done(Outcome{})
			})
			if got != 0 {
				t.Errorf("policy %d: a pick allocates %v times", kind, got)
			}
			c.Close()
		}
	}
}
