package balancer

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// nearly forgives what whole hundredths of a percent leave of a share.
var nearly = cmp.Comparer(func(a, b int) bool { return a-b <= 2 && b-a <= 2 && (a == 0) == (b == 0) })

// inZones is an assignment with so many endpoints in zones a, b, c, ...
func inZones(prefix string, counts ...int) *Assignment {
	a := new(Assignment)
	for i, n := range counts {
		zone := string(rune('a' + i))
		a.Localities = append(a.Localities, LocalityEndpoints{
			Locality: Locality{Zone: zone}, Weight: 1, Endpoints: addresses(prefix+zone, n),
		})
	}
	return a
}

// zoneRig has a view of a process in zone a, whose peers are in the zones given.
func zoneRig(t *testing.T, o ViewOptions, config *Config, a *Assignment, callers *Assignment) (*rig, *Cluster) {
	local := NewLocal(Locality{Zone: "a"})
	r := &rig{T: t, cluster: NewCluster("c", ClusterOptions{Logger: quiet, Local: local}), k: &fakeConnector{}}
	t.Cleanup(r.cluster.Close)
	var own *Cluster
	if callers != nil {
		own = NewCluster("own", ClusterOptions{Logger: quiet})
		t.Cleanup(own.Close)
		own.Configure(&Config{})
		own.Assign(callers)
		local.Follow(own)
	}
	r.cluster.Configure(config)
	r.cluster.Assign(a)
	r.view = r.cluster.View(r.k, o)
	return r, own
}

// zonesPicked returns how many of n picks went to each zone.
func (r *rig) zonesPicked(n int) map[string]int {
	r.Helper()
	counts := map[string]int{}
	for range n {
		l, err := r.view.Pick(PickInfo{})
		if err != nil {
			r.Fatalf("Pick: %v", err)
		}
		counts[l.Endpoint().Locality().Zone]++
		l.Done(Outcome{})
	}
	return counts
}

// TestZoneShares has the zones of cases that can be worked out by hand.
func TestZoneShares(t *testing.T) {
	small := &ZoneAware{Routing: 100}
	for _, c := range []struct {
		name              string
		zones             *ZoneAware
		upstream, callers []int // by zone; nil callers are not known
		want              map[string]int
		localityWeighted  bool
	}{
		{name: "room for all at home", zones: small, upstream: []int{2, 1, 1}, callers: []int{1, 1, 1}, want: map[string]int{"a": 800}},
		{name: "as many at home as elsewhere", zones: small, upstream: []int{2, 2}, callers: []int{5, 5}, want: map[string]int{"a": 800}},
		// Envoy's own example: 40 % of the callers at 25 % of the endpoints.
		{name: "short at home", zones: small, upstream: []int{1, 2, 1}, callers: []int{2, 2, 1}, want: map[string]int{"a": 500, "b": 200, "c": 100}},
		{name: "nothing at home", zones: small, upstream: []int{0, 3, 1}, callers: []int{2, 1, 1}, want: map[string]int{"b": 800}},
		{name: "callers not known: evenly spread", zones: small, upstream: []int{1, 2, 3}, want: map[string]int{"a": 400, "b": 0, "c": 400}},
		{name: "by default, if the callers are known", upstream: []int{3, 3}, callers: []int{1, 1}, want: map[string]int{"a": 800}},
		{name: "by default, too small", upstream: []int{2, 2}, callers: []int{1, 1}, want: map[string]int{"a": 400, "b": 400}},
		{name: "by default, not without callers", upstream: []int{3, 3}, want: map[string]int{"a": 400, "b": 400}},
		{name: "all callers in one zone", zones: small, upstream: []int{2, 2}, callers: []int{3}, want: map[string]int{"a": 400, "b": 400}},
		{name: "no callers at home", zones: small, upstream: []int{2, 2}, callers: []int{0, 1, 1}, want: map[string]int{"a": 400, "b": 400}},
		{name: "forced", zones: &ZoneAware{Routing: 100, ForceLocalSize: 1}, upstream: []int{1, 3}, callers: []int{3, 1}, want: map[string]int{"a": 800}},
		{name: "forced, if there are two", zones: &ZoneAware{Routing: 100, ForceLocalSize: 2}, upstream: []int{1, 3}, callers: []int{1, 1}, want: map[string]int{"a": 400, "b": 400}},
		{name: "a quarter of the calls", zones: &ZoneAware{Routing: 25}, upstream: []int{2, 2}, callers: []int{1, 1}, want: map[string]int{"a": 500, "b": 300}},
		{name: "none of the calls", zones: &ZoneAware{}, upstream: []int{2, 2}, callers: []int{1, 1}, want: map[string]int{"a": 400, "b": 400}},
		{name: "weighted localities", zones: small, localityWeighted: true, upstream: []int{2, 2}, callers: []int{1, 1}, want: map[string]int{"a": 400, "b": 400}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, o := range []ViewOptions{httpView, grpcView} {
					var callers *Assignment
					if c.callers != nil {
						callers = inZones("own", c.callers...)
					}
					r, _ := zoneRig(t, o, &Config{ZoneAware: c.zones, LocalityWeighted: c.localityWeighted, PanicThreshold: 50}, inZones("e", c.upstream...), callers)
					for _, conn := range r.k.conns {
						conn.report(Ready, nil)
					}
					synctest.Wait()
					want := map[string]int{}
					for zone, n := range c.want {
						if n > 0 {
							want[zone] = n
						}
					}
					if diff := cmp.Diff(want, r.zonesPicked(800), nearly); diff != "" {
						t.Errorf("%+v (-want +got):\n%s", o, diff)
					}
				}
			})
		})
	}
}

