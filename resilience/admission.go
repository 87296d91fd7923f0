package resilience

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// AdmissionConfig is what policy says of an [Admission]
// (envoy.extensions.filters.http.admission_control.v3.AdmissionControl). There are no
// defaults here: every field counts as it is.
type AdmissionConfig struct {
	// Window is how far back calls count, at least a second.
	Window time.Duration
	// Threshold is the share of calls that must succeed, above 0 to 1, for none to be
	// refused.
	Threshold float64
	// Aggression, at least 1, has more calls refused as fewer succeed.
	Aggression float64
	// MinRate is the calls in a second, on average over the window, under which none is
	// refused.
	MinRate uint32
	// MaxProbability, 0 to 1, is the largest share of calls to refuse.
	MaxProbability float64
}

// Admission refuses a share of the calls to what mostly fails, before they are made: the
// client-side throttling of Google's Site Reliability Engineering (chapter 21, "Handling
// Overload"), as Envoy's admission control has it:
//
//	n  calls in the window, s of which succeeded
//	p  = ((n - s / Threshold) / (n + 1)) ^ (1 / Aggression), at least 0, at most MaxProbability
//
// The book's formula is that with an Aggression of 1 and 1/Threshold for K. Calls that
// were refused do not count, unlike in the book: n stays small, so that p falls as soon as
// the calls that are let through succeed.
//
// It has no clock: whoever makes the calls says what time it is. All methods are safe for
// concurrent use, and none waits for a lock. Envoy counts by worker thread; here all
// calls count together.
type Admission struct {
	config AdmissionConfig
	begin  time.Time
	width  time.Duration // of a bucket

	tick    atomic.Int64 // the bucket of now, counted from begin
	total   admissionCounts
	buckets []admissionCounts // of the last window, by tick

	turn sync.Mutex // one at a time empties buckets
}

type admissionCounts struct {
	calls, successes atomic.Int64
	_                [48]byte // a cache line each: all calls write them
}

// admissionBuckets bounds how finely a window is divided; windows that are shorter in
// seconds have a bucket for each second, as in Envoy.
const admissionBuckets = 300

// NewAdmission returns an admission that has seen no calls at now.
func NewAdmission(c AdmissionConfig, now time.Time) *Admission {
	n := min(admissionBuckets, max(1, int64(c.Window/time.Second)))
	return &Admission{config: c, begin: now, width: c.Window / time.Duration(n), buckets: make([]admissionCounts, n)}
}

// Config returns what the admission goes by.
func (a *Admission) Config() AdmissionConfig { return a.config }

// Probability returns the share of calls to refuse now, 0 to 1.
func (a *Admission) Probability(now time.Time) float64 {
	a.advance(now)
	// Successes first: read the other way around there could be more of them than calls.
	successes, calls := float64(a.total.successes.Load()), float64(a.total.calls.Load())
	if calls < float64(a.config.MinRate)*a.config.Window.Seconds() {
		return 0
	}
	p := (calls - successes/a.config.Threshold) / (calls + 1)
	if p <= 0 {
		return 0
	}
	if a.config.Aggression > 1 {
		p = math.Pow(p, 1/a.config.Aggression)
	}
	return min(p, a.config.MaxProbability)
}

// Record counts a call that was not refused and has ended.
func (a *Admission) Record(now time.Time, success bool) {
	a.advance(now)
	b := &a.buckets[a.tick.Load()%int64(len(a.buckets))]
	// The total first, so that no bucket has more to take from it than it has.
	a.total.calls.Add(1)
	b.calls.Add(1)
	if success {
		a.total.successes.Add(1)
		b.successes.Add(1)
	}
}

// advance forgets what is older than the window.
func (a *Admission) advance(now time.Time) {
	tick := int64(now.Sub(a.begin) / a.width)
	if tick <= a.tick.Load() || !a.turn.TryLock() {
		return
	}
	defer a.turn.Unlock()
	n := int64(len(a.buckets))
	for t := max(a.tick.Load(), tick-n) + 1; t <= tick; t++ {
		b := &a.buckets[t%n]
		a.total.calls.Add(-b.calls.Swap(0))
		a.total.successes.Add(-b.successes.Swap(0))
	}
	a.tick.Store(tick)
}
