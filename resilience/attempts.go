package resilience

import (
	"slices"
	"time"
)

// Attempts is the state of one call's attempts: what has been sent, what may be sent
// and when, and whose result is the call's. It does nothing itself and knows no clock: the
// caller tells it what happened and when, and asks what to do [Attempts.Next]. The
// table in the package's documentation is its specification. It must not be used by two
// at a time.
type Attempts struct {
	policy   *Policy
	limits   *Limits
	priority Priority
	deadline time.Time // zero for none
	uploads  bool
	delayOf  func(n int) time.Duration // the backoff

	sent     int
	failures int // since the last pushback: the place in the backoff
	live     []flight
	due      time.Time // when the retry that is admitted is sent; zero for none
	hedge    time.Time // when the next hedge is sent; zero for none, or while a retry is due
	dueSlot  bool      // it holds a place among the retries
	stopped  Reason    // why there will be no more; zero if there may be
	refused  Reason    // why the last failure was not retried
	final    int       // whose result is the call's; 0 for not known yet
}

// flight is an attempt in flight.
type flight struct {
	attempt int
	sent    time.Time
	gone    time.Time // its request had gone out whole; zero for not yet
	slot    bool      // holds a place among the retries
	standIn bool      // another attempt was sent or is due in its place
}

// Call is what Begin needs to know of a call.
type Call struct {
	Policy   *Policy
	Limits   *Limits
	Priority Priority
	// Deadline is when the call ends, whatever came of it. Zero for never, or for when Until
	// says.
	Deadline time.Time
	// Uploads has the time of an attempt that a hedge stands in for count from when Gone says
	// that its request has gone out (Envoy), not from when it was sent.
	Uploads bool
	Jitter  Jitter
}

// NewAttempts returns the state of a call of which nothing was sent. Close must follow.
func NewAttempts(c Call) *Attempts {
	a := &Attempts{policy: c.Policy, limits: c.Limits, priority: c.Priority, deadline: c.Deadline, uploads: c.Uploads}
	a.delayOf = func(n int) time.Duration { return c.Policy.Retry.Backoff.Delay(n, c.Jitter) }
	return a
}

// Until says when the call ends, which may come to be known under way.
func (a *Attempts) Until(deadline time.Time) { a.deadline = deadline }

// Gone says that the request of an attempt has gone out whole, the first time.
func (a *Attempts) Gone(now time.Time, attempt int) {
	for i := range a.live {
		if f := &a.live[i]; f.attempt == attempt && f.gone.IsZero() {
			f.gone = now
		}
	}
}

// Step is what to do next.
type Step struct {
	Do Action
	// Attempt is which attempt to send, counted from 1, or whose result is the call's.
	Attempt int
	// At is, to wait, when to ask again unless an attempt ended before. Zero means when one
	// ended.
	At time.Time
}

// Action is what a Step asks for.
type Action uint8

// The actions.
const (
	// Wait for an attempt to end, or until Step.At.
	Wait Action = iota
	// Send an attempt, and ask again.
	Send
	// Finish the call with the attempt's result. What is in flight is abandoned.
	Finish
)

// Reason is why no further attempt was sent.
type Reason uint8

// The reasons.
const (
	// NotAsked: the result is not one that policy retries.
	NotAsked Reason = iota
	// Exhausted: there were as many attempts as policy allows.
	Exhausted
	// OverBudget: as many retries are in flight to the cluster as may be.
	OverBudget
	// Throttled: too many of the cluster's calls have failed.
	Throttled
	// PushedBack: the server asked not to be retried.
	PushedBack
	// TooLate: it could not have ended before the call's deadline.
	TooLate
	// Committed: the request is no more to be had, or the answer has begun.
	Committed
)

// String says the reason in a few words.
func (r Reason) String() string {
	return [...]string{"not retriable", "no retries left", "over the retry budget", "retries are throttled",
		"the server asked not to retry", "too late before the deadline", "cannot be sent again"}[r]
}

// Reason is why the result of the last attempt that ended was not retried.
func (a *Attempts) Reason() Reason { return a.refused }

// Sent is how many attempts were sent.
func (a *Attempts) Sent() int { return a.sent }

// Next returns what to do at the time now.
func (a *Attempts) Next(now time.Time) Step {
	switch {
	case a.final != 0:
		return Step{Do: Finish, Attempt: a.final}
	case a.sent == 0:
		return a.send(now, false)
	case !a.due.IsZero() && !now.Before(a.due):
		slot := a.dueSlot
		a.due, a.dueSlot = time.Time{}, false
		return a.send(now, slot)
	case !a.hedge.IsZero() && !now.Before(a.hedge):
		a.hedge = time.Time{}
		if a.admit(now, 0) {
			return a.send(now, true)
		}
		// The first that is refused is the last: what is in flight decides (gRFC A6).
	}
	return Step{Do: Wait, At: a.next(now)}
}

