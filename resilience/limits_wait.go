package resilience

import (
	"slices"
	"sync"
	"sync/atomic"
)

// connWaiters are those that wait for a place among the connections, in the order in which
// they came.
type connWaiters struct {
	any atomic.Int32 // how many, for who gives a place back

	mu    sync.Mutex
	queue []connWaiter
}

type connWaiter struct {
	priority Priority
	place    chan struct{} // closed when the place is the waiter's
}

// ReleaseConnection ends what Acquire of Connections or AwaitConnection began, and gives the
// place to who waits for one.
func (l *Limits) ReleaseConnection(p Priority) {
	if l != nil {
		l.Release(Connections, p)
		l.givePlaces()
	}
}

// AwaitConnection waits for a place among the connections; ReleaseConnection must follow if
// it returns true. It returns false when done or again is closed or sent to: again has the
// caller look for itself whether it still has to wait.
func (l *Limits) AwaitConnection(p Priority, done, again <-chan struct{}) bool {
	if l == nil {
		return true
	}
	w := &l.waiters
	one := connWaiter{p, make(chan struct{})}
	w.mu.Lock()
	w.queue = append(w.queue, one)
	w.any.Add(1)
	w.mu.Unlock()
	l.givePlaces() // one may have been free by then
	select {
	case <-one.place:
		return true
	case <-done:
	case <-again:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.queue, func(o connWaiter) bool { return o.place == one.place })
	if i < 0 {
		return true // it got the place at that moment
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	w.any.Add(-1)
	return false
}

// givePlaces gives what places there are to those that wait.
func (l *Limits) givePlaces() {
	w := &l.waiters
	if w.any.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = slices.DeleteFunc(w.queue, func(one connWaiter) bool {
		if !l.Acquire(Connections, one.priority) {
			return false
		}
		w.any.Add(-1)
		close(one.place)
		return true
	})
}
