package balancer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resilience"
)

// strict ejects for two 5xx in a row, for 10 s at first, and nothing else.
func strict() *OutlierDetection {
	return &OutlierDetection{
		Interval: 5 * time.Second, BaseEjectionTime: 10 * time.Second, MaxEjectionTime: 30 * time.Second,
		MaxEjectionPercent: 100, Consecutive5xx: Consecutive{2, 100},
	}
}

func detecting(o *OutlierDetection) *Config {
	return &Config{Name: "c", PanicThreshold: 0, OutlierDetection: o}
}

// calls has n calls of the endpoint at the address end so.
func (r *rig) calls(address string, n int, o Outcome) {
	r.Helper()
	for i := range n {
		l := r.link(address)
		l.endpoint.begin()
		if i%2 > 0 || !r.leave(l, o) {
			l.Done(o)
		}
	}
	synctest.Wait()
}

// leave ends a call as those of PickNext do, if it can be ended so.
func (r *rig) leave(l *Link, o Outcome) bool {
	limits := r.cluster.Limits()
	limits.Calls().Add(resilience.CallUnit)
	limits.Add(resilience.Requests, resilience.PriorityDefault)
	a := Attempt{Cluster: r.cluster, In: limits.Calls()}
	if a.Take(l); o.Succeeded(r.view.options.GRPC) && a.Leave() {
		return true
	}
	limits.ReleaseCall(resilience.PriorityDefault, limits.Calls())
	return false
}

// link is the view's link to an address, whether or not it is picked.
func (r *rig) link(address string) *Link {
	r.Helper()
	for _, l := range r.view.picker.Load().links {
		if l != nil && l.endpoint.Address() == address {
			return l
		}
	}
	r.Fatalf("no link to %s", address)
	return nil
}

// ejected lists the addresses of the endpoints that are out.
func (r *rig) ejected() (list []string) {
	synctest.Wait()
	for _, e := range r.cluster.Endpoints() {
		if e.Ejected() {
			list = append(list, e.Address())
		}
	}
	return list
}

func (r *rig) wantEjected(what string, want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, r.ejected()); diff != "" {
		r.Errorf("%s: ejected (-want +got):\n%s", what, diff)
	}
}

