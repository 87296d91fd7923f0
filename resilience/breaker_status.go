package resilience

import "time"

// BreakerStatus is a breaker at one moment, for people to look at.
type BreakerStatus struct {
	State BreakerState
	// Since is when it came into the state.
	Since time.Time
	// Probing says that a probe is under way.
	Probing bool
	// Successes and Failures are of the calls that ended within Interval, while it is
	// closed; without a FailurePercent successes are not counted. ConsecutiveFailures are
	// those since the last success.
	Successes, Failures uint64
	ConsecutiveFailures uint32
}

// Status returns how the breaker is. It waits for calls that fail just now.
func (b *Breaker) Status() BreakerStatus {
	if b == nil {
		return BreakerStatus{}
	}
	b.mu.Lock()
	defer b.unlock()
	s := BreakerStatus{State: b.State(), Since: b.since, Probing: b.probe != nil}
	if s.State == BreakerClosed {
		b.two.State() // which moves its window on
		c := b.two.Counts()
		s.Failures, s.ConsecutiveFailures = uint64(c.TotalFailures), c.ConsecutiveFailures
		s.Successes = b.successes.sum()
	}
	return s
}
