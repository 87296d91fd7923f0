package resilience

import "sync/atomic"

// ThrottleConfig stops retries while calls mostly fail (gRFC A6, retryThrottling).
type ThrottleConfig struct {
	// MaxTokens is what there is at most, and at first: 1 to 1000.
	MaxTokens uint32
	// Ratio is what a success earns, in thousandths of a token, more than zero. A
	// failure costs one token.
	Ratio uint32
}

// Throttle counts the tokens of one cluster. Retries and hedges are allowed while there
// are more than half of the most. Safe for concurrent use; nil always allows.
type Throttle struct {
	config ThrottleConfig
	tokens atomic.Int64 // thousandths
}

// NewThrottle returns a full throttle, or nil for nil.
func NewThrottle(c *ThrottleConfig) *Throttle {
	if c == nil {
		return nil
	}
	t := &Throttle{config: *c}
	t.tokens.Store(t.most())
	return t
}

func (t *Throttle) most() int64 { return int64(t.config.MaxTokens) * 1000 }

// Allows reports whether a retry may be sent now.
func (t *Throttle) Allows() bool {
	return t == nil || t.tokens.Load() > t.most()/2
}

// Succeeded earns the tokens of a call that did not fail.
func (t *Throttle) Succeeded() {
	if t != nil {
		t.add(int64(t.config.Ratio))
	}
}

// Failed pays for an attempt that failed in a way that policy retries, or whose server
// asked not to be retried.
func (t *Throttle) Failed() {
	if t != nil {
		t.add(-1000)
	}
}

func (t *Throttle) add(n int64) {
	for {
		old := t.tokens.Load()
		now := max(0, min(t.most(), old+n))
		if now == old || t.tokens.CompareAndSwap(old, now) {
			return
		}
	}
}
