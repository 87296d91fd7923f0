package balancer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeProbes are probers that find what a test says.
type fakeProbes struct {
	mu      sync.Mutex
	finds   map[string]Verdict // by address; Passed if missing
	takes   time.Duration      // until a probe ends
	times   map[string][]time.Duration
	began   time.Time
	closed  int
	targets []CheckTarget
}

type fakeProber struct {
	of      *fakeProbes
	address string
}

func newFakeProbes() *fakeProbes {
	return &fakeProbes{finds: map[string]Verdict{}, times: map[string][]time.Duration{}, began: time.Now()}
}

// new is for ClusterOptions. The test's endpoints name themselves by Check.Hostname.
func (f *fakeProbes) new(t CheckTarget) Prober {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = append(f.targets, t)
	return &fakeProber{f, t.Host}
}

func (f *fakeProbes) find(address string, v Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finds[address] = v
}

// at returns when an endpoint was probed, since the last time that was asked.
func (f *fakeProbes) at(address string) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.times[address]
	delete(f.times, address)
	return list
}

func (p *fakeProber) Probe(ctx context.Context) Verdict {
	p.of.mu.Lock()
	p.of.times[p.address] = append(p.of.times[p.address], time.Since(p.of.began))
	takes := p.of.takes
	p.of.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return Unreachable
		}
	}
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	return p.of.finds[p.address]
}

func (p *fakeProber) Close() {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.of.closed++
}

// everySecond is a check with an interval of its own for each state.
func everySecond() HealthCheck {
	return HealthCheck{
		Timeout: 100 * time.Millisecond, Interval: time.Second,
		UnhealthyInterval: 2 * time.Second, UnhealthyEdgeInterval: 3 * time.Second, HealthyEdgeInterval: 4 * time.Second,
		NoTrafficInterval: time.Minute, NoTrafficHealthyInterval: time.Hour,
		UnhealthyThreshold: 2, HealthyThreshold: 3, TCP: &TCPCheck{},
	}
}

func checking(checks ...HealthCheck) *Config { return &Config{Name: "c", HealthChecks: checks} }

// checkedAt are endpoints whose probers know them by their names.
func checkedAt(names ...string) *Assignment {
	var list []EndpointConfig
	for _, name := range names {
		list = append(list, EndpointConfig{Address: name + ":1", Check: EndpointCheck{Hostname: name}})
	}
	return one(list...)
}

func newCheckRig(t *testing.T, f *fakeProbes, config *Config, a *Assignment) *rig {
	r := &rig{T: t, cluster: NewCluster("c", ClusterOptions{Logger: quiet, Prober: f.new}), k: &fakeConnector{}}
	t.Cleanup(r.cluster.Close)
	r.cluster.Configure(config)
	r.cluster.Assign(a)
	r.view = r.cluster.View(r.k, httpView)
	return r
}

func (r *rig) settled() bool {
	synctest.Wait()
	select {
	case <-r.cluster.Settled():
		return true
	default:
		return false
	}
}

// goesTo checks which endpoints get calls.
func (r *rig) goesTo(what string, want ...string) {
	r.Helper()
	synctest.Wait()
	got := map[string]bool{}
	for range 4 * (len(want) + 1) {
		l, err := r.view.Pick(PickInfo{})
		if errors.Is(err, ErrNoEndpoints) {
			break
		}
		if err != nil {
			r.Fatalf("%s: %v", what, err)
		}
		got[l.Endpoint().Address()] = true
		l.Done(Outcome{Err: ErrUnsent})
	}
	all := map[string]bool{}
	for _, w := range want {
		all[w+":1"] = true
	}
	if diff := cmp.Diff(all, got); diff != "" {
		r.Errorf("%s: calls go to (-want +got):\n%s", what, diff)
	}
}

func (r *rig) probed(f *fakeProbes, what, name string, want ...time.Duration) {
	r.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, f.at(name)); diff != "" {
		r.Errorf("%s: %s was probed (-want +got):\n%s", what, name, diff)
	}
}

// TestFirstChecks has a cluster wait for them, and one success do.
func TestFirstChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		f.takes = 50 * time.Millisecond
		f.find("b", Unreachable)
		r := newCheckRig(t, f, checking(everySecond()), checkedAt("a", "b"))
		if r.settled() {
			t.Error("settled before the first checks")
		}
		r.goesTo("before the first checks")
		time.Sleep(50 * time.Millisecond)
		if !r.settled() {
			t.Error("not settled after the first checks")
		}
		r.goesTo("after the first checks", "a")

		f.find("c", Refused)
		r.assign(checkedAt("a", "b", "c", "d"))
		r.goesTo("while new ones are checked", "a")
		time.Sleep(50 * time.Millisecond)
		r.goesTo("after that", "a", "d")
	})
}

// TestFirstCheckTimeout bounds the wait by the check's timeout.
func TestFirstCheckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		f.takes = time.Hour
		r := newCheckRig(t, f, checking(everySecond()), checkedAt("a"))
		time.Sleep(99 * time.Millisecond)
		if r.settled() {
			t.Error("settled before the timeout")
		}
		time.Sleep(time.Millisecond)
		if !r.settled() {
			t.Error("not settled after the timeout")
		}
		r.goesTo("after the timeout")
	})
}

