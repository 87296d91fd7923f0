package balancer

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errRefused = errors.New("connection refused")

// two is an assignment of two priorities.
func two(p0, p1 []EndpointConfig) *Assignment {
	return &Assignment{Localities: []LocalityEndpoints{
		{Priority: 0, Weight: 1, Endpoints: p0},
		{Priority: 1, Weight: 1, Endpoints: p1},
	}}
}

func TestLowerPriorityConnectsOnlyWhenNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, two(addresses("a", 2), addresses("b", 2)))
		if diff := cmp.Diff([]string{"a0:1", "a1:1"}, r.k.connected()); diff != "" {
			t.Fatalf("connected at first (-want +got):\n%s", diff)
		}
		r.report(Ready, nil, "a0:1", "a1:1")

		r.report(TransientFailure, errRefused, "a0:1")
		// Half of priority 0 is left, 70 % of the load; until the other connects it
		// takes all.
		if got := r.picks(100); got["a1:1"] != 100 {
			t.Errorf("picks while priority 1 connects = %v", got)
		}
		r.report(Ready, nil, "b0:1", "b1:1")
		if diff := cmp.Diff(map[string]int{"a1:1": 70, "b0:1": 15, "b1:1": 15}, r.picks(100)); diff != "" {
			t.Errorf("picks with half of priority 0 (-want +got):\n%s", diff)
		}

		r.report(TransientFailure, errRefused, "a1:1")
		if got := r.picks(100); got["b0:1"] != 50 || got["b1:1"] != 50 {
			t.Errorf("picks without priority 0 = %v", got)
		}

		// Back again: priority 1 is kept for a while, then let go.
		r.report(Ready, nil, "a0:1", "a1:1")
		if got := r.picks(100); got["a0:1"] != 50 || got["a1:1"] != 50 {
			t.Errorf("picks with priority 0 back = %v", got)
		}
		time.Sleep(unusedTimeout - time.Second)
		synctest.Wait()
		if got := r.k.closed(); len(got) != 0 {
			t.Errorf("closed after less than 15 minutes: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"b0:1", "b1:1"}, r.k.closed()); diff != "" {
			t.Errorf("closed after 15 minutes (-want +got):\n%s", diff)
		}
		r.report(TransientFailure, errRefused, "a0:1", "a1:1")
		r.report(Ready, nil, "b0:1")
		if got := r.picks(10); got["b0:1"] != 10 {
			t.Errorf("picks after another failover = %v", got)
		}
	})
}

func TestFailoverTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, two(addresses("a", 2), addresses("b", 2)))
		r.report(Connecting, nil, "a0:1", "a1:1")
		time.Sleep(failoverTimeout - time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a0:1", "a1:1"}, r.k.connected()); diff != "" {
			t.Errorf("connected before 10 s (-want +got):\n%s", diff)
		}
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrConnecting) {
			t.Errorf("Pick while priority 0 connects: %v", err)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a0:1", "a1:1", "b0:1", "b1:1"}, r.k.connected()); diff != "" {
			t.Errorf("connected after 10 s (-want +got):\n%s", diff)
		}
		r.report(Ready, nil, "b0:1")
		if got := r.picks(10); got["b0:1"] != 10 {
			t.Errorf("picks = %v", got)
		}
		r.report(Ready, nil, "a0:1", "a1:1")
		if got := r.picks(10); got["a0:1"] != 5 {
			t.Errorf("picks with priority 0 = %v", got)
		}
		// A connection that was lost has 10 s anew.
		r.report(Idle, nil, "a0:1", "a1:1")
		if got := r.picks(10); got["b0:1"] != 10 {
			t.Errorf("picks while priority 0 connects again = %v, want what else is there", got)
		}
		if s, _ := r.view.State(); s != Ready {
			t.Errorf("State = %v", s)
		}
	})
}

func TestOnDemandFailsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, two(addresses("a", 2), addresses("b", 2)))
		if got := r.picks(100); got["a0:1"] != 50 || got["a1:1"] != 50 {
			t.Errorf("picks = %v", got)
		}
		r.report(TransientFailure, errRefused, "a0:1")
		if diff := cmp.Diff(map[string]int{"a1:1": 70, "b0:1": 15, "b1:1": 15}, r.picks(100)); diff != "" {
			t.Errorf("picks with half of priority 0 (-want +got):\n%s", diff)
		}
		r.report(TransientFailure, errRefused, "a1:1")
		if got := r.picks(100); got["b0:1"] != 50 || got["b1:1"] != 50 {
			t.Errorf("picks without priority 0 = %v", got)
		}
	})
}

