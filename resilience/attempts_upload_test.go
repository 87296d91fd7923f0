package resilience

import (
	"testing"
	"time"
)

// TestUpload has an attempt's time count from the end of its request, and the call's end
// known only then.
func TestUpload(t *testing.T) {
	policy := hedged(2, Hedge{OnPerTryTimeout: true})
	start := time.Unix(1e9, 0)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * ms) }
	var limits Limits
	a := NewAttempts(Call{Policy: &policy, Limits: &limits, Uploads: true})
	defer a.Close()
	a.delayOf = func(int) time.Duration { return 0 }
	expect := func(now int, want Step) {
		t.Helper()
		if got := a.Next(at(now)); got != want {
			t.Errorf("at %d ms: %+v, want %+v", now, got, want)
		}
	}
	expect(0, Step{Do: Send, Attempt: 1})
	expect(100, Step{Do: Wait})
	a.Gone(at(100), 1)
	a.Gone(at(120), 1)
	a.Until(at(190))
	expect(120, Step{Do: Wait, At: at(150)})
	expect(150, Step{Do: Wait, At: at(150)})
	expect(150, Step{Do: Send, Attempt: 2})
	a.Gone(at(160), 2)
	expect(160, Step{Do: Wait, At: at(210)})
	expect(210, Step{Do: Wait}) // too late for a third
}
