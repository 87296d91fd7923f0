package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// The ten thousandth number of a std::mt19937 is 4123659995 by the C++ standard
// ([rand.predef]).
func TestMersenne(t *testing.T) {
	var m mersenne
	m.seed(5489)
	var last uint32
	for range 10_000 {
		last = m.uint32()
	}
	if last != 4123659995 {
		t.Errorf("the 10,000th number is %d", last)
	}
}

// A shuffle is a permutation, the same for the same seed, and leaves nothing behind
// wherever it ends.
func TestShuffle(t *testing.T) {
	s := new(shuffle)
	list := func(seed uint64, n, most int) (got []uint32) {
		s.each(seed, n, func(i uint32) bool {
			got = append(got, i)
			return len(got) < most
		})
		return got
	}
	whole := list(7, 20, 20)
	if sorted := slices.Sorted(slices.Values(whole)); len(slices.Compact(sorted)) != 20 {
		t.Errorf("not a permutation: %v", whole)
	}
	for most := 1; most <= 20; most++ {
		list(uint64(most), 30, most)
		if diff := cmp.Diff(whole[:most], list(7, 20, most)); diff != "" {
			t.Errorf("the first %d (-want +got):\n%s", most, diff)
		}
	}
}

// boundOracle chooses as Envoy's source reads, with the calls in flight of all hosts.
func boundOracle(hosts []hashHost, active map[uint32]int64, total int64, factor uint64, hash uint64, first uint32) uint32 {
	overload := func(h hashHost) float64 {
		slots := math.Ceil(float64(((total+1)*int64(factor)+99)/100) * h.weight)
		return float64(active[h.member]) / max(slots, 1)
	}
	at := slices.IndexFunc(hosts, func(h hashHost) bool { return h.member == first })
	if overload(hosts[at]) <= 1 {
		return first
	}
	var random mersenne
	random.seed(uint32(hash))
	order := make([]int, len(hosts))
	for i := range order {
		order[i] = i
	}
	best := hosts[at]
	for i := range order {
		j := i + int(random.below(uint32(len(order)-i)))
		order[i], order[j] = order[j], order[i]
		h := hosts[order[i]]
		switch {
		case h.member == first:
		case overload(h) <= 1:
			return h.member
		case overload(h) < overload(best):
			best = h
		}
	}
	return best.member
}

// TestBoundedLoad makes picks that stay in flight and compares each with the oracle's.
func TestBoundedLoad(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, kind := range []PolicyKind{RingHash, Maglev} {
		synctest.Test(t, func(t *testing.T) {
			list := addresses("e", 12)
			for i := range list {
				list[i].Weight = 1 + random.Uint32N(4)
			}
			r := newRig(t, httpView, &Config{Policy: Policy{Kind: kind, HashBalanceFactor: 120, TableSize: 251}}, one(list...))
			p := r.view.picker.Load()
			table := p.hash.parts[0].hashTable
			var held []*Link
			moved := 0
			for range 3000 {
				hash := random.Uint64() % 40 * 0x9e3779b97f4a7c15
				first := table.slots[table.place(hash)]
				active := map[uint32]int64{}
				for i, m := range p.snapshot.members {
					active[uint32(i)] = m.endpoint.Active()
				}
				want := boundOracle(table.bound.hosts, active, int64(len(held)), 120, hash, first)
				l, err := r.view.Pick(PickInfo{Hash: hash, HasHash: true})
				if err != nil {
					t.Fatal(err)
				}
				if l != p.links[want] {
					t.Fatalf("picked %s, want %s", l.endpoint.Address(), p.links[want].endpoint.Address())
				}
				if want != first {
					moved++
				}
				held = append(held, l)
				for len(held) > 0 && random.IntN(60) < len(held)/4 {
					i := random.IntN(len(held))
					held[i].Done(Outcome{})
					held = slices.Delete(held, i, i+1)
				}
			}
			if moved < 100 {
				t.Errorf("only %d picks were for another than the key's endpoint", moved)
			}
		})
	}
}

