package resilience_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resilience"
)

// TestFaults draws faults from given numbers: each fault that there is takes one.
func TestFaults(t *testing.T) {
	half := resilience.Fraction{Numerator: 50, Denominator: 100}
	all := resilience.Faults{
		Delay:      resilience.DelayFault{Share: half, For: time.Second},
		Abort:      resilience.AbortFault{Share: half, Status: 503},
		Throughput: resilience.ThroughputFault{Share: half, BytesPerSecond: 1024},
	}
	without := func(change func(*resilience.Faults)) resilience.Faults {
		f := all
		change(&f)
		return f
	}
	for name, test := range map[string]struct {
		faults resilience.Faults
		drawn  []uint64
		want   resilience.Fault
	}{
		"none":                {resilience.Faults{}, nil, resilience.Fault{}},
		"all":                 {all, []uint64{0, 149, 1049}, resilience.Fault{Delay: time.Second, Abort: true, BytesPerSecond: 1024}},
		"missed":              {all, []uint64{50, 199, math.MaxUint64/100*100 - 1}, resilience.Fault{}},
		"throughput only":     {all, []uint64{0, 50, 50}, resilience.Fault{BytesPerSecond: 1024}},
		"delay only":          {all, []uint64{50, 0, 50}, resilience.Fault{Delay: time.Second}},
		"abort only":          {all, []uint64{50, 50, 0}, resilience.Fault{Abort: true}},
		"no delay":            {without(func(f *resilience.Faults) { f.Delay.For = 0 }), []uint64{50, 0}, resilience.Fault{Abort: true}},
		"backwards":           {without(func(f *resilience.Faults) { f.Delay.For = -1 }), []uint64{50, 0}, resilience.Fault{Abort: true}},
		"no rate":             {without(func(f *resilience.Faults) { f.Throughput.BytesPerSecond = 0 }), []uint64{0, 50}, resilience.Fault{Delay: time.Second}},
		"a share of none":     {without(func(f *resilience.Faults) { f.Abort.Share.Numerator = 0 }), []uint64{50, 50}, resilience.Fault{}},
		"of nothing":          {without(func(f *resilience.Faults) { f.Abort.Share.Denominator = 0 }), []uint64{50, 50, 0}, resilience.Fault{}},
		"more than all":       {without(func(f *resilience.Faults) { f.Abort.Share.Numerator = 300 }), []uint64{50, 50, 99}, resilience.Fault{Abort: true}},
		"the caller's lower":  {without(func(f *resilience.Faults) { f.Abort.Share = half.AtMost(10) }), []uint64{50, 50, 10}, resilience.Fault{}},
		"the caller's higher": {without(func(f *resilience.Faults) { f.Abort.Share = half.AtMost(90) }), []uint64{50, 50, 50}, resilience.Fault{}},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			got := test.faults.Draw(func() uint64 {
				if n++; n > len(test.drawn) {
					return 0
				}
				return test.drawn[n-1]
			})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n > len(test.drawn) {
				t.Errorf("%d numbers were drawn, want %d at most", n, len(test.drawn))
			}
		})
	}
}

// TestFaultShares has as many calls hit as the share says, whatever its denominator.
func TestFaultShares(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)).Uint64
	const calls = 200_000
	for _, share := range []resilience.Fraction{{5, 100}, {2_500, 10_000}, {333_333, 1_000_000}, {100, 100}} {
		f := resilience.Faults{Abort: resilience.AbortFault{Share: share}, Delay: resilience.DelayFault{Share: share, For: 1}}
		hits, both := 0, 0
		for range calls {
			fault := f.Draw(random)
			if fault.Abort {
				hits++
				if fault.Delay > 0 {
					both++
				}
			}
		}
		p := float64(share.Numerator) / float64(share.Denominator)
		for want, got := range map[float64]int{p: hits, p * p: both} {
			if deviation := 5 * math.Sqrt(calls*want*(1-want)); math.Abs(float64(got)-calls*want) > deviation {
				t.Errorf("%v: %d of %d calls, want %.0f ± %.0f", share, got, calls, calls*want, deviation)
			}
		}
	}
}

// TestActiveFaults has no more calls in faults than may be, whatever their order.
func TestActiveFaults(t *testing.T) {
	var active resilience.ActiveFaults
	var now, most, refused atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if !active.Enter(3) {
					refused.Add(1)
					continue
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				now.Add(-1)
				active.Leave()
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d calls were in faults at a time", most.Load())
	}
	for i := range 4 {
		if got, want := active.Enter(3), i < 3; got != want {
			t.Errorf("call %d: %t, want %t", i, got, want)
		}
	}
	if active.Leave(); !active.Enter(3) || active.Enter(3) {
		t.Error("a call that left did not make room for one")
	}
	if (&resilience.ActiveFaults{}).Enter(0) {
		t.Error("there is room among none")
	}
}

func BenchmarkFaultsDraw(b *testing.B) {
	one := resilience.Fraction{Numerator: 1, Denominator: 1_000_000}
	f := resilience.Faults{
		Delay: resilience.DelayFault{Share: one, For: time.Second},
		Abort: resilience.AbortFault{Share: one, Status: 503},
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Draw(rand.Uint64)
	}
}
