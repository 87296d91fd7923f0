package resilience

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// BreakerConfig says when a breaker opens, and when it closes again.
type BreakerConfig struct {
	// ConsecutiveFailures opens the breaker after so many failures in a row; 0 does not
	// go by them. With a FailurePercent they must lie within its Interval.
	ConsecutiveFailures uint32

	// FailurePercent opens the breaker when so much of the calls that ended within
	// Interval failed, above 0 and up to 100; 0 does not go by it. It is looked at with
	// each failure once there are MinimumRequests calls.
	FailurePercent  float64
	MinimumRequests uint32
	// Interval is a window that moves on in tenths. At least 100 ms where there is a
	// FailurePercent.
	Interval time.Duration

	// OpenTime is how long the breaker stays open before it lets a probe through, above
	// 0. It is also how long it waits for what came of a probe before it lets another
	// through.
	OpenTime time.Duration
	// Probes is how many probes have to succeed, one after the other, for the breaker to
	// close. 0 means 1.
	Probes uint32
}

// BreakerState is what a breaker does with calls.
type BreakerState uint8

// The states. A breaker that is half open lets one call through at a time, the probe.
const (
	BreakerClosed BreakerState = iota
	BreakerOpen
	BreakerHalfOpen
)

// String names the state as circuit breakers' are.
func (s BreakerState) String() string { return [...]string{"closed", "open", "half-open"}[s] }

// Verdict is what a call says of where it went.
type Verdict uint8

// The verdicts. NoVerdict is that of a call that was given up, or not sent: it counts
// neither way, and gives a probe's place back.
const (
	NoVerdict Verdict = iota
	Success
	Failure
)

// Breaker stops calls to what mostly fails. The state machine is gobreaker's two-step
// breaker, which has a mutex and allocates for each call. It is asked only about calls
// that fail, and probes: gobreaker decides nothing when a call succeeds, so that successes
// are counted beside it, in the same window, without a lock.
//
// A call is counted when it ends. All methods are safe for concurrent use; those on nil
// are those of a breaker that never opens.
type Breaker struct {
	config  BreakerConfig
	changed func(from, to BreakerState)

	// phase in its lower bits, above them the epoch, which is how often the breaker has
	// closed, and then the flags below. Written with mu held.
	word      atomic.Uint32
	successes window

	mu     sync.Mutex
	two    *gobreaker.TwoStepCircuitBreaker[struct{}]
	probe  *Probe    // under way
	since  time.Time // of the state
	timer  *time.Timer
	news   [][2]BreakerState // to tell when mu is unlocked
	closed bool              // by Close
}

// phase is a BreakerState, of which half open is two: whether a probe is under way.
type phase uint32

const (
	phaseClosed phase = iota
	phaseOpen
	phaseDue
	phaseProbing
	phases = 1<<8 - 1
)

// The flags of Breaker.word.
const (
	counting = 1 << (16 + iota) // successes are counted
	failing                     // the last that gobreaker heard of was a failure
)

func (p phase) state() BreakerState { return BreakerState(min(p, phaseDue)) }

var (
	errFailed = errors.New("failed")
	errNone   = errors.New("no verdict")
)

// NewBreaker returns a closed breaker. changed is called after each change of its state, in
// order unless they follow one another at once, with no lock held, by the goroutine that
// brought it about; it may be nil. Close must follow.
func NewBreaker(c BreakerConfig, changed func(from, to BreakerState)) *Breaker {
	b := &Breaker{config: c, changed: changed}
	s := gobreaker.Settings{
		MaxRequests:   max(1, c.Probes),
		Timeout:       c.OpenTime,
		ReadyToTrip:   b.trips,
		IsExcluded:    func(err error) bool { return errors.Is(err, errNone) },
		OnStateChange: b.moved,
	}
	if c.FailurePercent > 0 {
		b.successes.init(c.Interval)
		b.word.Store(counting)
		s.Interval, s.BucketPeriod = c.Interval, b.successes.period
	}
	b.two = gobreaker.NewTwoStepCircuitBreaker[struct{}](s)
	b.enter(phaseClosed)
	return b
}

// Config is what NewBreaker was given.
func (b *Breaker) Config() BreakerConfig { return b.config }

// State returns the state.
func (b *Breaker) State() BreakerState { return b.phase().state() }

func (b *Breaker) phase() phase {
	if b == nil {
		return phaseClosed
	}
	return phase(b.word.Load() & phases)
}

// Closed reports whether all calls are let through.
func (b *Breaker) Closed() bool { return b == nil || phase(b.word.Load()&phases) == phaseClosed }

// Enter is Epoch for a call that is let through because the breaker is closed; else 0.
func (b *Breaker) Enter() uint8 {
	if b == nil {
		return 1
	}
	if w := b.word.Load(); phase(w&phases) == phaseClosed {
		return uint8(w >> 8)
	}
	return 0
}