// TestWhatIsAFailure has one outcome after another ten times.
func TestWhatIsAFailure(t *testing.T) {
	broke := errors.New("broken pipe")
	only := func(set func(*OutlierDetection)) *OutlierDetection {
		o := strict()
		o.Consecutive5xx = Consecutive{}
		set(o)
		return o
	}
	errors5xx := strict()
	gateway := only(func(o *OutlierDetection) { o.ConsecutiveGateway = Consecutive{2, 100} })
	local := only(func(o *OutlierDetection) { o.SplitLocalOrigin, o.ConsecutiveLocal = true, Consecutive{2, 100} })
	split := strict()
	split.SplitLocalOrigin = true
	rates := only(func(o *OutlierDetection) { o.FailurePercentage = FailurePercentage{Threshold: 50, Enforcing: 100} })
	localRates := only(func(o *OutlierDetection) {
		o.SplitLocalOrigin = true
		o.FailurePercentage = FailurePercentage{Threshold: 50, EnforcingLocal: 100}
	})
	http := func(code int) Outcome { return Outcome{Code: code} }
	grpc := http
	for _, c := range []struct {
		name   string
		view   ViewOptions
		policy *OutlierDetection
		o      Outcome
		fails  bool
	}{
		{"200", httpView, errors5xx, http(200), false},
		{"404", httpView, errors5xx, http(404), false},
		{"500", httpView, errors5xx, http(500), true},
		{"599", httpView, errors5xx, http(599), true},
		{"500 at the gateway", httpView, gateway, http(500), false},
		{"502 at the gateway", httpView, gateway, http(502), true},
		{"503 at the gateway", httpView, gateway, http(503), true},
		{"504 at the gateway", httpView, gateway, http(504), true},
		{"505 at the gateway", httpView, gateway, http(505), false},
		{"broken connection", httpView, errors5xx, Outcome{Err: broke}, true},
		{"broken connection at the gateway", httpView, gateway, Outcome{Err: broke}, true},
		{"timeout", httpView, gateway, Outcome{Err: context.DeadlineExceeded}, true},
		{"canceled", httpView, errors5xx, Outcome{Err: fmt.Errorf("call: %w", context.Canceled)}, false},
		{"unsent", httpView, errors5xx, Outcome{Err: ErrUnsent}, false},
		{"nothing", httpView, errors5xx, Outcome{}, false},
		{"broken connection, split", httpView, split, Outcome{Err: broke}, false},
		{"500, split", httpView, split, http(500), true},
		{"broken connection, local", httpView, local, Outcome{Err: broke}, true},
		{"timeout, local", httpView, local, Outcome{Err: context.DeadlineExceeded}, true},
		{"canceled, local", httpView, local, Outcome{Err: context.Canceled}, false},
		{"500, local", httpView, local, http(500), false},
		{"404, rate", httpView, rates, http(404), false},
		{"500, rate", httpView, rates, http(500), true},
		{"timeout, rate", httpView, rates, Outcome{Err: context.DeadlineExceeded}, true},
		{"canceled, rate", httpView, rates, Outcome{Err: context.Canceled}, false},
		{"timeout, local rate", httpView, localRates, Outcome{Err: context.DeadlineExceeded}, true},
		{"500, local rate", httpView, localRates, http(500), false},

		{"OK", grpcView, errors5xx, grpc(0), false},
		{"NOT_FOUND", grpcView, errors5xx, grpc(5), false},
		{"UNKNOWN", grpcView, errors5xx, grpc(2), true},
		{"INTERNAL", grpcView, errors5xx, grpc(13), true},
		{"UNIMPLEMENTED", grpcView, errors5xx, grpc(12), true},
		{"17", grpcView, errors5xx, grpc(17), true},
		{"INTERNAL at the gateway", grpcView, gateway, grpc(13), false},
		{"UNAVAILABLE at the gateway", grpcView, gateway, grpc(14), true},
		{"DEADLINE_EXCEEDED at the gateway", grpcView, gateway, grpc(4), true},
		{"deadline", grpcView, gateway, Outcome{Err: context.DeadlineExceeded}, true},
		{"deadline, local", grpcView, local, Outcome{Err: context.DeadlineExceeded}, true},
		{"CANCELLED by the server", grpcView, errors5xx, grpc(1), false},
		{"canceled by the caller", grpcView, errors5xx, Outcome{Err: context.Canceled}, false},
		{"OK, rate", grpcView, rates, grpc(0), false},
		{"NOT_FOUND, rate", grpcView, rates, grpc(5), true},
		{"canceled by the caller, rate", grpcView, rates, Outcome{Err: context.Canceled}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, c.view, detecting(c.policy), one(at("a:1"), at("b:1")))
				r.calls("a:1", 10, c.o)
				time.Sleep(5 * time.Second)
				var want []string
				if c.fails {
					want = []string{"a:1"}
				}
				r.wantEjected("afterwards", want...)
			})
		})
	}
}

// TestRowsOfFailures has one success end a row, and each row begin anew.
func TestRowsOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.Consecutive5xx.Threshold = 3
		r := newRig(t, httpView, detecting(o), one(at("a:1"), at("b:1")))
		for range 5 {
			r.calls("a:1", 2, Outcome{Code: 500})
			r.calls("a:1", 1, Outcome{Code: 200})
		}
		r.wantEjected("with successes between")
		r.calls("a:1", 3, Outcome{Code: 500})
		r.wantEjected("after a row", "a:1")
		if diff := cmp.Diff(map[string]int{"b:1": 10}, r.picks(10)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
	})
}

