package resilience

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	var l Limits
	for r, want := range map[Resource]uint32{Connections: 1024, Pending: 1024, Requests: 1024, Retries: 3} {
		if got := l.Max(r, PriorityHigh); got != want {
			t.Errorf("%v is %d by default, want %d", r, got, want)
		}
	}
	l.Configure(&LimitsConfig{Thresholds: [2]Thresholds{{MaxRequests: 2}, {MaxRequests: 1}}})
	for i, want := range []bool{true, true, false} {
		if got := l.Acquire(Requests, PriorityDefault); got != want {
			t.Errorf("request %d: %v, want %v", i, got, want)
		}
	}
	if !l.Acquire(Requests, PriorityHigh) || l.Acquire(Requests, PriorityHigh) {
		t.Error("the priorities are not counted apart")
	}
	l.Release(Requests, PriorityDefault)
	if !l.Acquire(Requests, PriorityDefault) {
		t.Error("a place that was given back is not free")
	}
	if l.Acquire(Connections, PriorityDefault) {
		t.Error("a limit of zero lets one in")
	}
	l.Configure(&LimitsConfig{Thresholds: [2]Thresholds{{MaxRequests: 1}, {}}})
	l.Release(Requests, PriorityDefault)
	if l.Acquire(Requests, PriorityDefault) {
		t.Error("what is in flight was forgotten when the limit changed")
	}
	err := l.Exceeded("orders", Requests, PriorityHigh)
	if !errors.Is(err, ErrLimit) || err.Error() != `cluster "orders" is at its limit at high priority: circuit_breakers.max_requests is 0` {
		t.Error(err)
	}
}

// TestNilLimits count nothing and refuse nothing, whatever they are asked.
func TestNilLimits(t *testing.T) {
	var l *Limits
	l.Configure(&LimitsConfig{})
	l.Add(Requests, PriorityDefault)
	if !l.Acquire(Requests, PriorityDefault) || !l.AwaitConnection(PriorityDefault, nil, nil) {
		t.Error("nil limits refuse a place")
	}
	l.ReleaseConnection(PriorityDefault)
	for _, u := range l.Usage() {
		if u.InFlight != 0 || u.Max == 0 {
			t.Errorf("%d of %d %s", u.InFlight, u.Max, u.Resource)
		}
	}
	if l.Throttle() != nil {
		t.Error("nil limits throttle retries")
	}
}

func TestBudget(t *testing.T) {
	var l Limits
	l.Configure(&LimitsConfig{Thresholds: [2]Thresholds{{MaxRequests: 1000, MaxPending: 1000, MaxRetries: 1, Budget: &Budget{Percent: 20, MinConcurrency: 3}}, {}}})
	if got := l.Max(Retries, PriorityDefault); got != 3 {
		t.Errorf("an idle cluster allows %d retries, want 3", got)
	}
	for range 100 {
		l.Acquire(Requests, PriorityDefault)
	}
	n := 0
	for l.Acquire(Retries, PriorityDefault) {
		n++
	}
	if n != 20 {
		t.Errorf("%d retries beside 100 requests, want 20", n)
	}
}

// TestLimitsExact has many callers compete: never more than the limit at a time, and
// none refused while there is room.
func TestLimitsExact(t *testing.T) {
	const limit, callers = 4, 8
	var l Limits
	l.Configure(&LimitsConfig{Thresholds: [2]Thresholds{{MaxRequests: limit}, {}}})
	var in, most atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range 2000 {
				if !l.Acquire(Requests, PriorityDefault) {
					continue
				}
				n := in.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				in.Add(-1)
				l.Release(Requests, PriorityDefault)
			}
		})
	}
	wg.Wait()
	if most.Load() > limit || l.InFlight(Requests, PriorityDefault) != 0 {
		t.Errorf("%d at once, %d left; want at most %d and none", most.Load(), l.InFlight(Requests, PriorityDefault), limit)
	}
}

