package resilience

import (
	"math"
	"sync/atomic"
	"time"
)

// window counts what happened within the last interval, in buckets that are those of
// gobreaker's rolling window. It takes no lock.
type window struct {
	period  time.Duration // of a bucket; 0 counts nothing
	begun   time.Time
	offset  atomic.Int64 // what had passed since begun at the last reset
	buckets []atomic.Uint64
}

// windowBuckets is how many buckets an interval has.
const windowBuckets = 10

// A bucket is its age in the upper half, in periods since the reset, and a count.
const (
	windowAge  = 32
	windowMost = math.MaxUint32 / 2 // where a count stops, so that it does not run over
)

func (w *window) init(interval time.Duration) {
	w.period = (interval + windowBuckets - 1) / windowBuckets
	w.begun = time.Now()
	w.buckets = make([]atomic.Uint64, (interval+w.period-1)/w.period)
}

// reset forgets what was counted. Counts that come at the same time may stay.
func (w *window) reset() {
	if w.period > 0 {
		w.offset.Store(int64(time.Since(w.begun)))
	}
	for i := range w.buckets {
		w.buckets[i].Store(0)
	}
}

func (w *window) age() uint32 {
	return uint32((int64(time.Since(w.begun)) - w.offset.Load()) / int64(w.period))
}

// add counts one.
func (w *window) add() {
	if w.period > 0 {
		w.count()
	}
}

func (w *window) count() {
	age := w.age()
	b := &w.buckets[age%uint32(len(w.buckets))]
	for {
		v := b.Load()
		switch newer := uint32(v>>windowAge) - age; {
		case newer == 0 && uint32(v) < windowMost:
			b.Add(1)
			return
		case newer < uint32(len(w.buckets)): // full, or the clock was read long ago
			return
		case b.CompareAndSwap(v, uint64(age)<<windowAge|1):
			return
		}
	}
}

// sum is what was counted within the interval.
func (w *window) sum() (n uint64) {
	if w.period == 0 {
		return 0
	}
	age := w.age()
	for i := range w.buckets {
		if v := w.buckets[i].Load(); age-uint32(v>>windowAge) < uint32(len(w.buckets)) {
			n += uint64(uint32(v))
		}
	}
	return n
}
