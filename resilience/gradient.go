package resilience

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// GradientConfig is what policy says of a [Gradient]
// (envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig). There
// are no defaults here: every field counts as it is.
type GradientConfig struct {
	// Percentile, 0 to 1, is what stands for the latencies of a window.
	Percentile float64
	// MaxLimit and MinLimit bound the limit, at least 1. MinLimit wins.
	MaxLimit, MinLimit uint32
	// UpdateInterval is how long latencies are sampled before the limit is calculated
	// anew; more than zero.
	UpdateInterval time.Duration
	// FixedMinRTT is the latency without load. Zero has it measured.
	FixedMinRTT time.Duration
	// MinRTTInterval is the time between two measurements, and Jitter the share of it, 0
	// to 1, by which it is longer at random.
	MinRTTInterval time.Duration
	Jitter         float64
	// RequestCount is how many calls are measured, at least 1, and MinConcurrency how
	// many may be in flight meanwhile, at least 1. It is where the limit begins, too,
	// unless there is a FixedMinRTT: then it begins at MinLimit, as in Envoy.
	RequestCount, MinConcurrency uint32
	// Buffer is the share of the latency without load, 0 to 1, by which calls may be
	// slower without the limit shrinking.
	Buffer float64
}

// Gradient bounds how many calls are in flight by how long they take: Envoy's gradient
// controller (envoy.extensions.filters.http.adaptive_concurrency.v3, whose header
// gradient_controller.h describes the algorithm; it comes from Netflix, "Performance
// Under Load", 2018). Calls that take longer than they do without load are queued
// somewhere, and letting more of them in makes the queue longer.
//
//	gradient  = minRTT × (1 + buffer) / sampleRTT, at least 0.5 and at most 2
//	limit     = old limit × gradient
//	new limit = limit + √limit, which is room for bursts and lets the limit grow
//
// sampleRTT is what calls took lately. minRTT is what they take without load: from time
// to time the limit goes down to MinConcurrency until so many calls were measured, in
// flight with hardly any others. It is measured at once, too, when the limit was at its
// least for five windows in a row: minRTT then may be wrong.
//
// It has no clock and no goroutine: windows end by the first call that begins or ends
// after their time. All methods are safe for concurrent use; letting a call in takes no
// lock. Unlike Envoy's, whose workers race, the limit is never exceeded.
type Gradient struct {
	config GradientConfig
	random func() float64 // 0 to 1, of the jitter

	inFlight counter
	limit    atomic.Uint32
	window   atomic.Pointer[gradientWindow]

	mu       sync.Mutex // guards what follows, and that one window follows another
	minRTT   time.Duration
	deferred uint32    // the limit after the measurement
	measure  time.Time // when minRTT is measured next
	atLeast  int       // windows in a row at the end of which the limit was the least
}

// gradientWindow is the time in which calls are sampled for one purpose. A new one takes
// its place, so that nothing late comes to count in the next.
type gradientWindow struct {
	measuring bool      // minRTT; it ends when there are enough samples
	epoch     time.Time // calls that began before are not of interest
	ends      time.Time // of one that is not measuring: update, or when minRTT is measured
	update    time.Time
	count     atomic.Uint32
	samples   histogram
}

// gradientLeastWindows is after how many windows at the least limit minRTT is measured
// again.
const gradientLeastWindows = 5

// leastRTT keeps clocks that do not see a call take any time from dividing by zero.
const leastRTT = time.Microsecond

// NewGradient returns a controller that begins at now. random draws a number from 0 to
// 1, for the jitter; it is not called by two at a time.
func NewGradient(c GradientConfig, now time.Time, random func() float64) *Gradient {
	g := &Gradient{config: c, random: random, minRTT: max(c.FixedMinRTT, leastRTT)}
	g.limit.Store(c.MinConcurrency)
	if c.FixedMinRTT > 0 {
		g.limit.Store(c.MinLimit)
		g.next(now, now)
	} else {
		g.begin(now)
	}
	return g
}

// Config returns what the controller goes by.
func (g *Gradient) Config() GradientConfig { return g.config }

