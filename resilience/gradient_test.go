package resilience

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if _, ok := h.quantile(0.5); ok {
		t.Error("an empty histogram has a median")
	}
	for _, d := range []time.Duration{0, 1, time.Microsecond, 3 * time.Microsecond, time.Millisecond, 77 * time.Millisecond, time.Second, time.Hour} {
		var h histogram
		for range 100 {
			h.record(d)
		}
		got, _ := h.quantile(0.5)
		if off := math.Abs(float64(got - d)); off > max(float64(histogramUnit), 0.03*float64(d)) {
			t.Errorf("the median of %v is %v", d, got)
		}
	}
	for i := 1; i <= 1000; i++ {
		h.record(time.Duration(i) * time.Millisecond)
	}
	for _, q := range []float64{0.01, 0.1, 0.5, 0.9, 0.99, 1} {
		got, _ := h.quantile(q)
		if want := q * 1000; math.Abs(got.Seconds()*1000-want) > 0.03*want {
			t.Errorf("the quantile %v of 1 to 1000 ms is %v", q, got)
		}
	}
	h.record(math.MaxInt64)
	h.record(-1)
	if got, _ := h.quantile(1); got < 15*time.Hour {
		t.Errorf("the longest time that can be is %v", got)
	}
}

// gradientConfig is what the tests change.
func gradientConfig(change func(*GradientConfig)) GradientConfig {
	c := GradientConfig{
		Percentile: 0.5, MaxLimit: 1000, MinLimit: 3, UpdateInterval: 100 * time.Millisecond,
		MinRTTInterval: time.Minute, RequestCount: 50, MinConcurrency: 3, Buffer: 0.25,
	}
	if change != nil {
		change(&c)
	}
	return c
}

// controlled is a model whose calls a gradient controller admits.
func controlled(c GradientConfig, m model) (*Gradient, *model) {
	random := rand.New(rand.NewPCG(1, 2))
	g := NewGradient(c, start, random.Float64)
	m.random, m.admit, m.done = random, g.Admit, g.Done
	return g, &m
}

// settled is the limit at which the controller stays on a server that is asked for more
// than it can do. By Little's law a call takes limit × service / workers there, so that the
// limit times the gradient is workers × (1 + buffer), to which the headroom is added.
func settled(workers int, buffer float64) float64 {
	k := float64(workers) * (1 + buffer)
	return k + math.Sqrt(k)
}

// within expects got to be want but for a share of it, or for one.
func within(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got-want) > max(1, share*want) {
		t.Errorf("%s is %.1f, want %.1f ± %.0f %%", what, got, want, share*100)
	}
}

// TestGradientConverges has the limit come to what the server can do, whatever that is,
// from three in flight and within seconds.
func TestGradientConverges(t *testing.T) {
	for _, workers := range []int{4, 30, 200} {
		for _, service := range []time.Duration{2 * time.Millisecond, 100 * time.Millisecond} {
			for _, buffer := range []float64{0, 0.25} {
				if workers == 200 && (service > 2*time.Millisecond || buffer == 0) {
					continue // one of them takes long enough
				}
				t.Run(fmt.Sprintf("%d of %v buffer %v", workers, service, buffer), func(t *testing.T) {
					capacity := float64(workers) / service.Seconds()
					g, m := controlled(
						gradientConfig(func(c *GradientConfig) {
							c.Buffer, c.UpdateInterval, c.MinRTTInterval = buffer, 10*service, time.Hour
						}),
						model{workers: workers, service: service, rate: 2 * capacity})
					m.run(400 * service) // the first measurement, and some 30 windows in which it grows by its root
					within(t, "minRTT in ms", g.MinRTT().Seconds()*1000, service.Seconds()*1000, 0.06)
					within(t, "limit", float64(g.Limit()), settled(workers, buffer), 0.12)
					m.run(250 * service)
					within(t, "limit later", float64(g.Limit()), settled(workers, buffer), 0.12)
					within(t, "calls served a second", float64(m.served)/(250*service.Seconds()), capacity, 0.03)
					if most := int(settled(workers, buffer)*1.2) + 1; m.mostAtime > most {
						t.Errorf("there were %d at a time, want at most %d", m.mostAtime, most)
					}
				})
			}
		}
	}
}