// Admits reports whether the next call is let through, be it as a probe.
func (b *Breaker) Admits() bool { p := b.phase(); return p == phaseClosed || p == phaseDue }

// Epoch tells calls that were let through before the breaker last closed from those after:
// the first are not heard any more. Never 0.
func (b *Breaker) Epoch() uint8 {
	if b == nil {
		return 1
	}
	return uint8(b.word.Load() >> 8)
}

// Idle reports whether calls that succeed say nothing new just now: there is no need
// to have Learn hear of them.
func (b *Breaker) Idle() bool {
	return b == nil || b.word.Load()&(counting|failing) == 0
}

// Learn takes what came of a call that was let through, when the Epoch was this; 0 is for
// any. Nothing is learned while the breaker is not closed.
func (b *Breaker) Learn(v Verdict, epoch uint8) {
	if b == nil || v == NoVerdict || !b.hears(epoch) {
		return
	}
	if v == Failure {
		b.fail(epoch)
		return
	}
	b.successes.add()
	if b.word.Load()&failing != 0 {
		b.succeed(epoch)
	}
}

func (b *Breaker) hears(epoch uint8) bool {
	w := b.word.Load()
	return phase(w&phases) == phaseClosed && (epoch == 0 || uint8(w>>8) == epoch)
}

func (b *Breaker) fail(epoch uint8) {
	b.mu.Lock()
	defer b.unlock()
	if b.hears(epoch) {
		b.report(errFailed)
		if b.phase() == phaseClosed {
			b.word.Or(failing)
		}
	}
}

// succeed ends a row of failures.
func (b *Breaker) succeed(epoch uint8) {
	b.mu.Lock()
	defer b.unlock()
	if b.hears(epoch) && b.word.And(^uint32(failing))&failing != 0 {
		b.report(nil)
	}
}

// report has gobreaker count a call that has ended.
func (b *Breaker) report(err error) {
	if done, refused := b.two.Allow(); refused == nil {
		done(err)
	}
}

// trips decides, with each failure, whether to open.
func (b *Breaker) trips(c gobreaker.Counts) bool {
	if n := b.config.ConsecutiveFailures; n > 0 && c.ConsecutiveFailures >= n {
		return true
	}
	if b.config.FailurePercent <= 0 {
		return false
	}
	failures := uint64(c.TotalFailures)
	total := failures + b.successes.sum()
	return total >= uint64(b.config.MinimumRequests) && 100*float64(failures) >= b.config.FailurePercent*float64(total)
}

// moved hears from gobreaker of another state, with mu held.
func (b *Breaker) moved(_ string, from, to gobreaker.State) {
	states := [...]BreakerState{gobreaker.StateClosed: BreakerClosed, gobreaker.StateHalfOpen: BreakerHalfOpen, gobreaker.StateOpen: BreakerOpen}
	phases := [...]phase{BreakerClosed: phaseClosed, BreakerOpen: phaseOpen, BreakerHalfOpen: phaseDue}
	b.enter(phases[states[to]])
	b.news = append(b.news, [2]BreakerState{states[from], states[to]})
}

// enter begins a phase. mu is held, or nobody knows of the breaker yet.
func (b *Breaker) enter(p phase) {
	w := b.word.Load()
	epoch := uint8(w >> 8)
	if before := b.phase(); before.state() != p.state() || b.since.IsZero() {
		b.since = time.Now()
	}
	switch p {
	case phaseClosed:
		if epoch++; epoch == 0 {
			epoch = 1
		}
		b.successes.reset()
		fallthrough
	case phaseDue:
		if b.timer != nil {
			b.timer.Stop()
		}
	default:
		b.wake(b.config.OpenTime)
	}
	b.word.Store(w&counting | uint32(epoch)<<8 | uint32(p))
}

// wake has expire called when d has passed: at d itself gobreaker is still open.
func (b *Breaker) wake(d time.Duration) {
	switch d++; {
	case b.closed:
	case b.timer == nil:
		b.timer = time.AfterFunc(d, b.expire)
	default:
		b.timer.Reset(d)
	}
}

// expire ends the time of the breaker's phase.
func (b *Breaker) expire() {
	b.mu.Lock()
	defer b.unlock()
	if b.closed {
		return
	}
	switch b.phase() {
	case phaseOpen:
		if b.two.State() == gobreaker.StateOpen { // a timer that began before its time
			b.wake(time.Millisecond)
		}
	case phaseProbing:
		if left := b.config.OpenTime - time.Since(b.probe.began); left > 0 {
			b.wake(left)
			return
		}
		b.probe.end(errNone)
	}
}

// Close stops the breaker's timer. It stays in the state that it is in.
func (b *Breaker) Close() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.unlock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
}

// unlock tells of changes.
func (b *Breaker) unlock() {
	news := b.news
	b.news = nil
	b.mu.Unlock()
	for _, n := range news {
		if b.changed != nil {
			b.changed(n[0], n[1])
		}
	}
}
