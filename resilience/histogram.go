package resilience

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts times in buckets that are 1/32 of a power of two wide, from 64 ns to
// 19 hours, so that its size does not depend on how many there are. Within a bucket times
// are taken to be spread evenly: a quantile is off by 3 % at most. The zero value is
// empty. Recording is lock-free.
type histogram struct {
	buckets [histogramBuckets]atomic.Uint32
}

const (
	histogramUnit    = 64 * time.Nanosecond
	histogramFine    = 32 // buckets to a power of two
	histogramBuckets = 36 * histogramFine
)

func (h *histogram) record(d time.Duration) { h.buckets[histogramBucket(d)].Add(1) }

// quantile returns a time that the share q, 0 to 1, of what was recorded took at most;
// false if that is nothing.
func (h *histogram) quantile(q float64) (time.Duration, bool) {
	total := 0.0
	for i := range h.buckets {
		total += float64(h.buckets[i].Load())
	}
	if total == 0 {
		return 0, false
	}
	rank := q * total
	for i := range h.buckets {
		n := float64(h.buckets[i].Load())
		if rank <= n && n > 0 {
			from, to := histogramFloor(i), histogramFloor(i+1)
			return time.Duration((from + (to-from)*rank/n) * float64(histogramUnit)), true
		}
		rank -= n
	}
	return time.Duration(histogramFloor(histogramBuckets) * float64(histogramUnit)), true
}

// histogramBucket is the bucket of a time. The first 32 are one unit wide.
func histogramBucket(d time.Duration) int {
	units := uint64(max(0, d) / histogramUnit)
	if units < histogramFine {
		return int(units)
	}
	power := bits.Len64(units) - 6 // units>>power is 32 to 63
	return min(power*histogramFine+int(units>>power), histogramBuckets-1)
}

// histogramFloor is where a bucket begins, in units.
func histogramFloor(bucket int) float64 {
	if bucket < 2*histogramFine {
		return float64(bucket)
	}
	return math.Ldexp(float64(histogramFine+bucket%histogramFine), bucket/histogramFine-1)
}