// TestRowsEndWithAnswers has one success end rows of the other kinds too.
func TestRowsEndWithAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     func(*OutlierDetection)
		failure Outcome
	}{
		{"gateway", func(o *OutlierDetection) { o.ConsecutiveGateway = Consecutive{3, 100} }, Outcome{Code: 503}},
		{"local", func(o *OutlierDetection) { o.SplitLocalOrigin, o.ConsecutiveLocal = true, Consecutive{3, 100} }, Outcome{Err: errors.New("broken pipe")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := strict()
				o.Consecutive5xx = Consecutive{}
				c.set(o)
				r := newRig(t, httpView, detecting(o), one(at("a:1"), at("b:1")))
				r.calls("a:1", 2, c.failure)
				r.calls("a:1", 1, Outcome{Code: 200})
				r.calls("a:1", 2, c.failure)
				r.wantEjected("with a success between")
				r.calls("a:1", 1, c.failure)
				r.wantEjected("after a row", "a:1")
			})
		})
	}
}

// TestSuccessEndsWhatIsLeftOfRows has one row trip, in vain because no endpoint may be
// ejected, and so end before the other.
func TestSuccessEndsWhatIsLeftOfRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.ConsecutiveGateway = Consecutive{3, 100}
		o.MaxEjectionPercent = 0
		r := newRig(t, httpView, detecting(o), one(at("a:1"), at("b:1")))
		r.calls("a:1", 2, Outcome{Code: 503})
		r.calls("a:1", 1, Outcome{Code: 200})
		now := *o
		now.MaxEjectionPercent, now.Consecutive5xx = 100, Consecutive{}
		r.cluster.Configure(detecting(&now))
		r.calls("a:1", 2, Outcome{Code: 503})
		r.wantEjected("with a success between")
	})
}

// TestAnswersCountAsReached has answers make up the rate of calls without one, where that is
// a rate of its own.
func TestAnswersCountAsReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.Consecutive5xx, o.SplitLocalOrigin = Consecutive{}, true
		o.FailurePercentage = FailurePercentage{Threshold: 50, EnforcingLocal: 100}
		r := newRig(t, httpView, detecting(o), one(at("a:1"), at("b:1")))
		r.calls("a:1", 6, Outcome{Code: 200})
		r.calls("a:1", 5, Outcome{Err: errors.New("broken pipe")})
		time.Sleep(5 * time.Second)
		r.wantEjected("with fewer than half unanswered")
	})
}

// TestEjectionTimes has an endpoint ejected for longer and longer up to a limit, and
// forgiven as it behaves.
func TestEjectionTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, detecting(strict()), one(at("a:1"), at("b:1")))
		time.Sleep(time.Millisecond) // ejections and sweeps do not fall together
		for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second} {
			r.calls("a:1", 2, Outcome{Code: 500})
			time.Sleep(want - time.Second)
			r.wantEjected(fmt.Sprintf("ejection %d, shortly before its end", i), "a:1")
			time.Sleep(6 * time.Second) // to the sweep after
			r.wantEjected(fmt.Sprintf("ejection %d, after its end", i))
		}
		// The row of before is forgotten, and each quiet sweep takes one off.
		time.Sleep(time.Minute)
		r.calls("a:1", 1, Outcome{Code: 500})
		r.wantEjected("one failure")
		r.calls("a:1", 1, Outcome{Code: 500})
		r.wantEjected("two", "a:1")
		time.Sleep(16 * time.Second)
		r.wantEjected("as short as the first")
	})
}

// TestRowsEndWithEjection has failures in panic, during an ejection, not count after it.
func TestRowsEndWithEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, detecting(strict()), one(at("a:1"), at("b:1")))
		r.calls("a:1", 2, Outcome{Code: 500})
		r.calls("a:1", 1, Outcome{Code: 500})
		r.wantEjected("meanwhile", "a:1")
		time.Sleep(15 * time.Second)
		r.calls("a:1", 1, Outcome{Code: 500})
		r.wantEjected("one failure after it")
	})
}

