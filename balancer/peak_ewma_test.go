package balancer

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// sameTo reports whether two numbers are the same to within a share of the first.
func sameTo(want, got, share float64) bool { return math.Abs(got-want) <= share*want }

// The average jumps to what is slower, and goes towards what is faster, and towards zero
// without answers, with the time constant of policy.
func TestPeakEWMAAverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{Kind: PeakEWMA}, addresses("e", 2))
		l := r.view.links[0]
		average := func() float64 { return l.endpoint.latency.average() }
		l.Answered(20 * time.Millisecond)
		if got := average(); got != 20 {
			t.Fatalf("after the first answer of 20 ms: %v", got)
		}
		l.Answered(200 * time.Millisecond)
		if got := average(); got != 200 {
			t.Fatalf("after an answer of 200 ms: %v", got)
		}
		// Answers of 20 ms all the time. The samples of an interval count as one of its end:
		// 2 % is room for that.
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			l.Answered(20 * time.Millisecond)
			l.Answered(20 * time.Millisecond)
		}
		synctest.Wait()
		if want := 20 + 180/math.E; !sameTo(want, average(), 0.02) {
			t.Errorf("10 s later: %v, want %v", average(), want)
		}
		before := average()
		l.Unanswered(5 * time.Millisecond)
		if average() != before {
			t.Error("a call that gave up early lowers the average")
		}
		l.Unanswered(300 * time.Millisecond)
		if average() != 300 {
			t.Errorf("after 300 ms in vain: %v", average())
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if want := 300 / math.E / math.E; !sameTo(want, average(), 0.02) {
			t.Errorf("20 s without an answer: %v, want %v", average(), want)
		}
		if got := r.view.links[1].endpoint.latency.average(); got != 0 {
			t.Errorf("the other has %v", got)
		}
		// When there is nothing left that decays, nothing runs.
		time.Sleep(time.Hour)
		synctest.Wait()
		if r.cluster.averages.running.Load() {
			t.Error("the averages are folded after an hour without calls")
		}
		l.Answered(time.Hour)
		time.Sleep(time.Second)
		if !r.cluster.averages.running.Load() || average() > float64(time.Hour/time.Millisecond) {
			t.Error("the averages are not folded after another answer")
		}
	})
}

func TestPeakEWMACost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{Kind: PeakEWMA, EWMA: EWMA{DefaultRTT: 50 * time.Millisecond, Penalty: DefaultPenalty}}, addresses("e", 2))
		a, b := r.cluster.Endpoints()[0], r.cluster.Endpoints()[1]
		always := func(what, address string) {
			t.Helper()
			if got := r.picks(50)[address]; got != 50 {
				t.Errorf("%s: %s was picked %d times in 50", what, address, got)
			}
		}
		a.latency.observe(40 * time.Millisecond)
		always("40 ms and no sample, 50 by default", "e0:1")
		a.active.Store(1)
		always("40 × 2 and no sample", "e1:1")
		b.active.Store(1)
		always("40 × 2, and a call without a sample", "e0:1")
		b.latency.observe(10 * time.Millisecond)
		b.active.Store(6)
		always("40 × 2 and 10 × 7", "e1:1")
		b.active.Store(8)
		always("40 × 2 and 10 × 9", "e0:1")
	})
}

// What policy says of the average holds in place of the defaults.
func TestPeakEWMATimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{Kind: PeakEWMA, EWMA: EWMA{DecayTime: time.Minute, AggregationInterval: 20 * time.Second}}, addresses("e", 1))
		l := r.view.links[0]
		average := func() float64 { return l.endpoint.latency.average() }
		l.Answered(100 * time.Millisecond)
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		folded := average() // begun at once
		l.Answered(10 * time.Millisecond)
		time.Sleep(19 * time.Second)
		synctest.Wait()
		if average() != folded {
			t.Errorf("within the interval the average went from %v to %v", folded, average())
		}
		time.Sleep(41 * time.Second)
		synctest.Wait()
		// The sample has its part at the first of three foldings.
		part := 10 * (1 - math.Exp(-1./3)) * math.Exp(-2./3)
		if want := 100/math.E + part; !sameTo(want, average(), 0.02) {
			t.Errorf("a minute later: %v, want %v", average(), want)
		}
	})
}
