package resilience

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestNoStandIn has attempts go on for longer than an attempt may, whose policy has nothing
// sent in their place: there is nothing to do but to wait for them.
func TestNoStandIn(t *testing.T) {
	unbounded := hedged(1, Hedge{OnPerTryTimeout: true})
	unbounded.Retry.PerTryTimeout = 0
	byTime := hedged(0, Hedge{Delay: time.Hour})
	byTime.Retry.PerTryTimeout = 50 * ms
	start := time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		policy Policy
		want   Step
	}{
		"no hedges":          {perTry(1, 50*ms), Step{Do: Wait}},
		"no per-try timeout": {unbounded, Step{Do: Wait}},
		"hedges by time":     {byTime, Step{Do: Wait, At: start.Add(time.Hour)}},
	} {
		t.Run(name, func(t *testing.T) {
			var limits Limits
			limits.Configure(&DefaultLimits)
			a := NewAttempts(Call{Policy: &c.policy, Limits: &limits})
			defer a.Close()
			a.Next(start)
			for _, after := range []time.Duration{0, 50 * ms, 51 * ms} {
				if diff := gocmp.Diff(c.want, a.Next(start.Add(after))); diff != "" {
					t.Errorf("after %v: %s", after, diff)
				}
			}
		})
	}
}

// TestUploadsGoneApart has one of two requests go out whole: no time is running for the other.
func TestUploadsGoneApart(t *testing.T) {
	var limits Limits
	limits.Configure(&DefaultLimits)
	policy := hedged(2, Hedge{OnPerTryTimeout: true, Delay: 20 * ms})
	a := NewAttempts(Call{Policy: &policy, Limits: &limits, Uploads: true})
	defer a.Close()
	start := time.Unix(1e9, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	a.Next(at(0))
	a.Next(at(20 * ms))
	a.Gone(at(25*ms), 2)
	a.Ended(at(30*ms), 2, &Result{Kind: Refused})
	if diff := gocmp.Diff(Step{Do: Wait}, a.Next(at(30*ms))); diff != "" {
		t.Error(diff)
	}
	a.Gone(at(40*ms), 1)
	if diff := gocmp.Diff(Step{Do: Wait, At: at(90 * ms)}, a.Next(at(40*ms))); diff != "" {
		t.Error(diff)
	}
}