func TestThrottle(t *testing.T) {
	th := NewThrottle(&ThrottleConfig{MaxTokens: 4, Ratio: 500})
	for i, want := range []bool{true, true, false, false, false, false} { // 4, 3, 2, 1, 0, 0
		if th.Allows() != want {
			t.Errorf("after %d failures: %v, want %v", i, th.Allows(), want)
		}
		th.Failed()
	}
	n := 0
	for ; !th.Allows(); n++ {
		th.Succeeded()
	}
	if n != 5 {
		t.Errorf("allowed again after %d successes, want 5", n)
	}
	var none *Throttle
	none.Failed()
	if !none.Allows() || NewThrottle(nil) != nil {
		t.Error("no throttle throttles")
	}

	var l Limits
	config := &LimitsConfig{Throttle: &ThrottleConfig{MaxTokens: 4, Ratio: 500}}
	l.Configure(config)
	before := l.Throttle()
	before.Failed()
	again := *config
	l.Configure(&again)
	if l.Throttle() != before {
		t.Error("a configuration that says the same has a throttle of its own")
	}
	again.Throttle = &ThrottleConfig{MaxTokens: 1, Ratio: 500}
	l.Configure(&again)
	if now := l.Throttle(); now == before || now.config.MaxTokens != 1 {
		t.Error("the throttle is not that of the new configuration")
	}
	l.Configure(&LimitsConfig{})
	if l.Throttle() != nil {
		t.Error("the throttle was not taken away by a configuration without one")
	}
	l.Configure(&again)
	l.Configure(nil)
	if l.Throttle() != nil {
		t.Error("the throttle was not taken away")
	}
}

func TestLatency(t *testing.T) {
	var l Latency
	for i := range latencyFewest - 1 {
		l.Record(time.Duration(i) * ms)
	}
	if d, ok := l.Quantile(0.5); ok {
		t.Errorf("%d samples are enough for %v", latencyFewest-1, d)
	}
	for _, scale := range []time.Duration{time.Microsecond, 37 * time.Microsecond, ms, time.Second} {
		var l Latency
		var all []time.Duration
		for i := 1; i <= 1000; i++ {
			d := time.Duration((i*7919)%1000+5) * scale
			all = append(all, d)
			l.Record(d)
		}
		slices.Sort(all)
		for _, q := range []float64{0.05, 0.5, 0.9, 0.99, 1} {
			exact := all[int(q*float64(len(all)))-1]
			if got, ok := l.Quantile(q); !ok || got < exact || got > exact*5/4 {
				t.Errorf("quantile %v in %v: %v, %v; want %v to a quarter more", q, scale, got, ok, exact)
			}
		}
		if least, _ := l.Quantile(0.05); l.Least() > least {
			t.Errorf("least %v is more than %v", l.Least(), least)
		}
	}
	var both Latency // the window that is full counts beside the one that is written
	for i := range 3 * latencyWindowOf / 2 {
		both.Record(time.Duration(1+i/latencyWindowOf*99) * ms)
	}
	if most, _ := both.Quantile(0.6); most > 2*ms {
		t.Errorf("three fifths took %v at most, want 1ms", most)
	}
	if most, _ := both.Quantile(0.7); most < 100*ms {
		t.Errorf("seven tenths took %v at most, want 100ms", most)
	}
	for range 3 * latencyWindowOf { // the windows forget
		l.Record(time.Second)
	}
	if d, _ := l.Quantile(0.001); d < time.Second {
		t.Errorf("what was long ago still counts: %v", d)
	}
	l.Record(-1)
	l.Record(1<<63 - 1)
}

func BenchmarkLimits(b *testing.B) {
	var l Limits
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if l.Acquire(Requests, PriorityDefault) {
				l.Release(Requests, PriorityDefault)
			}
		}
	})
}

func BenchmarkLatency(b *testing.B) {
	var l Latency
	b.ReportAllocs()
	for i := range b.N {
		l.Record(time.Duration(i))
	}
}

// TestCallsBesideRequests counts calls in the number that the requests are counted in: limits
// go by the requests alone.
func TestCallsBesideRequests(t *testing.T) {
	var l, other Limits
	l.Configure(&LimitsConfig{Thresholds: [2]Thresholds{{MaxRequests: 2}, {MaxRequests: 1}}})
	in := l.Calls()
	in.Add(3 * CallUnit)
	for p, most := range []int{2, 1} {
		for n := range most {
			if !l.Acquire(Requests, Priority(p)) {
				t.Fatalf("%d of %d at priority %d are refused", n, most, p)
			}
		}
		if l.Acquire(Requests, Priority(p)) {
			t.Errorf("more than %d at priority %d", most, p)
		}
	}
	other.Calls().Add(CallUnit)
	l.ReleaseCall(PriorityDefault, in)
	l.ReleaseCall(PriorityHigh, in)
	l.ReleaseCall(PriorityDefault, other.Calls())
	if l.InFlight(Requests, PriorityDefault) != 0 || l.InFlight(Requests, PriorityHigh) != 0 || other.InFlight(Requests, PriorityDefault) != 0 {
		t.Error("requests are left")
	}
	if in.Load() != CallUnit || other.Calls().Load() != 0 {
		t.Errorf("%x and %x are left of the calls", in.Load(), other.Calls().Load())
	}
}