// next is when something is to be done without news of an attempt. An attempt whose time
// is up gets its stand-in admitted.
func (a *Attempts) next(now time.Time) time.Time {
	at := earlier(a.due, a.hedge)
	if a.policy.Hedge == nil || !a.policy.Hedge.OnPerTryTimeout || a.policy.Retry.PerTryTimeout <= 0 {
		return at
	}
	for i := range a.live {
		f := &a.live[i]
		if f.standIn || f.gone.IsZero() {
			continue
		}
		timeout := f.gone.Add(a.policy.Retry.PerTryTimeout)
		if now.Before(timeout) {
			at = earlier(at, timeout)
			continue
		}
		f.standIn = true
		if a.due.IsZero() {
			a.failures++
			a.schedule(now, a.delayOf(a.failures))
		}
		at = earlier(at, a.due)
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (a *Attempts) send(now time.Time, slot bool) Step {
	a.sent++
	a.live = append(a.live, flight{attempt: a.sent, sent: now, slot: slot})
	if !a.uploads {
		a.Gone(now, a.sent)
	}
	if h := a.policy.Hedge; h.byTime() {
		if d, ok := h.after(a.policy.Latency); ok {
			a.hedge = now.Add(d)
		}
	}
	return Step{Do: Send, Attempt: a.sent}
}

// Ended says what came of an attempt that was in flight, while the call has no result. It
// reports whether the result may still be the call's; if not, another attempt takes its place
// and what came of this one can be dropped.
func (a *Attempts) Ended(now time.Time, attempt int, r *Result) (keep bool) {
	i := slices.IndexFunc(a.live, func(f flight) bool { return f.attempt == attempt })
	f := a.live[i]
	a.live = slices.Delete(a.live, i, i+1)
	if f.slot {
		a.limits.Release(Retries, a.priority)
	}
	retries := a.policy.Retry.On.Retries(r)
	a.learn(now, &f, r, retries)
	switch {
	case r.Kind == Refused && len(a.live) > 0: // it was not sent at all
		a.hedge = time.Time{}
		return false
	case !retries:
		a.final, a.refused = attempt, NotAsked
		return true
	}
	a.failures++
	if r.Pushback.Never {
		a.stopped = PushedBack
		a.dropDue()
	}
	if !a.due.IsZero() || f.standIn && len(a.live) > 0 {
		return false // what takes its place is due, or under way (Envoy)
	}
	if a.schedule(now, a.delay(now, r)) || len(a.live) > 0 {
		return false
	}
	a.final = attempt
	return true
}

// learn counts a result for the throttle and for what attempts take.
func (a *Attempts) learn(now time.Time, f *flight, r *Result, retries bool) {
	switch t := a.limits.Throttle(); {
	case retries || r.Pushback.Never:
		t.Failed()
	case !r.Failed():
		t.Succeeded()
		if a.policy.Latency != nil {
			a.policy.Latency.Record(now.Sub(f.sent))
		}
	}
}

// delay is how long to wait after a result.
func (a *Attempts) delay(now time.Time, r *Result) time.Duration {
	if r.Pushback.Given {
		a.failures = 0 // the next is the first again (gRFC A6)
		return r.Pushback.After
	}
	if d, ok := a.policy.Retry.RateLimited.Delay(now, r.Headers); ok {
		return d
	}
	if a.policy.Hedge.byTime() {
		return 0 // the next hedge, ahead of its time (gRFC A6)
	}
	return a.delayOf(a.failures)
}

// schedule admits a further attempt and says when it is due.
func (a *Attempts) schedule(now time.Time, delay time.Duration) bool {
	if !a.admit(now, delay) {
		return false
	}
	a.due, a.dueSlot, a.hedge = now.Add(delay), true, time.Time{}
	return true
}

// admit reports whether a further attempt may be sent after delay, and takes its place
// among the cluster's retries.
func (a *Attempts) admit(now time.Time, delay time.Duration) bool {
	switch {
	case a.stopped != NotAsked:
		a.refused = a.stopped
	case a.sent > a.policy.Retry.Retries:
		a.refused = Exhausted
	case a.tooLate(now.Add(delay)):
		a.refused = TooLate
	case !a.limits.Throttle().Allows():
		a.refused = Throttled
	case !a.limits.Acquire(Retries, a.priority):
		a.refused = OverBudget
	default:
		return true
	}
	return false
}

// tooLate reports whether an attempt that is sent at a time cannot end before the call's
// deadline.
func (a *Attempts) tooLate(at time.Time) bool {
	return !a.deadline.IsZero() && !at.Add(a.policy.Latency.Least()).Before(a.deadline)
}

// Commit says that the call cannot be sent again. What is in flight still decides; if
// nothing is, the attempt that is due is sent and is the last.
func (a *Attempts) Commit() {
	a.stopped = Committed
	if len(a.live) > 0 {
		a.dropDue()
	}
}

func (a *Attempts) dropDue() {
	if a.dueSlot {
		a.limits.Release(Retries, a.priority)
	}
	a.due, a.dueSlot = time.Time{}, false
}

// Close gives back what the call holds; it may be called again. Nothing else may be.
func (a *Attempts) Close() {
	a.dropDue()
	for i := range a.live {
		if a.live[i].slot {
			a.limits.Release(Retries, a.priority)
		}
	}
	a.live = nil
}
