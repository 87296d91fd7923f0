package resilience

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func queueing(size uint32) ShedConfig {
	return ShedConfig{MaxRequests: 2, QueueSize: size, QueueInterval: 100 * time.Millisecond, QueueTarget: 5 * time.Millisecond}
}

func TestShedWithoutQueue(t *testing.T) {
	s := NewShed(ShedConfig{MaxRequests: 10})
	n := 0
	for _, step := range []struct {
		share float64
		want  int // in flight after as many as go in
	}{{0.05, 1}, {0.29, 2}, {0.5, 5}, {0.5, 5}, {0.3, 5}, {1, 10}, {1, 10}} {
		for s.Enter(step.share) {
			n++
		}
		if n != step.want || s.InFlight() != int64(n) {
			t.Errorf("with the share %v there are %d in flight, want %d", step.share, n, step.want)
		}
	}
	if s.Wait(start) != nil {
		t.Error("a call waits where there is no queue")
	}
	for range 5 {
		s.Leave()
	}
	if s.Enter(0.5) || !s.Enter(0.6) {
		t.Error("what left is not forgotten")
	}
}

func ready(w *Waiter) bool {
	select {
	case <-w.Ready:
		return true
	default:
		return false
	}
}

func TestShedQueue(t *testing.T) {
	s := NewShed(queueing(3))
	s.Enter(1)
	s.Enter(1)
	var waiters []*Waiter
	for range 3 {
		waiters = append(waiters, s.Wait(start))
	}
	if s.Wait(start) != nil {
		t.Fatal("the queue has no bound")
	}
	if !s.GiveUp(waiters[1]) || s.GiveUp(waiters[1]) {
		t.Error("a waiter gives up once")
	}
	s.Leave()
	if !ready(waiters[0]) || ready(waiters[1]) || ready(waiters[2]) {
		t.Error("it is not the first whose turn it is")
	}
	if s.GiveUp(waiters[0]) {
		t.Error("one that was let in gives up")
	}
	s.Leave()
	if !ready(waiters[2]) || s.InFlight() != 2 {
		t.Errorf("the last still waits, with %d in flight", s.InFlight())
	}
	s.Leave()
	if w := s.Wait(start); !ready(w) {
		t.Error("a call waits for nothing")
	}
	later := s.Wait(start)
	if s.Leave(); !ready(later) {
		t.Error("a place is lost")
	}
	s.Enter(1)
	s.Wait(start)
	s.Leave()
	s.Leave()
	if s.InFlight() != 1 || s.waiting.Load() != 0 {
		t.Errorf("%d in flight, %d wait", s.InFlight(), s.waiting.Load())
	}
}

// TestShedNobodyOvertakes has a call that comes while others wait go to the end.
func TestShedNobodyOvertakes(t *testing.T) {
	s := NewShed(queueing(2))
	s.waiting.Add(1)
	if s.Enter(1) {
		t.Error("a call that comes is let in before one that waits")
	}
}

// TestShedDrains gives up waiting early while the queue does not get empty.
func TestShedDrains(t *testing.T) {
	s := NewShed(queueing(10))
	s.Enter(1)
	s.Enter(1)
	at := func(ms int, want time.Duration) *Waiter {
		t.Helper()
		w := s.Wait(start.Add(time.Duration(ms) * time.Millisecond))
		if w.Timeout != want {
			t.Errorf("at %d ms a call may wait for %v, want %v", ms, w.Timeout, want)
		}
		return w
	}
	long, short := 100*time.Millisecond, 5*time.Millisecond
	first := at(0, long)
	second := at(60, long)
	s.GiveUp(first)
	third := at(101, short)
	s.GiveUp(second)
	s.GiveUp(third)
	at(102, long)
	at(200, long)
	at(203, short)
}

// TestShedOverload asks a server for twice of what it can do, in simulated time. It is
// busy all the time, nothing takes longer than the queue lets it, and what is asked for
// briefly is served whole.
func TestShedOverload(t *testing.T) {
	const workers, service = 10, 20 * time.Millisecond
	random := rand.New(rand.NewPCG(8, 9))
	s := NewShed(ShedConfig{MaxRequests: workers})
	m := &model{workers: workers, service: service, random: random, rate: 2 * workers / service.Seconds(),
		admit: func(time.Time) bool { return s.Enter(1) },
		done:  func(_, _ time.Time) { s.Leave() }}
	m.run(20 * time.Second)
	capacity := 20 * workers / service.Seconds()
	// Erlang's loss formula: ten servers under a load of 20 refuse 54 %.
	within(t, "calls served", float64(m.served), capacity*2*(1-0.538), 0.03)
	if m.slowest > service*11/10 || m.mostAtime > workers {
		t.Errorf("the slowest took %v, there were %d at a time", m.slowest, m.mostAtime)
	}
}

// TestShedExact has goroutines enter, wait and give up. No place is lost and none is
// taken twice.
func TestShedExact(t *testing.T) {
	const most = 4
	s := NewShed(ShedConfig{MaxRequests: most, QueueSize: 8, QueueInterval: time.Second, QueueTarget: time.Second})
	var in, tooMany, entered, waited, gaveUp atomic.Int64
	var all sync.WaitGroup
	for g := range 24 {
		all.Go(func() {
			for i := range 1000 {
				if !s.Enter(1) {
					w := s.Wait(time.Now())
					if w == nil {
						continue
					}
					if (g+i)%3 == 0 && s.GiveUp(w) {
						gaveUp.Add(1)
						continue
					}
					<-w.Ready
					waited.Add(1)
				} else {
					entered.Add(1)
				}
				if in.Add(1) > most {
					tooMany.Add(1)
				}
				in.Add(-1)
				s.Leave()
			}
		})
	}
	all.Wait()
	t.Logf("%d entered, %d waited, %d gave up", entered.Load(), waited.Load(), gaveUp.Load())
	if tooMany.Load() > 0 || s.InFlight() != 0 || s.waiting.Load() != 0 || s.queue.Len() != 0 {
		t.Errorf("%d times too many were in flight; %d are left, %d wait", tooMany.Load(), s.InFlight(), s.waiting.Load())
	}
}

func BenchmarkShed(b *testing.B) {
	s := NewShed(ShedConfig{MaxRequests: 1 << 20})
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if s.Enter(1) {
						s.Leave()
					}
				}
			})
		})
	}
}