// Limit returns how many calls may be in flight now.
func (g *Gradient) Limit() uint32 { return g.limit.Load() }

// InFlight returns how many calls are in flight.
func (g *Gradient) InFlight() int64 { return g.inFlight.n.Load() }

// MinRTT returns the latency without load; less than it can be while it was never
// measured.
func (g *Gradient) MinRTT() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.minRTT
}

// Admit lets a call in unless that would be over the limit. Done or Cancel must follow if
// it returns true.
func (g *Gradient) Admit(now time.Time) bool {
	if w := g.window.Load(); !w.measuring && !now.Before(w.ends) {
		g.turn(now)
	}
	for {
		n := g.inFlight.n.Load()
		if n >= int64(g.limit.Load()) {
			return false
		}
		if g.inFlight.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Done ends a call that Admit let in at began, and that was served.
func (g *Gradient) Done(began, now time.Time) {
	g.inFlight.n.Add(-1)
	w := g.window.Load()
	if began.Before(w.epoch) {
		return
	}
	w.samples.record(now.Sub(began))
	n := w.count.Add(1)
	switch {
	case w.measuring && n >= g.config.RequestCount:
		g.measured(w, now)
	case !w.measuring && !now.Before(w.ends):
		g.turn(now)
	}
}

// Cancel ends a call that Admit let in and whose latency says nothing.
func (g *Gradient) Cancel() { g.inFlight.n.Add(-1) }

// turn ends a window of which the time is up.
func (g *Gradient) turn(now time.Time) {
	if !g.mu.TryLock() {
		return // another call is at it
	}
	defer g.mu.Unlock()
	w := g.window.Load()
	if w.measuring || now.Before(w.ends) {
		return
	}
	due := g.measures() && !now.Before(g.measure)
	if w.ends.Equal(w.update) { // else the samples go unused, as in Envoy
		if rtt, ok := w.samples.quantile(g.config.Percentile); ok {
			due = g.adjust(max(rtt, leastRTT)) || due
		}
	}
	if due {
		g.begin(now)
		return
	}
	g.next(w.epoch, now)
}

// measures reports whether minRTT is measured.
func (g *Gradient) measures() bool { return g.config.FixedMinRTT <= 0 }

// next begins a window of samples. mu is held, or nobody has g yet.
func (g *Gradient) next(epoch, now time.Time) {
	w := &gradientWindow{epoch: epoch, update: now.Add(g.config.UpdateInterval)}
	w.ends = w.update
	if g.measures() && g.measure.Before(w.update) {
		w.ends = g.measure
	}
	g.window.Store(w)
}

// adjust calculates the limit from what calls took in a window, and returns whether
// minRTT should be measured anew. mu is held.
func (g *Gradient) adjust(sampled time.Duration) bool {
	old := g.limit.Load()
	gradient := float64(g.minRTT) * (1 + g.config.Buffer) / float64(sampled)
	limit := float64(old) * max(0.5, min(2, gradient))
	limit += math.Sqrt(limit)
	now := max(g.config.MinLimit, uint32(min(limit, float64(g.config.MaxLimit))))
	g.limit.Store(now)
	if old != g.config.MinLimit || now != g.config.MinLimit {
		g.atLeast = 0
		return false
	}
	g.atLeast++
	return g.atLeast >= gradientLeastWindows && g.measures()
}

// begin has minRTT be measured from now on. mu is held, or nobody has g yet.
func (g *Gradient) begin(now time.Time) {
	g.deferred, g.atLeast = g.limit.Load(), 0
	g.limit.Store(g.config.MinConcurrency)
	g.window.Store(&gradientWindow{measuring: true, epoch: now})
}

// measured ends a measurement that has its samples.
func (g *Gradient) measured(w *gradientWindow, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.window.Load() != w {
		return // another call has
	}
	rtt, _ := w.samples.quantile(g.config.Percentile)
	g.minRTT = max(rtt, leastRTT)
	g.limit.Store(g.deferred)
	longer := g.config.Jitter * g.random() * float64(g.config.MinRTTInterval)
	g.measure = now.Add(g.config.MinRTTInterval + time.Duration(longer))
	g.next(w.epoch, now)
}