// TestNothingToAwait settles clusters of which nothing is left to check.
func TestNothingToAwait(t *testing.T) {
	for name, then := range map[string]func(*Cluster){
		"the endpoint goes":        func(c *Cluster) { c.Assign(&Assignment{}) },
		"the checks go":            func(c *Cluster) { c.Configure(checking()) },
		"the endpoint goes undone": func(c *Cluster) { c.Fail(errors.New("x")) },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeProbes()
			f.takes = time.Hour
			check := everySecond()
			check.Timeout = time.Hour
			r := newCheckRig(t, f, checking(check), checkedAt("a"))
			synctest.Wait()
			then(r.cluster)
			if !r.settled() {
				t.Errorf("%s: not settled", name)
			}
		})
	}
}

// TestThresholdsAndIntervals follows an endpoint down and up again, as the comment in
// Envoy's HealthCheckerImplBase::interval has it.
func TestThresholdsAndIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		r := newCheckRig(t, f, checking(everySecond()), checkedAt("a"))
		r.goesTo("first", "a") // and there is traffic now
		r.probed(f, "first", "a", 0)
		time.Sleep(2 * time.Second)
		r.probed(f, "healthy", "a", time.Second, 2*time.Second)
		f.find("a", Unreachable)
		time.Sleep(time.Second)
		r.probed(f, "failing", "a", 3*time.Second)
		r.goesTo("one failure", "a")
		time.Sleep(3 * time.Second)
		r.probed(f, "unhealthy edge", "a", 6*time.Second)
		r.goesTo("two failures")
		time.Sleep(4 * time.Second)
		r.probed(f, "unhealthy", "a", 8*time.Second, 10*time.Second)
		f.find("a", Passed)
		time.Sleep(2 * time.Second)
		r.probed(f, "passing", "a", 12*time.Second)
		r.goesTo("one success")
		time.Sleep(4 * time.Second)
		r.goesTo("two successes")
		time.Sleep(4 * time.Second)
		r.probed(f, "healthy edge", "a", 16*time.Second, 20*time.Second)
		r.goesTo("three successes", "a")
		time.Sleep(time.Second)
		r.probed(f, "healthy", "a", 21*time.Second)
		f.find("a", Refused)
		time.Sleep(time.Second)
		r.goesTo("a refusal", nil...)
		f.find("a", RefusedForNow)
		time.Sleep(time.Minute)
		f.find("a", Passed)
		time.Sleep(time.Minute)
		r.goesTo("passing again", "a")
		f.find("a", RefusedForNow)
		time.Sleep(time.Second)
		r.goesTo("a retriable refusal", "a")
		time.Sleep(3 * time.Second)
		r.goesTo("two")
	})
}

// TestNoTraffic probes slowly until the first call.
func TestNoTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		f.find("b", Unreachable)
		r := newCheckRig(t, f, checking(everySecond()), checkedAt("a", "b"))
		time.Sleep(90 * time.Second)
		r.probed(f, "healthy", "a", 0)
		r.probed(f, "unhealthy", "b", 0, time.Minute)
		r.goesTo("the first call", "a")
		time.Sleep(2 * time.Second)
		r.probed(f, "in use", "a", 91*time.Second, 92*time.Second)
		r.probed(f, "in use", "b", 92*time.Second)
	})
}

func TestCheckJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		check := everySecond()
		check.InitialJitter, check.IntervalJitter, check.IntervalJitterPercent = time.Second, time.Second, 100
		names := make([]string, 50)
		for i := range names {
			names[i] = string(rune('A' + i))
		}
		r := newCheckRig(t, f, checking(check), checkedAt(names...))
		time.Sleep(500 * time.Millisecond)
		if r.settled() {
			t.Error("no probe waited")
		}
		time.Sleep(500 * time.Millisecond)
		if !r.settled() {
			t.Error("a probe waited longer than the jitter")
		}
		r.goesTo("afterwards", names...)
		time.Sleep(time.Minute)
		spread := false
		for _, name := range names {
			times := f.at(name)
			for i := 2; i < len(times); i++ {
				gap := times[i] - times[i-1]
				if gap < time.Second || gap > 3*time.Second {
					t.Errorf("%v between probes, want 1 s to 3 s", gap)
				}
				spread = spread || gap > 2*time.Second
			}
		}
		if !spread {
			t.Error("no gap above 2 s: one of the jitters is not there")
		}
	})
}

