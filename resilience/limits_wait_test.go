package resilience

import (
	"testing"
	"testing/synctest"
)

// TestAwaitConnection serves those that wait in the order in which they came, and forgets
// those that gave up.
func TestAwaitConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limits
		one := &LimitsConfig{Thresholds: [2]Thresholds{{MaxConnections: 1}, {MaxConnections: 1}}}
		l.Configure(one)
		if !l.Acquire(Connections, PriorityDefault) {
			t.Fatal("the first is refused")
		}
		got := make(chan int, 4)
		quits := make(chan struct{})
		for i := range 4 {
			go func() {
				done := make(chan struct{})
				if i == 1 {
					done = quits
				}
				if !l.AwaitConnection(PriorityDefault, done, nil) {
					i = -i
				}
				got <- i
			}()
			synctest.Wait()
		}
		close(quits)
		for _, want := range []int{-1, 0, 2} {
			if want == 0 || want == 2 {
				l.ReleaseConnection(PriorityDefault)
			}
			if n := <-got; n != want {
				t.Errorf("%d is served, want %d", n, want)
			}
		}
		more := *one
		more.Thresholds[0].MaxConnections = 2
		l.Configure(&more)
		if n := <-got; n != 3 {
			t.Errorf("%d is served when the limit rises, want 3", n)
		}
		if n := l.InFlight(Connections, PriorityDefault); n != 2 {
			t.Errorf("%d places are taken, want 2", n)
		}
	})
}
