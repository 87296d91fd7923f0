package resilience

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Latency knows the quantiles of what attempts took lately. It keeps two windows of
// 1,024 samples, each a histogram whose buckets are a quarter of a power of two wide,
// so that a quantile is at most a fifth too high. The zero value is empty. All
// methods are safe for concurrent use and lock-free; what races at the turn of
// a window may be lost.
type Latency struct {
	turn    atomic.Uint32 // which window is written
	windows [2]latencyWindow
}

const (
	latencyBuckets  = 4 * 40 // up to 2^40 µs
	latencyWindowOf = 1024
	latencyFewest   = 32 // under which nothing is known
)

type latencyWindow struct {
	count   atomic.Uint32
	buckets [latencyBuckets]atomic.Uint32
}

// Record adds what an attempt took that was answered well.
func (l *Latency) Record(d time.Duration) {
	turn := l.turn.Load()
	w := &l.windows[turn&1]
	w.buckets[latencyBucket(d)].Add(1)
	if w.count.Add(1) == latencyWindowOf {
		next := &l.windows[(turn+1)&1]
		next.count.Store(0)
		for i := range next.buckets {
			next.buckets[i].Store(0)
		}
		l.turn.Store(turn + 1)
	}
}

// Quantile returns a time that the share q, 0 to 1, of the attempts took at most; false
// while too little is known.
func (l *Latency) Quantile(q float64) (time.Duration, bool) {
	if l == nil {
		return 0, false
	}
	total := l.windows[0].count.Load() + l.windows[1].count.Load()
	if total < latencyFewest {
		return 0, false
	}
	left := q * float64(total)
	for i := range latencyBuckets {
		left -= float64(l.windows[0].buckets[i].Load() + l.windows[1].buckets[i].Load())
		if left <= 0 {
			return latencyCeiling(i), true
		}
	}
	return latencyCeiling(latencyBuckets - 1), true
}

// Least returns a time under which an attempt hardly ever ends, 0 if that is not known:
// four fifths of what the quickest 5 % took.
func (l *Latency) Least() time.Duration {
	d, _ := l.Quantile(0.05)
	return d * 4 / 5
}

// latencyBucket is the bucket of a time: its power of two in µs, and the two bits that
// follow.
func latencyBucket(d time.Duration) int {
	us := max(4, uint64(max(0, d)/time.Microsecond))
	power := bits.Len64(us) - 1
	quarter := int(us>>(power-2)) & 3
	return min((power-2)*4+quarter, latencyBuckets-1)
}

// latencyCeiling is the time at which a bucket ends.
func latencyCeiling(bucket int) time.Duration {
	power, quarter := bucket/4+2, bucket%4
	us := uint64(5+quarter) << (power - 2)
	return time.Duration(us) * time.Microsecond
}