// TestChecksComeAndGo with policy, and leave what was found where they stay.
func TestChecksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		f.find("b", Refused)
		r := newCheckRig(t, f, checking(), checkedAt("a", "b"))
		r.goesTo("without checks", "a", "b")
		f.takes = 50 * time.Millisecond
		r.cluster.Configure(checking(everySecond()))
		r.goesTo("until a check says otherwise", "a", "b")
		time.Sleep(50 * time.Millisecond)
		r.goesTo("with checks", "a")

		again := *checking(everySecond())
		again.PanicThreshold = 1
		r.cluster.Configure(&again)
		r.assign(checkedAt("b", "a"))
		r.goesTo("after updates", "a")
		if len(f.targets) != 2 {
			t.Errorf("%d probers were made, want those of the beginning", len(f.targets))
		}
		faster := everySecond()
		faster.Interval = time.Millisecond
		r.cluster.Configure(checking(faster))
		r.goesTo("with another check", "a")

		disabled := checkedAt("a", "b")
		disabled.Localities[0].Endpoints[1].Check.Disabled = true
		r.assign(disabled)
		r.goesTo("with b's disabled", "a", "b")
		r.cluster.Configure(checking())
		synctest.Wait()
		f.at("a")
		time.Sleep(time.Hour)
		r.probed(f, "without checks", "a")
		if f.closed != len(f.targets) {
			t.Errorf("%d of %d probers are closed", f.closed, len(f.targets))
		}
	})
}

// TestFirstCheckOfOneInUse has one failure of whatever kind be enough, as if the endpoint
// had waited for it.
func TestFirstCheckOfOneInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		f.find("b", Unreachable)
		r := newCheckRig(t, f, checking(), checkedAt("a", "b"))
		r.goesTo("without checks", "a", "b")
		r.cluster.Configure(checking(everySecond()))
		r.goesTo("with checks", "a")
	})
}

// TestAllChecksMustPass where there are several.
func TestAllChecksMustPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		first, second := everySecond(), everySecond()
		first.TCP, first.HTTP = nil, &HTTPCheck{Host: "first"}
		second.TCP, second.HTTP = nil, &HTTPCheck{Host: "second"}
		r := newCheckRig(t, f, checking(first, second), one(at("a:1")))
		r.goesTo("both pass", "a")
		f.find("second", Refused)
		time.Sleep(time.Second)
		r.goesTo("one does not")
		f.find("second", Passed)
		time.Sleep(time.Minute)
		r.goesTo("both do again", "a")
	})
}

func TestDegradedByCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		f.find("a", PassedDegraded)
		r := newCheckRig(t, f, checking(everySecond()), checkedAt("a", "b"))
		synctest.Wait()
		if got := r.picks(100)["a:1"]; got != 30 {
			t.Errorf("%d of 100 calls go to the degraded endpoint, want 30", got)
		}
		f.find("a", Passed)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := r.picks(100)["a:1"]; got != 50 {
			t.Errorf("%d of 100 calls go to the endpoint, want 50", got)
		}
	})
}

// TestUncounted leaves out of the arithmetic what asked for it, or was not checked yet.
func TestUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		for _, name := range []string{"b", "c", "d"} {
			f.find(name, RefusedUncounted)
		}
		config := checking(everySecond())
		config.PanicThreshold = 50
		r := newCheckRig(t, f, config, checkedAt("a", "b", "c", "d"))
		r.goesTo("with one of four left, no panic", "a")

		ignoring := *config
		ignoring.IgnoreUnchecked = true
		r.cluster.Configure(&ignoring)
		f.takes = 50 * time.Millisecond
		r.assign(checkedAt("a", "e", "f", "g"))
		r.goesTo("with three that are new, no panic", "a")
		time.Sleep(50 * time.Millisecond)
		r.goesTo("afterwards", "a", "e", "f", "g")
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		for _, name := range []string{"b", "c", "d"} {
			f.find(name, Refused)
		}
		config := checking(everySecond())
		config.PanicThreshold = 50
		r := newCheckRig(t, f, config, checkedAt("a", "b", "c", "d"))
		r.goesTo("counted, there is panic", "a", "b", "c", "d")
	})
}

// TestFailHealthCheck takes an endpoint out until its checks pass.
func TestFailHealthCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		r := newCheckRig(t, f, checking(everySecond()), checkedAt("a", "b"))
		r.goesTo("first", "a", "b")
		r.link("a:1").Endpoint().FailHealthCheck()
		r.goesTo("told to leave", "b")
		time.Sleep(10 * time.Second)
		r.goesTo("passing again", "a", "b")
	})
}

// TestCheckUnejects ends an ejection by a check that passes, unless told not to.
func TestCheckUnejects(t *testing.T) {
	for _, uneject := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeProbes()
			config := checking(everySecond())
			config.OutlierDetection = strict()
			config.OutlierDetection.BaseEjectionTime = time.Hour
			config.OutlierDetection.UnejectOnCheck = uneject
			r := newCheckRig(t, f, config, checkedAt("a", "b"))
			r.goesTo("first", "a", "b")
			r.calls("a:1", 2, Outcome{Code: 500})
			r.wantEjected("after failures", "a:1")
			time.Sleep(time.Second)
			if uneject {
				r.wantEjected("after a check")
			} else {
				r.wantEjected("after a check", "a:1")
			}
		})
	}
}

// TestCloseEndsProbes that run.
func TestCloseEndsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProbes()
		f.takes = time.Hour
		check := everySecond()
		check.Timeout = time.Hour
		r := newCheckRig(t, f, checking(check), checkedAt("a", "b"))
		synctest.Wait()
		r.cluster.Close()
		if f.closed != 2 {
			t.Errorf("%d of 2 probers are closed", f.closed)
		}
	})
}