// TestGradientWithoutOverload has the limit grow to the most if calls take no longer
// the more there are.
func TestGradientWithoutOverload(t *testing.T) {
	g, m := controlled(gradientConfig(func(c *GradientConfig) { c.MaxLimit = 150 }),
		model{workers: 1000, service: 10 * time.Millisecond, rate: 1000})
	m.run(5 * time.Second)
	if g.Limit() != 150 {
		t.Errorf("the limit is %d, want 150", g.Limit())
	}
	m.run(10 * time.Second)
	if m.refused > 0 {
		t.Errorf("%d of %d calls were refused, with %d in flight", m.refused, m.served, m.mostAtime)
	}
}

// TestGradientLatencyStep has the server become three times as slow, and quick again. The
// limit falls to its least, where minRTT is measured anew; so it is when the time for that
// comes.
func TestGradientLatencyStep(t *testing.T) {
	const workers, service = 50, 10 * time.Millisecond
	g, m := controlled(gradientConfig(func(c *GradientConfig) { c.MinRTTInterval = 20 * time.Second }),
		model{workers: workers, service: service, rate: 2 * workers / service.Seconds()})
	m.run(3 * time.Second)
	within(t, "limit", float64(g.Limit()), settled(workers, 0.25), 0.1)

	m.service = 3 * service
	m.run(time.Second)
	if g.Limit() > 10 {
		t.Errorf("a second after calls became slower, the limit is %d", g.Limit())
	}
	m.run(4 * time.Second)
	within(t, "minRTT in ms", g.MinRTT().Seconds()*1000, 3*service.Seconds()*1000, 0.06)
	within(t, "limit of the slow server", float64(g.Limit()), settled(workers, 0.25), 0.1)

	m.service = service
	m.run(time.Second)
	if g.Limit() < 2*workers {
		t.Errorf("a second after calls became quicker, the limit is %d", g.Limit())
	}
	m.run(40 * time.Second) // twice the interval
	within(t, "minRTT in ms again", g.MinRTT().Seconds()*1000, service.Seconds()*1000, 0.06)
	m.run(time.Second)
	within(t, "limit again", float64(g.Limit()), settled(workers, 0.25), 0.1)
}

// TestGradientMeasures walks through the windows call by call.
func TestGradientMeasures(t *testing.T) {
	c := gradientConfig(func(c *GradientConfig) {
		c.RequestCount, c.MinConcurrency, c.MinLimit, c.MinRTTInterval, c.Jitter = 3, 2, 2, time.Second, 0.5
	})
	g := NewGradient(c, start, func() float64 { return 0.5 })
	now := start
	call := func(took time.Duration) {
		t.Helper()
		if !g.Admit(now) {
			t.Fatalf("a call alone is refused, with the limit %d", g.Limit())
		}
		began := now
		now = now.Add(took)
		g.Done(began, now)
	}
	limit := func(want uint32) {
		t.Helper()
		if g.Limit() != want {
			t.Fatalf("at %v the limit is %d, want %d", now.Sub(start), g.Limit(), want)
		}
	}
	limit(2)
	call(10 * time.Millisecond)
	call(10 * time.Millisecond)
	now = now.Add(time.Hour) // a measurement waits for its samples
	if g.Admit(now); g.MinRTT() != leastRTT {
		t.Error("two samples of three are enough")
	}
	g.Cancel() // and one that says nothing is none
	if g.MinRTT() != leastRTT {
		t.Error("a call that was cancelled is a sample")
	}
	call(10 * time.Millisecond)
	within(t, "minRTT in ms", g.MinRTT().Seconds()*1000, 10, 0.03)
	limit(2)
	began := now
	call(10 * time.Millisecond) // 1.25 of what it takes without load
	now = began.Add(100 * time.Millisecond)
	g.Admit(now) // ends the window: 2×1.25 + √2.5
	limit(4)
	g.Cancel()
	now = now.Add(99 * time.Millisecond)
	g.Admit(now)
	g.Cancel()
	limit(4)
	now = now.Add(50 * time.Millisecond) // a window without samples changes nothing
	g.Admit(now)
	g.Cancel()
	limit(4)
	call(100 * time.Millisecond) // 4 × 0.5 + √2
	limit(3)

	now = began.Add(1249 * time.Millisecond) // the interval, and half of half of it
	g.Admit(now)
	g.Cancel()
	limit(3)
	if !g.Admit(now) {
		t.Fatal("refused")
	}
	late := now
	now = began.Add(1250 * time.Millisecond)
	if !g.Admit(now) {
		t.Fatal("refused")
	}
	limit(2)
	if g.Admit(now) {
		t.Error("three are in flight while minRTT is measured")
	}
	g.Cancel()
	now = now.Add(5 * time.Millisecond)
	g.Done(late, now) // began before, and does not count
	call(5 * time.Millisecond)
	call(5 * time.Millisecond)
	limit(2)
	call(5 * time.Millisecond)
	limit(3)
	within(t, "minRTT in ms", g.MinRTT().Seconds()*1000, 5, 0.03)
}