// zoneOracle chooses a zone as Envoy's source reads, by lots.
func zoneOracle(random *rand.Rand, upstream, callers []int) int {
	percentages := func(counts []int, n int) []uint64 {
		list, total := make([]uint64, n), 0
		for _, c := range counts {
			total += c
		}
		for i := range list {
			if total > 0 && i < len(counts) {
				list[i] = uint64(10_000 * counts[i] / total)
			}
		}
		return list
	}
	up, own := percentages(upstream, len(upstream)), percentages(callers, len(upstream))
	if up[0] > 0 && up[0] >= own[0] {
		return 0
	}
	if own[0] > 0 && random.Uint64N(10_000) < up[0]*10_000/own[0] {
		return 0
	}
	var residual []uint64
	var last uint64
	for i := range up {
		if i > 0 && up[i] > own[i] {
			last += up[i] - own[i]
		}
		residual = append(residual, last)
	}
	if last == 0 {
		return random.IntN(len(up))
	}
	threshold := random.Uint64N(last)
	i := 0
	for threshold >= residual[i] {
		i++
	}
	return i
}

// TestZonesAgainstOracle compares the shares of zones in made-up clusters with those of
// Envoy's algorithm. The bound, seven standard deviations of a sample, is passed by
// chance once in 10^11 comparisons, of which there are some 200.
func TestZonesAgainstOracle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const n = 20_000
	for range 60 {
		zones := 2 + random.IntN(3)
		upstream, callers := make([]int, zones), make([]int, zones)
		for i := range zones {
			upstream[i], callers[i] = 1+random.IntN(12), 1+random.IntN(12)
		}
		synctest.Test(t, func(t *testing.T) {
			r, _ := zoneRig(t, httpView, &Config{ZoneAware: &ZoneAware{Routing: 100}}, inZones("e", upstream...), inZones("own", callers...))
			got := r.zonesPicked(n)
			want := map[string]int{}
			for range n {
				want[string(rune('a'+zoneOracle(random, upstream, callers)))]++
			}
			for i := range zones {
				zone := string(rune('a' + i))
				share := float64(want[zone]) / n
				bound := 7*math.Sqrt(share*(1-share)*n) + 5
				if d := math.Abs(float64(got[zone] - want[zone])); d > bound {
					t.Errorf("endpoints %v, callers %v: zone %s got %d of %d calls, Envoy's %d", upstream, callers, zone, got[zone], n, want[zone])
				}
			}
		})
	}
}