// TestShorterInterval takes effect at once, counted from the sweep before.
func TestShorterInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.Interval = time.Hour
		r := newRig(t, httpView, detecting(o), one(at("a:1"), at("b:1")))
		r.calls("a:1", 2, Outcome{Code: 500})
		time.Sleep(time.Minute)
		r.wantEjected("no sweep yet", "a:1")
		r.cluster.Configure(detecting(strict()))
		time.Sleep(time.Millisecond)
		r.wantEjected("a sweep that is overdue")
	})
}

func TestEjectionJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.Interval, o.MaxEjectionTimeJitter = time.Second, 10*time.Second
		r := newRig(t, httpView, detecting(o), one(addresses("a", 50)...))
		for i := range 50 {
			r.calls(fmt.Sprintf("a%d:1", i), 2, Outcome{Code: 500})
		}
		time.Sleep(9 * time.Second)
		if n := len(r.ejected()); n != 50 {
			t.Errorf("%d of 50 ejected before the time", n)
		}
		time.Sleep(6 * time.Second)
		if n := len(r.ejected()); n == 0 || n == 50 {
			t.Errorf("%d of 50 ejected in the middle of the jitter", n)
		}
		time.Sleep(7 * time.Second)
		r.wantEjected("after all of it")
	})
}

// TestMaxEjectionPercent bounds how many are out at a time, by Envoy's rule and by gRPC's.
func TestMaxEjectionPercent(t *testing.T) {
	for _, c := range []struct {
		view          ViewOptions
		percent       uint32
		always        bool
		endpoints, at int
	}{
		{httpView, 100, false, 4, 4},
		{httpView, 50, false, 4, 2},
		{httpView, 49, false, 4, 1},
		{httpView, 10, false, 3, 0},
		{httpView, 10, true, 3, 1},
		{httpView, 0, false, 3, 0},
		{httpView, 0, true, 3, 1},
		{grpcView, 10, false, 3, 1},
		{grpcView, 34, false, 3, 2},
		{grpcView, 50, false, 4, 2},
		{grpcView, 0, false, 3, 0},
		{grpcView, 0, true, 3, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := strict()
			o.MaxEjectionPercent, o.AlwaysEjectOne = c.percent, c.always
			r := newRig(t, c.view, detecting(o), one(addresses("a", c.endpoints)...))
			for i := range c.endpoints {
				r.calls(fmt.Sprintf("a%d:1", i), 2, Outcome{Code: 500})
			}
			if got := len(r.ejected()); got != c.at {
				t.Errorf("grpc %v, %d %%, always %v: %d of %d ejected, want %d", c.view.GRPC, c.percent, c.always, got, c.endpoints, c.at)
			}
		})
	}
}

// TestEnforcing ejects a share of what is found.
func TestEnforcing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.Consecutive5xx.Enforcing = 50
		r := newRig(t, httpView, detecting(o), one(addresses("a", 200)...))
		for i := range 200 {
			r.calls(fmt.Sprintf("a%d:1", i), 2, Outcome{Code: 500})
		}
		if n := len(r.ejected()); n < 50 || n > 150 { // odds of 10^-13
			t.Errorf("%d of 200 ejected, want about half", n)
		}
	})
}

