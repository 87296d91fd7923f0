package resilience

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// TestLearn has results count for the throttle, as gRFC A6 has it, and for what attempts
// take: what is retried or pushed back is a failure, what went well a success, and what
// failed otherwise is neither.
func TestLearn(t *testing.T) {
	on := Conditions{On: OnGatewayError | OnUnavailable}
	for _, c := range []struct {
		result Result
		tokens int64 // what it changes of them, in thousandths
		takes  bool  // it says what attempts take
	}{
		{Result{Status: 200}, 500, true},
		{Result{Status: 404}, 500, true},
		{Result{Status: 499}, 500, true},
		{Result{Status: 500}, 0, false},
		{Result{Status: 599}, 0, false},
		{Result{Status: 503}, -1000, false},
		{asksNot, -1000, false},
		{Result{Status: 200, Pushback: Pushback{Given: true, Never: true}}, -1000, false},
		{Result{Status: 500, Pushback: Pushback{Given: true}}, 0, false},
		{Result{GRPC: true, Code: codes.OK}, 500, true},
		{Result{GRPC: true, Code: codes.NotFound}, 0, false},
		{Result{GRPC: true, Code: codes.Unavailable}, -1000, false},
		{Result{Kind: Reset, GRPC: true, Code: codes.Internal}, -1000, false},
		{Result{Kind: Reset, Partial: true}, 0, false},
		{Result{Kind: Canceled}, 0, false},
		{Result{Kind: Refused, NotSent: true}, 0, false},
	} {
		var l Limits
		l.Configure(&LimitsConfig{Throttle: &ThrottleConfig{MaxTokens: 10, Ratio: 500}})
		l.Throttle().Failed()
		before := l.Throttle().tokens.Load()
		latency := new(Latency)
		for range latencyFewest - 1 {
			latency.Record(time.Second)
		}
		a := NewAttempts(Call{Policy: &Policy{Retry: Retry{Retries: 1, On: on}, Latency: latency}, Limits: &l})
		now := time.Now()
		a.Next(now)
		a.Ended(now.Add(time.Millisecond), 1, &c.result)
		a.Close()
		if got := l.Throttle().tokens.Load() - before; got != c.tokens {
			t.Errorf("%+v changes the tokens by %d, want %d", c.result, got, c.tokens)
		}
		if d, ok := latency.Quantile(0.01); ok != c.takes || ok && (d < time.Millisecond || d > 5*time.Millisecond/4) {
			t.Errorf("%+v: the least that attempts take is %v, %v; want it known: %v", c.result, d, ok, c.takes)
		}
	}
}

// TestProbeIsHeardOnce has a probe that is done twice count once.
func TestProbeIsHeardOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(BreakerConfig{ConsecutiveFailures: 1, OpenTime: time.Second, Probes: 3}, nil)
		defer b.Close()
		b.Learn(Failure, 0)
		for i, want := range []BreakerState{BreakerHalfOpen, BreakerHalfOpen, BreakerClosed} {
			time.Sleep(2 * time.Second)
			p := b.Probe()
			for range 2 {
				p.Done(Success)
				if got := b.State(); got != want {
					t.Fatalf("after probe %d: %v, want %v", i+1, got, want)
				}
			}
		}
	})
}
