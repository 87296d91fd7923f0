package resilience

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// start is when simulations begin.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// model is a server of so many workers, each of which serves one call at a time, and of
// callers who do not wait for one another: an open queue in simulated time, with Poisson
// arrivals. What is let in and finds no worker free waits in the server.
type model struct {
	workers int
	service time.Duration // of one call, in the mean; it takes up to a tenth more or less
	rate    float64       // calls a second that come
	random  *rand.Rand

	// admit and done are the controller that is tried.
	admit func(now time.Time) bool
	done  func(began, now time.Time)

	now       time.Time
	events    eventHeap
	waiting   []time.Time // when they were let in
	busy      int
	served    int
	refused   int
	slowest   time.Duration
	inSystem  int
	mostAtime int
}

// event is a call that comes, or one that a worker is done with.
type event struct {
	at    time.Time
	began time.Time // zero for one that comes
}

type eventHeap []event

func (h *eventHeap) Len() int           { return len(*h) }
func (h *eventHeap) Less(i, j int) bool { return (*h)[i].at.Before((*h)[j].at) }
func (h *eventHeap) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }
func (h *eventHeap) Push(e any)         { *h = append(*h, e.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// run goes on for so long, and forgets what was counted before.
func (m *model) run(d time.Duration) {
	m.served, m.refused, m.slowest, m.mostAtime = 0, 0, 0, 0
	if m.now.IsZero() {
		m.now = start
		heap.Push(&m.events, event{at: m.now})
	}
	for until := m.now.Add(d); m.events[0].at.Before(until); {
		e := heap.Pop(&m.events).(event)
		m.now = e.at
		if e.began.IsZero() {
			m.come()
		} else {
			m.end(e.began)
		}
	}
}

func (m *model) come() {
	wait := time.Duration(m.random.ExpFloat64() / m.rate * float64(time.Second))
	heap.Push(&m.events, event{at: m.now.Add(wait)})
	if !m.admit(m.now) {
		m.refused++
		return
	}
	m.inSystem++
	m.mostAtime = max(m.mostAtime, m.inSystem)
	if m.busy == m.workers {
		m.waiting = append(m.waiting, m.now)
		return
	}
	m.busy++
	m.serve(m.now)
}

// serve has a worker begin with a call. Were all to take the same time, they would be
// served in batches.
func (m *model) serve(began time.Time) {
	took := time.Duration((0.9 + 0.2*m.random.Float64()) * float64(m.service))
	heap.Push(&m.events, event{at: m.now.Add(took), began: began})
}

func (m *model) end(began time.Time) {
	m.served++
	m.inSystem--
	m.slowest = max(m.slowest, m.now.Sub(began))
	m.done(began, m.now)
	if len(m.waiting) == 0 {
		m.busy--
		return
	}
	next := m.waiting[0]
	m.waiting = m.waiting[1:]
	m.serve(next)
}
