package resilience

import (
	"math"
	"math/rand/v2"
	"time"
)

// Backoff is how long a call waits before each of its retries: the n-th wait is
// drawn from what grows by the factor two from Base, and is at most Max
// (envoy.config.route.v3.RetryPolicy.RetryBackOff; gRFC A6, with the
// backoffMultiplier of gRFC A44). The zero value is Envoy's default.
type Backoff struct {
	// Base is the first ceiling. Zero means 25 ms.
	Base time.Duration
	// Max bounds the ceiling. Zero means ten times Base.
	Max time.Duration
}

// DefaultBackoffBase is Envoy's upstream.base_retry_backoff_ms.
const DefaultBackoffBase = 25 * time.Millisecond

// longestWait is where longer waits end, whatever policy or a server says: 18 years, of
// which ten times as much is still a time.Duration.
const longestWait = math.MaxInt64 / 16

// Jitter is how a wait is drawn from its ceiling, so that calls which fail together
// do not come back together.
type Jitter uint8

// The jitters.
const (
	// FullJitter draws from all that is between zero and the ceiling: Envoy's.
	FullJitter Jitter = iota
	// NarrowJitter draws from 80 % to 120 % of the ceiling: gRPC's (gRFC A6 as
	// amended).
	NarrowJitter
)

// Ceiling returns what the n-th wait in a row, counted from 1, is drawn from.
func (b Backoff) Ceiling(n int) time.Duration {
	base, most := min(b.Base, longestWait), b.Max
	if base <= 0 {
		base = DefaultBackoffBase
	}
	if most <= 0 {
		most = 10 * base
	}
	most = min(most, longestWait)
	d := base
	for ; n > 1 && d < most; n-- {
		d *= 2
	}
	return min(d, most)
}

// Delay draws the n-th wait in a row, counted from 1.
func (b Backoff) Delay(n int, j Jitter) time.Duration {
	ceiling := b.Ceiling(n)
	if j == NarrowJitter {
		return time.Duration(float64(ceiling) * (0.8 + 0.4*rand.Float64()))
	}
	return rand.N(ceiling)
}