// TestGradientFixed never measures.
func TestGradientFixed(t *testing.T) {
	const workers, service = 20, 10 * time.Millisecond
	g, m := controlled(gradientConfig(func(c *GradientConfig) { c.FixedMinRTT, c.MinRTTInterval = 2*service, 0 }),
		model{workers: workers, service: service, rate: 2 * workers / service.Seconds()})
	for range 100 {
		m.run(200 * time.Millisecond)
		if g.MinRTT() != 2*service {
			t.Fatalf("minRTT is %v", g.MinRTT())
		}
	}
	within(t, "limit", float64(g.Limit()), settled(2*workers, 0.25), 0.1)
	m.service = 10 * service // never measured, it never recovers
	m.run(5 * time.Second)
	if g.Limit() != 3 {
		t.Errorf("the limit is %d, want 3", g.Limit())
	}
}

// TestGradientBegins expects a controller that knows minRTT to begin at its least limit, and
// one that does not at the limit of measurements.
func TestGradientBegins(t *testing.T) {
	for fixed, want := range map[time.Duration]uint32{0: 2, time.Second: 5} {
		c := gradientConfig(func(c *GradientConfig) { c.FixedMinRTT, c.MinConcurrency, c.MinLimit = fixed, 2, 5 })
		if got := NewGradient(c, time.Now(), rand.Float64).Limit(); got != want {
			t.Errorf("with a fixed minRTT of %v the limit begins at %d, want %d", fixed, got, want)
		}
	}
}

// TestGradientExact has as many goroutines as there can be go for few places.
func TestGradientExact(t *testing.T) {
	const most = 7
	g := NewGradient(gradientConfig(func(c *GradientConfig) { c.MaxLimit, c.MinConcurrency, c.RequestCount = most, most, 5 }), time.Now(), rand.Float64)
	var in, seen, passed atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 2000 {
				began := time.Now()
				if !g.Admit(began) {
					continue
				}
				passed.Add(1)
				if n := in.Add(1); n > seen.Load() {
					seen.Store(n)
				}
				in.Add(-1)
				g.Done(began, time.Now())
			}
		})
	}
	all.Wait()
	if seen.Load() > most || passed.Load() == 0 || g.InFlight() != 0 {
		t.Errorf("%d passed, %d at a time, %d are left", passed.Load(), seen.Load(), g.InFlight())
	}
}

func BenchmarkGradient(b *testing.B) {
	g := NewGradient(gradientConfig(func(c *GradientConfig) { c.MaxLimit, c.MinConcurrency = 1<<20, 1<<20 }), time.Now(), rand.Float64)
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					now := time.Now()
					if g.Admit(now) {
						g.Done(now, time.Now())
					}
				}
			})
		})
	}
}
