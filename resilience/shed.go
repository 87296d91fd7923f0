package resilience

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"
)

// ShedConfig is how much a [Shed] lets in.
type ShedConfig struct {
	// MaxRequests is how many calls may be in flight, at least 1.
	MaxRequests uint32
	// QueueSize is how many calls may wait for one of them to end. Zero has none wait.
	QueueSize uint32
	// QueueInterval bounds how long a call waits while the queue is sometimes empty, and
	// QueueTarget how long while it was not for that long. Both are more than zero if
	// there is a queue.
	QueueInterval, QueueTarget time.Duration
}

// Shed keeps a server from having more calls in flight than it can serve. What is over
// may wait in a bounded queue, in order.
//
// The queue is there for bursts. One that does not get empty has no use: all calls wait,
// and no more of them are served. So calls then wait for QueueTarget only, and the queue
// drains: CoDel's idea (K. Nichols and V. Jacobson, "Controlling Queue Delay", 2012) in
// the form that B. Maurer gives it for servers ("Fail at Scale", 2015).
//
// It knows no clock. All methods are safe for concurrent use. Calls that need not wait
// take no lock, unless others wait.
type Shed struct {
	config   ShedConfig
	inFlight counter
	waiting  atomic.Int64 // in the queue

	mu    sync.Mutex
	queue list.List // of *Waiter
	empty time.Time // when it was last empty, or nothing waits
}

// NewShed returns a shed with nothing in flight.
func NewShed(c ShedConfig) *Shed { return &Shed{config: c} }

// Waiter is a call that waits in the queue.
type Waiter struct {
	// Ready is closed when the call is let in.
	Ready <-chan struct{}
	// Timeout is how long it may wait.
	Timeout time.Duration

	ready chan struct{}
	in    *list.Element // nil when it does not wait any more
}

// InFlight returns how many calls are in flight.
func (s *Shed) InFlight() int64 { return s.inFlight.n.Load() }

// Enter lets a call in unless more than the share, 0 to 1, of MaxRequests would be in
// flight then, and unless others wait. Leave must follow if it returns true.
func (s *Shed) Enter(share float64) bool {
	return s.waiting.Load() == 0 && s.enter(s.most(share))
}

// most is how many calls may be in flight by a share of all; one at least, or calls with
// a small share would never be served.
func (s *Shed) most(share float64) int64 {
	return max(1, int64(share*float64(s.config.MaxRequests)))
}

func (s *Shed) enter(most int64) bool {
	for {
		n := s.inFlight.n.Load()
		if n >= most {
			return false
		}
		if s.inFlight.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Wait has a call wait that Enter did not let in. It returns nil if the queue is full. Else
// the caller waits for Ready, after which Leave must follow as after Enter; or gives up,
// after the Timeout at the latest.
func (s *Shed) Wait(now time.Time) *Waiter {
	if s.config.QueueSize == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.Len() >= int(s.config.QueueSize) {
		return nil
	}
	if s.queue.Len() == 0 {
		s.empty = now
	}
	w := &Waiter{ready: make(chan struct{}), Timeout: s.config.QueueInterval}
	w.Ready = w.ready
	if now.Sub(s.empty) > s.config.QueueInterval {
		w.Timeout = s.config.QueueTarget
	}
	w.in = s.queue.PushBack(w)
	s.waiting.Add(1)
	// A call that left meanwhile may not have seen that one waits.
	s.letIn()
	return w
}

// GiveUp takes a waiter out of the queue, and returns false if it is too late for that:
// it was let in.
func (s *Shed) GiveUp(w *Waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.in == nil {
		return false
	}
	s.remove(w)
	return true
}

// Leave ends a call that was let in.
func (s *Shed) Leave() {
	s.inFlight.n.Add(-1)
	if s.waiting.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letIn()
}

// letIn lets those in that have waited longest. mu is held.
func (s *Shed) letIn() {
	for s.queue.Len() > 0 && s.enter(int64(s.config.MaxRequests)) {
		w := s.queue.Front().Value.(*Waiter)
		s.remove(w)
		close(w.ready)
	}
}

// remove takes a waiter out of the queue. mu is held.
func (s *Shed) remove(w *Waiter) {
	s.queue.Remove(w.in)
	w.in = nil
	s.waiting.Add(-1)
}