// TestSuccessRate holds the endpoints against the example of Envoy's source: of success
// rates of 50 and four times 100, 90 is the mean and 20 the standard deviation.
func TestSuccessRate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*OutlierDetection)
		want   []string
	}{
		{"1.9 deviations", func(o *OutlierDetection) {}, []string{"a0:1"}},
		{"2.1 deviations", func(o *OutlierDetection) { o.SuccessRate.StdevFactor = 2100 }, nil},
		{"too few endpoints", func(o *OutlierDetection) { o.SuccessRate.MinimumHosts = 6 }, nil},
		{"too few calls", func(o *OutlierDetection) { o.SuccessRate.RequestVolume = 101 }, nil},
		{"not enforced", func(o *OutlierDetection) { o.SuccessRate.Enforcing = 0 }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := strict()
				o.Consecutive5xx = Consecutive{}
				o.SuccessRate = SuccessRate{MinimumHosts: 5, RequestVolume: 100, StdevFactor: 1900, Enforcing: 100}
				c.change(o)
				r := newRig(t, httpView, detecting(o), one(addresses("a", 5)...))
				for i := range 5 {
					r.calls(fmt.Sprintf("a%d:1", i), 50, Outcome{Code: 200})
				}
				r.calls("a0:1", 50, Outcome{Code: 500})
				for i := range 4 {
					r.calls(fmt.Sprintf("a%d:1", i+1), 50, Outcome{Code: 200})
				}
				r.wantEjected("before the sweep")
				time.Sleep(5 * time.Second)
				r.wantEjected("after the sweep", c.want...)
				time.Sleep(time.Minute)
				r.wantEjected("after a minute without a call")
			})
		})
	}
}

func TestFailurePercentage(t *testing.T) {
	rule := FailurePercentage{Threshold: 50, MinimumHosts: 2, RequestVolume: 10, Enforcing: 100}
	for _, c := range []struct {
		name         string
		view         ViewOptions
		good, failed int
		quiet        bool // the other endpoint gets no calls
		want         []string
	}{
		{"half", httpView, 10, 10, false, []string{"a:1"}},
		{"less", httpView, 11, 10, false, nil},
		{"half, gRPC", grpcView, 10, 10, false, nil},
		{"more, gRPC", grpcView, 9, 10, false, []string{"a:1"}},
		{"too few calls", httpView, 0, 9, false, nil},
		{"the other has too few", httpView, 0, 10, true, nil},
		{"the other has too few, gRPC", grpcView, 0, 10, true, []string{"a:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := strict()
				o.Consecutive5xx, o.FailurePercentage = Consecutive{}, rule
				r := newRig(t, c.view, detecting(o), one(at("a:1"), at("b:1")))
				good, bad := Outcome{Code: 200}, Outcome{Code: 500}
				if c.view.GRPC {
					good, bad = Outcome{}, Outcome{Code: 13}
				}
				r.calls("a:1", c.good, good)
				r.calls("a:1", c.failed, bad)
				if !c.quiet {
					r.calls("b:1", 10, good)
				}
				time.Sleep(5 * time.Second)
				r.wantEjected("after the sweep", c.want...)
			})
		})
	}
}

// TestEjectionOutlivesUpdates keeps what is known of an endpoint while policy changes,
// and forgets it with the detection itself.
func TestEjectionOutlivesUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, detecting(strict()), one(at("a:1"), at("b:1")))
		r.calls("a:1", 1, Outcome{Code: 500})
		r.assign(one(at("c:1"), at("a:1"), at("b:1")))
		r.calls("a:1", 1, Outcome{Code: 500})
		r.wantEjected("a row across an update", "a:1")
		r.assign(one(at("b:1"), at("a:1")))
		r.wantEjected("after another", "a:1")
		if diff := cmp.Diff(map[string]int{"b:1": 10}, r.picks(10)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
		other := strict()
		other.BaseEjectionTime = time.Hour
		other.MaxEjectionTime = time.Hour
		r.cluster.Configure(detecting(other))
		time.Sleep(30 * time.Minute)
		r.wantEjected("under a longer time", "a:1")
		r.cluster.Configure(detecting(nil))
		r.wantEjected("without detection")
		if diff := cmp.Diff(map[string]int{"a:1": 5, "b:1": 5}, r.picks(10)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
		r.calls("a:1", 10, Outcome{Code: 500})
		r.wantEjected("failures without detection")
		r.cluster.Configure(detecting(strict()))
		r.calls("a:1", 1, Outcome{Code: 500})
		r.wantEjected("one failure with detection")
		r.calls("a:1", 1, Outcome{Code: 500})
		r.wantEjected("two", "a:1")
	})
}