func TestHealthStatuses(t *testing.T) {
	endpoint := func(name string, h Health) EndpointConfig { return EndpointConfig{Address: name, Health: h} }
	for _, test := range []struct {
		name       string
		threshold  float64
		assignment *Assignment
		want       map[string]int // of 100 picks; nil if none is possible
	}{
		{"sick ones are left out", 50, one(endpoint("a", Healthy), endpoint("b", HealthUnknown), endpoint("c", Unhealthy), endpoint("d", Timeout)),
			map[string]int{"a": 50, "b": 50}},
		{"draining ones too", 50, one(endpoint("a", Healthy), endpoint("b", Draining)),
			map[string]int{"a": 100}},
		{"draining ones are no loss", 50,
			two([]EndpointConfig{endpoint("a", Healthy), endpoint("b", Draining), endpoint("c", Draining)}, []EndpointConfig{endpoint("d", Healthy)}),
			map[string]int{"a": 100}},
		{"draining ones are not counted", 50,
			two([]EndpointConfig{endpoint("a", Healthy), endpoint("b", Draining), endpoint("c", Unhealthy)}, []EndpointConfig{endpoint("d", Healthy)}),
			map[string]int{"a": 70, "d": 30}},
		{"degraded ones help out", 50, one(endpoint("a", Healthy), endpoint("b", Healthy), endpoint("c", Degraded), endpoint("d", Degraded)),
			map[string]int{"a": 35, "b": 35, "c": 15, "d": 15}},
		{"healthy ones of the next priority come first", 50,
			two([]EndpointConfig{endpoint("a", Healthy), endpoint("b", Degraded)}, []EndpointConfig{endpoint("c", Healthy)}),
			map[string]int{"a": 70, "c": 30}},
		{"panic", 50, one(endpoint("a", Healthy), endpoint("b", Unhealthy), endpoint("c", Timeout), endpoint("d", Unhealthy)),
			map[string]int{"a": 25, "b": 25, "c": 25, "d": 25}},
		{"panic spares draining ones", 50, one(endpoint("a", Unhealthy), endpoint("b", Unhealthy), endpoint("c", Draining)),
			map[string]int{"a": 50, "b": 50}},
		{"unless there is nothing else", 50, one(endpoint("a", Draining), endpoint("b", Draining)),
			map[string]int{"a": 50, "b": 50}},
		{"panic switched off", 0, one(endpoint("a", Unhealthy), endpoint("b", Draining)), nil},
		{"little health, no panic", 0, one(endpoint("a", Healthy), endpoint("b", Unhealthy), endpoint("c", Unhealthy), endpoint("d", Unhealthy)),
			map[string]int{"a": 100}},
		{"a status that is not known", 0, one(endpoint("a", Healthy), endpoint("b", Health(99))),
			map[string]int{"a": 100}},
	} {
		for kind, o := range map[string]ViewOptions{"grpc": grpcView, "http": httpView} {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, o, nil, nil)
					r.k.connects = up
					r.cluster.Configure(&Config{PanicThreshold: test.threshold})
					r.assign(test.assignment)
					if test.want == nil {
						if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrNoEndpoints) {
							t.Errorf("Pick: %v, want ErrNoEndpoints", err)
						}
						return
					}
					if diff := cmp.Diff(test.want, r.picks(100)); diff != "" {
						t.Errorf("picks (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

func TestLocalityWeights(t *testing.T) {
	assignment := func() *Assignment {
		return &Assignment{Localities: []LocalityEndpoints{
			{Locality: Locality{Zone: "x"}, Weight: 1, Endpoints: addresses("x", 4)},
			{Locality: Locality{Zone: "y"}, Weight: 2, Endpoints: addresses("y", 1)},
			{Locality: Locality{Zone: "z"}, Weight: 0, Endpoints: addresses("z", 3)},
		}}
	}
	byZone := func(picks map[string]int) map[string]int {
		zones := map[string]int{}
		for address, n := range picks {
			zones[address[:1]] += n
		}
		return zones
	}
	weighted := map[string]int{"x": 200, "y": 400}
	flat := map[string]int{"x": 300, "y": 75, "z": 225}
	for _, test := range []struct {
		name    string
		options ViewOptions
		config  Config
		want    map[string]int
	}{
		{"asked for", httpView, Config{LocalityWeighted: true}, weighted},
		{"asked for, gRPC", grpcView, Config{LocalityWeighted: true}, weighted},
		{"legacy policy, gRPC", grpcView, Config{LegacyPolicy: true}, weighted},
		{"legacy policy, HTTP", httpView, Config{LegacyPolicy: true}, flat},
		{"not asked for, gRPC", grpcView, Config{}, flat},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, test.options, nil, nil)
				r.k.connects = up
				test.config.PanicThreshold = 50
				r.cluster.Configure(&test.config)
				r.assign(assignment())
				if diff := cmp.Diff(test.want, byZone(r.picks(600))); diff != "" {
					t.Errorf("picks by zone (-want +got):\n%s", diff)
				}
			})
		})
	}

	t.Run("lowered by what is not available", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := assignment()
			for i := range 2 {
				a.Localities[0].Endpoints[i].Health = Unhealthy
			}
			r := newRig(t, httpView, &Config{LocalityWeighted: true}, a)
			// Half of x counts as 70 %: 0.7 to 2, "26%" and "74%" in Envoy's documentation.
			if diff := cmp.Diff(map[string]int{"x": 700, "y": 2000}, byZone(r.picks(2700))); diff != "" {
				t.Errorf("picks by zone (-want +got):\n%s", diff)
			}
			// Without a link in one, the other takes all.
			r.report(TransientFailure, errRefused, "y0:1")
			if got := byZone(r.picks(100)); got["x"] != 100 {
				t.Errorf("picks by zone with y down = %v", got)
			}
		})
	})

	t.Run("none has weight", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := assignment()
			a.Localities[0].Weight, a.Localities[1].Weight = 0, 0
			r := newRig(t, httpView, &Config{LocalityWeighted: true}, a)
			if diff := cmp.Diff(flat, byZone(r.picks(600))); diff != "" {
				t.Errorf("picks by zone (-want +got):\n%s", diff)
			}
		})
	})

	t.Run("extreme weights", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := assignment()
			a.Localities[0].Weight, a.Localities[1].Weight = math.MaxUint32, math.MaxUint32/2
			r := newRig(t, httpView, &Config{LocalityWeighted: true}, a)
			if got := byZone(r.picks(300)); got["x"] < 197 || got["x"] > 203 {
				t.Errorf("picks by zone = %v, want two to one", got)
			}
		})
	})
}

func TestAssignmentsOfAnyShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, &Assignment{Localities: []LocalityEndpoints{
			{Priority: 3},
			{Priority: 9, Endpoints: []EndpointConfig{at("b:1"), at("a:1")}},
			{Priority: 128, Endpoints: []EndpointConfig{at("beyond:1")}},
			{Priority: 5, Endpoints: []EndpointConfig{at("a:1"), at("a:1"), {Address: "b:1", Health: Unhealthy}}},
		}})
		var got []string
		for _, e := range r.cluster.Endpoints() {
			got = append(got, e.Address())
		}
		if diff := cmp.Diff([]string{"a:1", "b:1"}, got); diff != "" {
			t.Errorf("endpoints (-want +got):\n%s", diff)
		}
		r.picks(10)
	})
}

// An endpoint of a priority that was not needed for a while is given a new chance:
// what was known of it is old.
func TestUnusedPriorityIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, two(addresses("a", 1), addresses("b", 1)))
		r.report(TransientFailure, errRefused, "a0:1")
		r.report(TransientFailure, errRefused, "b0:1")
		if s, _ := r.view.State(); s != TransientFailure {
			t.Errorf("State with all down = %v", s)
		}
		r.report(Ready, nil, "a0:1")
		r.report(Idle, nil, "b0:1")
		before := r.k.conn(t, "b0:1").connects
		r.report(TransientFailure, errRefused, "a0:1")
		if got := r.k.conn(t, "b0:1").connects; got != before+1 {
			t.Errorf("b was told to connect %d times, want once more", got-before)
		}
		if s, err := r.view.State(); s != Connecting || !errors.Is(err, ErrConnecting) {
			t.Errorf("State while b is tried again = %v, %v", s, err)
		}
	})
}

func TestOverprovisioningFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := two(addresses("a", 2), addresses("b", 1))
		a.Localities[0].Endpoints[0].Health = Unhealthy
		a.Overprovisioning = 100
		r := newRig(t, httpView, eds, a)
		if diff := cmp.Diff(map[string]int{"a1:1": 50, "b0:1": 50}, r.picks(100)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
	})
}

// A connection may be lost without a moment of being idle.
func TestFailoverTimerOfALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, two(addresses("a", 1), addresses("b", 1)))
		time.Sleep(time.Second)
		r.report(Ready, nil, "a0:1")
		time.Sleep(time.Hour)
		r.report(Connecting, nil, "a0:1")
		time.Sleep(failoverTimeout - 1)
		synctest.Wait()
		if got := r.k.connected(); len(got) != 1 {
			t.Errorf("connected before 10 s: %v", got)
		}
		time.Sleep(1)
		synctest.Wait()
		if got := r.k.connected(); len(got) != 2 {
			t.Errorf("connected after 10 s: %v", got)
		}
	})
}

// What pick_first has not tried yet is a spare, but not for ever.
func TestPickFirstFailsOver(t *testing.T) {
	for _, weighted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			config := &Config{Policy: Policy{Kind: PickFirst}, LocalityWeighted: weighted, PanicThreshold: 50}
			r := newRig(t, grpcView, config, two(addresses("a", 9), addresses("b", 1)))
			for _, a := range []string{"a0:1", "a1:1", "a2:1", "a3:1"} {
				r.report(TransientFailure, errRefused, a)
			}
			if diff := cmp.Diff([]string{"a0:1", "a1:1", "a2:1", "a3:1", "a4:1"}, r.k.connected()); diff != "" {
				t.Errorf("connected with spares left (-want +got):\n%s", diff)
			}
			time.Sleep(failoverTimeout)
			synctest.Wait()
			r.report(Ready, nil, "b0:1")
			if got := r.picks(10); got["b0:1"] != 10 {
				t.Errorf("picks after 10 s = %v", got)
			}
			r.report(Ready, nil, "a4:1")
			if got := r.picks(10); got["a4:1"] != 10 {
				t.Errorf("picks with a spare connected = %v", got)
			}
		})
	}
}