// Calls leave the zone as its endpoints fail, in proportion, and come back with them.
// A change of the callers counts as well.
func TestZoneSpills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, own := zoneRig(t, httpView, &Config{ZoneAware: &ZoneAware{Routing: 100}}, inZones("e", 4, 4), inZones("own", 1, 1))
		expect := func(when string, want map[string]int) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, r.zonesPicked(1200), nearly); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		expect("at first", map[string]int{"a": 1200})
		down := errors.New("down")
		// 2 of 6 left: 33 % of the endpoints for 50 % of the callers.
		r.report(TransientFailure, down, "ea0:1", "ea1:1")
		expect("with half of the zone", map[string]int{"a": 800, "b": 400})
		r.report(TransientFailure, down, "ea2:1", "ea3:1")
		expect("without the zone", map[string]int{"b": 1200})
		r.report(Ready, nil, "ea0:1", "ea1:1", "ea2:1", "ea3:1")
		expect("after its return", map[string]int{"a": 1200})

		own.Assign(inZones("own", 3, 1)) // 50 % of the endpoints for 75 % of the callers
		expect("with more callers here", map[string]int{"a": 800, "b": 400})
		own.Fail(errors.New("gone"))
		expect("with callers not known", map[string]int{"a": 1200})
	})
}

// A cluster in panic gets no calls where policy says so, instead of all of its endpoints.
func TestFailOnPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fail := range []bool{false, true} {
			for _, o := range []ViewOptions{httpView, grpcView} {
				r, _ := zoneRig(t, o, &Config{ZoneAware: &ZoneAware{Routing: 100, FailOnPanic: fail}, PanicThreshold: 50}, inZones("e", 2, 2), nil)
				for _, address := range []string{"ea0:1", "ea1:1", "eb0:1", "eb1:1"} {
					r.report(Ready, nil, address)
				}
				r.report(TransientFailure, errors.New("down"), "ea0:1", "ea1:1", "eb0:1")
				_, err := r.view.Pick(PickInfo{})
				if fail != errors.Is(err, ErrNoEndpoints) {
					t.Errorf("%+v: fail %t: %v", o, fail, err)
				}
				r.report(Ready, nil, "ea0:1", "ea1:1", "eb0:1")
				if _, err := r.view.Pick(PickInfo{}); err != nil {
					t.Errorf("%+v: after that: %v", o, err)
				}
			}
		}
	})
}

// Endpoints and callers may count by their weights.
func TestZonesByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := inZones("e", 1, 1)
		a.Localities[0].Endpoints[0].Weight = 3
		for byWeight, want := range map[bool]map[string]int{true: {"a": 800}, false: {"a": 600, "b": 200}} {
			r, _ := zoneRig(t, httpView, &Config{ZoneAware: &ZoneAware{Routing: 100, ByWeight: byWeight}}, a, inZones("own", 2, 1))
			if diff := cmp.Diff(want, r.zonesPicked(800), nearly); diff != "" {
				t.Errorf("by weight %t (-want +got):\n%s", byWeight, diff)
			}
		}
	})
}

func BenchmarkPickZones(b *testing.B) {
	for _, n := range []int{6, 300} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			local := NewLocal(Locality{Zone: "a"})
			c := NewCluster("c", ClusterOptions{Logger: quiet, Local: local})
			defer c.Close()
			c.Configure(&Config{ZoneAware: &ZoneAware{Routing: 100}})
			c.Assign(inZones("e", n/6, n/3, n/2))
			v := c.View(new(fakeConnector), httpView)
			b.ReportAllocs()
			for b.Loop() {
				l, err := v.Pick(PickInfo{})
				if err != nil {
					b.Fatal(err)
				}
				l.Done(Outcome{})
			}
		})
	}
}

// Where the callers are says nothing while most of them are not healthy.
func TestCallersInPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		callers := inZones("own", 3, 3)
		for i := range 4 {
			callers.Localities[i%2].Endpoints[i/2].Health = Unhealthy
		}
		for threshold, want := range map[float64]map[string]int{50: {"a": 400, "b": 400}, 30: {"a": 800}} {
			r, _ := zoneRig(t, httpView, &Config{ZoneAware: &ZoneAware{Routing: 100}, PanicThreshold: threshold}, inZones("e", 2, 2), callers)
			if diff := cmp.Diff(want, r.zonesPicked(800), nearly); diff != "" {
				t.Errorf("threshold %v (-want +got):\n%s", threshold, diff)
			}
		}
	})
}