// TestEjectionsCountAsUnhealthy spills load to the next priority, and panics when too
// little is left.
func TestEjectionsCountAsUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := detecting(strict())
		r := newRig(t, httpView, config, &Assignment{Localities: []LocalityEndpoints{
			{Weight: 1, Endpoints: addresses("near", 2)},
			{Weight: 1, Priority: 1, Endpoints: []EndpointConfig{at("far:1")}},
		}})
		r.calls("near0:1", 2, Outcome{Code: 500})
		if diff := cmp.Diff(map[string]int{"near1:1": 70, "far:1": 30}, r.picks(100)); diff != "" {
			t.Errorf("picks with one ejected (-want +got):\n%s", diff)
		}
		r.calls("near1:1", 2, Outcome{Code: 500})
		if diff := cmp.Diff(map[string]int{"far:1": 100}, r.picks(100)); diff != "" {
			t.Errorf("picks with the priority ejected (-want +got):\n%s", diff)
		}
		r.calls("far:1", 2, Outcome{Code: 500})
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrNoEndpoints) {
			t.Errorf("with all ejected and no panic: %v", err)
		}
		panics := *config
		panics.PanicThreshold = 50
		r.cluster.Configure(&panics)
		synctest.Wait()
		if got := r.picks(300); len(got) != 3 {
			t.Errorf("picks in panic: %v, want all three", got)
		}
	})
}

// TestEjectionUnderHashing has the keys of an endpoint that is ejected go elsewhere and
// come back.
func TestEjectionUnderHashing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := detecting(strict())
		config.Policy = Policy{Kind: Maglev}
		r := newRig(t, httpView, config, one(addresses("a", 3)...))
		pick := func() string {
			l, err := r.view.Pick(PickInfo{Hash: 7, HasHash: true})
			if err != nil {
				t.Fatal(err)
			}
			l.Done(Outcome{Err: ErrUnsent})
			return l.endpoint.Address()
		}
		home := pick()
		r.calls(home, 2, Outcome{Code: 500})
		if got := pick(); got == home {
			t.Errorf("the key is still at %s", got)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if got := pick(); got != home {
			t.Errorf("the key is at %s and not back at %s", got, home)
		}
	})
}

// TestLateOutcomes has calls end after their endpoint, or the cluster, is gone.
func TestLateOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, detecting(strict()), one(at("a:1"), at("b:1")))
		gone, kept := r.link("a:1"), r.link("b:1")
		r.assign(one(at("b:1")))
		for range 5 {
			gone.Done(Outcome{Code: 500})
		}
		r.wantEjected("the endpoint is gone")
		r.cluster.Close()
		for range 5 {
			kept.Done(Outcome{Code: 500})
		}
		r.wantEjected("the cluster is closed")
	})
}

// BenchmarkOutcome is the end of a call without detection and with all of it.
func BenchmarkOutcome(b *testing.B) {
	for _, c := range []struct {
		name   string
		policy *OutlierDetection
	}{{"off", nil}, {"on", strict()}} {
		b.Run(c.name, func(b *testing.B) {
			cluster := NewCluster("c", ClusterOptions{Logger: quiet})
			defer cluster.Close()
			cluster.Configure(detecting(c.policy))
			cluster.Assign(one(addresses("a", 10)...))
			v := cluster.View(&fakeConnector{}, httpView)
			b.ReportAllocs()
			for b.Loop() {
				l, err := v.Pick(PickInfo{})
				if err != nil {
					b.Fatal(err)
				}
				l.Done(Outcome{Code: 200})
			}
		})
	}
}
