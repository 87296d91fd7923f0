package resilience

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsage(t *testing.T) {
	var l Limits
	c := DefaultLimits
	c.Thresholds[PriorityHigh] = Thresholds{MaxConnections: 1, MaxPending: 2, MaxRequests: 3, Budget: &Budget{Percent: 50, MinConcurrency: 1}}
	l.Configure(&c)
	for range 4 {
		l.Add(Requests, PriorityHigh)
	}
	l.Add(Retries, PriorityDefault)
	want := []Usage{
		{Connections, PriorityDefault, 0, 1024}, {Pending, PriorityDefault, 0, 1024}, {Requests, PriorityDefault, 0, 1024}, {Retries, PriorityDefault, 1, 3},
		{Connections, PriorityHigh, 0, 1}, {Pending, PriorityHigh, 0, 2}, {Requests, PriorityHigh, 4, 3}, {Retries, PriorityHigh, 0, 2},
	}
	got := l.Usage()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	if a, b := got[3].Remaining(), got[6].Remaining(); a != 2 || b != 0 {
		t.Errorf("remaining: %d and %d, want 2 and 0", a, b)
	}
}
