package resilience

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// BucketConfig is a token bucket (envoy.type.v3.TokenBucket).
type BucketConfig struct {
	// Max is how many tokens there are at most, and at first. With none, every call is
	// refused.
	Max uint32
	// Fill is how many tokens come in each Every; 0 means 1.
	Fill uint32
	// Every is the time in which Fill tokens come, more than zero. They come one by one,
	// evenly, not all at its end.
	Every time.Duration
}

// Rate is how many tokens come in a second.
func (c BucketConfig) Rate() float64 { return float64(max(c.Fill, 1)) / c.Every.Seconds() }

// Bucket is a bucket of tokens, of which each call takes one or more. It holds no lock
// and knows no clock: whoever asks says what time it is, as the time since any moment
// that is the same for all that ask one bucket, and within the four years that follow it.
// Safe for concurrent use. Over any stretch of time, it gives no more tokens than
// Max and what came in that time, whatever the interleaving.
//
// What is kept is a single number, the moment at which the bucket would have been empty
// had it been filled ever since, in units of time so fine that a token is a whole number of
// them, rounded up. Taking a token moves the moment by a token's time towards now.
type Bucket struct {
	config BucketConfig
	token  int64 // units
	full   int64 // units of all tokens; 0 if there are none
	shift  int   // units are nanoseconds, shifted to the left by this

	empty atomic.Int64 // units
}

// horizon is how long a bucket can be asked, in nanoseconds.
const horizon = 1 << 57

// NewBucket returns a bucket that is full at now.
func NewBucket(c BucketConfig, now time.Duration) *Bucket {
	c.Fill = max(c.Fill, 1)
	b := &Bucket{config: c}
	if c.Max == 0 {
		return b
	}
	// The finest units in which the horizon and the time of all tokens fit.
	perToken := float64(max(c.Every, 1)) / float64(c.Fill)
	b.shift = 61 - int(math.Ceil(math.Log2(horizon+perToken*float64(c.Max))))
	b.token = max(1, scaledUp(max(c.Every, 1), b.shift, c.Fill))
	b.full = b.token * int64(c.Max)
	b.empty.Store(b.units(now) - b.full)
	return b
}

// scaledUp is d shifted to the left, or to the right if by is negative, and divided by n;
// rounded up.
func scaledUp(d time.Duration, by int, n uint32) int64 {
	if by < 0 {
		unit := math.Ldexp(float64(n), -by)
		return int64(math.Ceil(float64(d) / unit))
	}
	hi, lo := bits.Mul64(uint64(d), 1<<by)
	q, r := bits.Div64(hi, lo, uint64(n)) // that fits, as all tokens do
	if r > 0 {
		q++
	}
	return int64(q)
}

func (b *Bucket) units(now time.Duration) int64 {
	if b.shift < 0 {
		return int64(now) >> -b.shift
	}
	return int64(now) << b.shift
}

// Config is what the bucket was made with.
func (b *Bucket) Config() BucketConfig { return b.config }

// Take takes n tokens, if there are so many at now.
func (b *Bucket) Take(n uint64, now time.Duration) bool {
	if n > uint64(b.config.Max) || b.full == 0 {
		return n == 0
	}
	cost, at := int64(n)*b.token, b.units(now)
	for {
		old := b.empty.Load()
		next := max(old, at-b.full) + cost
		if next > at {
			return false
		}
		if b.empty.CompareAndSwap(old, next) {
			return true
		}
	}
}

// Return puts n tokens back, as many as there is room for.
func (b *Bucket) Return(n uint64, now time.Duration) {
	if b.full == 0 {
		return
	}
	gain, at := int64(min(n, uint64(b.config.Max)))*b.token, b.units(now)
	for {
		old := b.empty.Load()
		next := max(old-gain, at-b.full)
		if next >= old || b.empty.CompareAndSwap(old, next) {
			return
		}
	}
}

// Left is how many whole tokens there are at now.
func (b *Bucket) Left(now time.Duration) uint32 {
	if b.full == 0 {
		return 0
	}
	return uint32(max(0, min(b.units(now)-b.empty.Load(), b.full)) / b.token)
}

// Wait is the time from now until there is a token; 0 if there is one, and the longest
// there is if there never will be.
func (b *Bucket) Wait(now time.Duration) time.Duration {
	if b.full == 0 {
		return math.MaxInt64
	}
	missing := max(0, b.empty.Load()+b.token-b.units(now))
	if b.shift < 0 {
		if missing > math.MaxInt64>>-b.shift {
			return math.MaxInt64
		}
		return time.Duration(missing << -b.shift)
	}
	return time.Duration((missing + 1<<b.shift - 1) >> b.shift)
}
