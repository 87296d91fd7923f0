package balancer

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"testing/synctest"
)

func subsetRig(t *testing.T, subset RandomSubset, config Config, a *Assignment) *rig {
	config.Policy.RandomSubset = subset
	return newRig(t, httpView, &config, a)
}

func (r *rig) picked(n int) []string { return slices.Sorted(maps.Keys(r.picks(n))) }

// One endpoint more or less changes at most one of a view's part, and the others stay.
func TestRandomSubsetIsStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoints := addresses("e", 20)
		r := subsetRig(t, RandomSubset{Size: 5}, Config{}, one(endpoints...))
		before := r.picked(100)
		if len(before) != 5 {
			t.Fatalf("picked %v, want 5 of them", before)
		}
		if got := r.k.made; got != 5 {
			t.Errorf("%d connections were prepared, want 5", got)
		}
		slices.Reverse(endpoints)
		for i := range endpoints {
			r.assign(one(slices.Delete(slices.Clone(endpoints), i, i+1)...))
			after := r.picked(100)
			kept := 0
			for _, address := range after {
				if slices.Contains(before, address) {
					kept++
				}
			}
			want := 5
			if slices.Contains(before, endpoints[i].Address) {
				want = 4
			}
			if len(after) != 5 || kept != want {
				t.Errorf("without %s %v became %v", endpoints[i].Address, before, after)
			}
		}
		r.assign(one(endpoints[:4]...))
		if got := r.picked(100); len(got) != 4 {
			t.Errorf("of four endpoints %v are used", got)
		}
	})
}

// Views choose differently, each endpoint equally often: to within six standard
// deviations.
func TestRandomSubsetIsEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const views, size, n = 3000, 5, 20
		c := NewCluster("c", ClusterOptions{Logger: quiet})
		defer c.Close()
		c.Configure(&Config{Policy: Policy{RandomSubset: RandomSubset{Size: size}}})
		c.Assign(one(addresses("e", n)...))
		chosen := map[string]int{}
		for range views {
			v := c.View(&fakeConnector{}, httpView)
			for _, m := range v.built.members {
				chosen[m.endpoint.Address()]++
			}
			v.Close()
		}
		share := float64(size) / n
		for i := range n {
			got := chosen[fmt.Sprintf("e%d:1", i)]
			if off := math.Abs(float64(got) - views*share); off > 6*math.Sqrt(views*share*(1-share)) {
				t.Errorf("endpoint %d is in %d of %d parts, want about %.0f", i, got, views, views*share)
			}
		}
	})
}

// A part is a priority's or, if asked for, a locality's; what cannot be called does not
// count.
func TestRandomSubsetOfWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ill := addresses("ill", 8)
		for i := range ill {
			ill[i].Health = Unhealthy
		}
		a := &Assignment{Localities: []LocalityEndpoints{
			{Locality: Locality{Zone: "a"}, Weight: 1, Endpoints: addresses("a", 8)},
			{Locality: Locality{Zone: "b"}, Weight: 1, Endpoints: addresses("b", 8)},
			{Locality: Locality{Zone: "c"}, Weight: 1, Priority: 1, Endpoints: append(addresses("c", 8), ill...)},
		}}
		count := func(r *rig) map[string]int {
			n := map[string]int{}
			for _, m := range r.view.built.members {
				if m.health != Unhealthy {
					n[m.endpoint.Locality().Zone]++
				}
			}
			return n
		}
		n := count(subsetRig(t, RandomSubset{Size: 3}, Config{}, a))
		if n["a"]+n["b"] != 3 || n["c"] != 3 {
			t.Errorf("three of each priority: %v", n)
		}
		r := subsetRig(t, RandomSubset{Size: 3, PerLocality: true}, Config{LocalityWeighted: true}, a)
		if n := count(r); n["a"] != 3 || n["b"] != 3 || n["c"] != 3 {
			t.Errorf("three of each locality: %v", n)
		}
		if got := len(r.picked(1000)); got != 6 {
			t.Errorf("%d endpoints were picked, want the six of priority 0", got)
		}
	})
}

// An endpoint that turns out ill stays in its part, so that connections stay; and calls
// go to the others.
func TestRandomSubsetAndHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := subsetRig(t, RandomSubset{Size: 3}, Config{}, one(addresses("e", 10)...))
		before := r.picked(100)
		for _, e := range r.cluster.Endpoints() {
			if e.Address() == before[0] {
				e.mark(ejected, true)
			}
		}
		r.cluster.healthChanged()
		synctest.Wait()
		if got := r.picked(100); !slices.Equal(got, before[1:]) {
			t.Errorf("with %s ejected %v became %v", before[0], before, got)
		}
	})
}

// What finds members by what they are finds those of the part.
func TestRandomSubsetAndOverride(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := subsetRig(t, RandomSubset{Size: 3}, Config{}, one(addresses("e", 10)...))
		used := r.picked(100)
		for i := range 10 {
			address := fmt.Sprintf("e%d:1", i)
			for range 20 {
				l, err := r.view.Pick(PickInfo{Override: Override{Addresses: address}})
				if err != nil {
					t.Fatal(err)
				}
				l.Done(Outcome{})
				if got := l.Endpoint().Address(); !slices.Contains(used, got) || slices.Contains(used, address) && got != address {
					t.Errorf("a call for %s goes to %s, of %v", address, got, used)
				}
			}
		}
	})
}
