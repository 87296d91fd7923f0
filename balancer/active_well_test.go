package balancer

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/weft-mesh/weft/resilience"
)

// TestCallsThatEndWellAreTallied has calls begin and end while the tally is taken: each is in
// it once, and none is left in flight.
func TestCallsThatEndWellAreTallied(t *testing.T) {
	const callers, calls = 4, 20_000
	e := &Endpoint{cluster: &Cluster{}}
	e.active.Store(splitsOrigin | countedInCluster)
	var taken uint32
	var ended atomic.Bool
	var taking, calling sync.WaitGroup
	taking.Go(func() {
		for last := false; !last; {
			last = ended.Load()
			e.tally()
			total, failed := e.answers.take()
			if taken += total; failed != 0 {
				t.Errorf("%d failed", failed)
			}
		}
	})
	for range callers {
		calling.Go(func() {
			for range calls {
				e.begin()
				if n := e.Active(); n < 1 || n > callers {
					t.Errorf("%d in flight", n)
				}
				e.endWell()
			}
		})
	}
	calling.Wait()
	ended.Store(true)
	taking.Wait()
	if taken != callers*calls || e.Active() != 0 || e.cluster.active.Load() != 0 {
		t.Errorf("%d of %d taken, %d in flight, %d in the cluster", taken, callers*calls, e.Active(), e.cluster.active.Load())
	}
	if e.active.Load() != splitsOrigin|countedInCluster {
		t.Errorf("marks are %x", e.active.Load())
	}
}

// TestTallyIsPassedOnInTime has more calls end well than there is room for beside those in
// flight.
func TestTallyIsPassedOnInTime(t *testing.T) {
	e := &Endpoint{cluster: &Cluster{}}
	e.active.Store(isChecked | (manyEnded - 2*oneEndedWell) | 3)
	for range 3 {
		e.endWell()
	}
	if e.active.Load() != isChecked|oneEndedWell {
		t.Errorf("%x is left", e.active.Load())
	}
	e.tally()
	if total, failed := e.answers.take(); total != manyEnded/oneEndedWell+1 || failed != 0 {
		t.Errorf("%d calls, %d failed", total, failed)
	}
}

// TestTallyBeginsWithDetection has calls end well before there is outlier detection.
func TestTallyBeginsWithDetection(t *testing.T) {
	e := &Endpoint{cluster: &Cluster{}}
	e.begin()
	e.endWell()
	newMonitor(nil, e)
	e.tally()
	if total, _ := e.answers.take(); total != 0 {
		t.Errorf("%d calls are from before", total)
	}
}

// TestLeaveIsForCallsWithNothingToLearn ends calls of which there is more to say than that
// they succeeded.
func TestLeaveIsForCallsWithNothingToLearn(t *testing.T) {
	synctest.Test(t, testLeave)
}

func testLeave(t *testing.T) {
	r := newRig(t, ViewOptions{GRPC: true}, &Config{Name: "c"}, one(at("a:1")))
	r.up("a:1")
	limits := r.cluster.Limits()
	leaves := func(what string, l *Link, o Outcome, want bool) {
		t.Helper()
		before := limits.Calls().Load()
		l.endpoint.begin()
		if got := r.leave(l, o); got != want {
			t.Errorf("%s: %v", what, got)
		}
		if !want {
			l.Done(o)
		}
		if limits.Calls().Load() != before || l.endpoint.Active() != 0 {
			t.Errorf("%s: %x are counted, %d in flight", what, limits.Calls().Load(), l.endpoint.Active())
		}
	}
	l := r.link("a:1")
	leaves("a call that succeeded", l, Outcome{}, true)
	leaves("a call that failed", l, Outcome{Code: 14}, false)
	leaves("a call without an answer", l, Outcome{Err: ErrUnsent}, false)
	leaves("a probe", l.probe(nil), Outcome{}, false)
	limits.Configure(&resilience.LimitsConfig{Throttle: &resilience.ThrottleConfig{MaxTokens: 10, Ratio: 1000}})
	leaves("a call that earns a token", l, Outcome{}, false)
}