// A single key loads no endpoint beyond its bound while another has room, and comes
// back when its own has.
func TestBoundedLoadOfOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, &Config{Policy: Policy{Kind: RingHash, HashBalanceFactor: 150}}, one(addresses("e", 4)...))
		pick := func() *Link {
			l, err := r.view.Pick(PickInfo{Hash: 42, HasHash: true})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		own := pick()
		held := []*Link{own}
		for range 99 {
			held = append(held, pick())
		}
		for _, e := range r.cluster.Endpoints() {
			if n := e.Active(); n > 39 { // 100 × 1.5 / 4, and one
				t.Errorf("%s has %d of 100 calls", e.Address(), n)
			}
		}
		for _, l := range held {
			l.Done(Outcome{})
		}
		if l := pick(); l != own {
			t.Errorf("the key is at %s, was at %s", l.endpoint.Address(), own.endpoint.Address())
		}
	})
}

// Where connections are made as keys ask for them, an overloaded endpoint has another
// connect, and no call waits for that.
func TestBoundedLoadConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, &Config{Policy: Policy{Kind: RingHash, HashBalanceFactor: 100}}, one(addresses("e", 3)...))
		r.k.connects = up
		info := PickInfo{Hash: 42, HasHash: true}
		_, _ = r.view.Pick(info)
		synctest.Wait()
		seen := map[*Link]bool{}
		for range 12 {
			l, err := r.view.Pick(info)
			if err != nil {
				t.Fatal(err)
			}
			seen[l] = true
			synctest.Wait()
		}
		if len(seen) != 3 {
			t.Errorf("%d endpoints have calls", len(seen))
		}
	})
}

// The calls of a cluster are counted exactly while the policy changes under them.
func TestCountCallsThroughChanges(t *testing.T) {
	bounded := &Config{Policy: Policy{Kind: Maglev, TableSize: 53, HashBalanceFactor: 150}}
	plain := &Config{Policy: Policy{Kind: RoundRobin}}
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	defer c.Close()
	c.Configure(plain)
	c.Assign(one(addresses("e", 3)...))
	v := c.View(new(fakeConnector), httpView)
	var callers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		callers.Go(func() {
			var held []*Link
			for {
				select {
				case <-stop:
					for _, l := range held {
						l.Done(Outcome{})
					}
					return
				default:
				}
				if l, err := v.Pick(PickInfo{}); err == nil {
					held = append(held, l)
				}
				if len(held) > 10 {
					held[0].Done(Outcome{})
					held = held[1:]
				}
			}
		})
	}
	for i := range 200 {
		c.Configure([]*Config{bounded, plain}[i%2])
		c.Assign(one(addresses("e", 1+i%4)...))
	}
	c.Configure(bounded)
	close(stop)
	callers.Wait()
	if n := c.active.Load(); n != 0 {
		t.Errorf("%d calls are counted, and there are none", n)
	}
	for _, e := range c.Endpoints() {
		if n := e.Active(); n != 0 {
			t.Errorf("%s: %d", e.Address(), n)
		}
	}
}

func BenchmarkPickBounded(b *testing.B) {
	for _, n := range []int{3, 100, 10_000} {
		for _, overloaded := range []bool{false, true} {
			b.Run(fmt.Sprintf("endpoints=%d/overloaded=%t", n, overloaded), func(b *testing.B) {
				c := NewCluster("c", ClusterOptions{Logger: quiet})
				defer c.Close()
				c.Configure(&Config{Policy: Policy{Kind: Maglev, HashBalanceFactor: 150}})
				c.Assign(one(addresses("e", n)...))
				v := c.View(new(fakeConnector), httpView)
				info := PickInfo{Hash: 42, HasHash: true}
				l, err := v.Pick(info)
				if err != nil {
					b.Fatal(err)
				}
				if overloaded {
					l.endpoint.active.Add(1000)
				}
				b.ReportAllocs()
				for b.Loop() {
					l, err := v.Pick(info)
					if err != nil {
						b.Fatal(err)
					}
					l.Done(Outcome{})
				}
			})
		}
	}
}
