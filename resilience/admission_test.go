package resilience

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestAdmissionProbability(t *testing.T) {
	for _, test := range []struct {
		name             string
		change           func(*AdmissionConfig)
		calls, successes int
		want             float64
	}{
		{"nothing yet", nil, 0, 0, 0},
		{"all well", nil, 1000, 1000, 0},
		{"at the threshold", nil, 1000, 950, 0},
		{"just under it", nil, 1000, 949, (1000 - 949/0.95) / 1001},
		{"half", nil, 1000, 500, (1000 - 500/0.95) / 1001},
		{"none", nil, 1000, 0, 0.8},
		{"none, and all may be refused", func(c *AdmissionConfig) { c.MaxProbability = 1 }, 1000, 0, 1000.0 / 1001},
		{"the first call", func(c *AdmissionConfig) { c.MaxProbability = 1 }, 1, 0, 0.5},
		{"the book's K of 2", func(c *AdmissionConfig) { c.Threshold = 0.5 }, 1000, 400, (1000 - 2*400) / 1001.0},
		{"aggression", func(c *AdmissionConfig) { c.Aggression = 2 }, 1000, 800, math.Sqrt((1000 - 800/0.95) / 1001)},
		{"aggression where all is well", func(c *AdmissionConfig) { c.Aggression = 2 }, 1000, 999, 0},
		{"too few", func(c *AdmissionConfig) { c.MinRate = 101 }, 1009, 0, 0},
		{"just enough", func(c *AdmissionConfig) { c.MinRate = 101 }, 1010, 0, 0.8},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := AdmissionConfig{Window: 10 * time.Second, Threshold: 0.95, Aggression: 1, MaxProbability: 0.8}
			if test.change != nil {
				test.change(&c)
			}
			a := NewAdmission(c, start)
			for i := range test.calls {
				a.Record(start, i < test.successes)
			}
			if got := a.Probability(start); math.Abs(got-test.want) > 1e-9 {
				t.Errorf("%d of %d succeeded: %v, want %v", test.successes, test.calls, got, test.want)
			}
		})
	}
}

// TestAdmissionWindow compares with counts that keep every call.
func TestAdmissionWindow(t *testing.T) {
	for _, window := range []time.Duration{time.Second, 7 * time.Second, time.Hour} {
		random := rand.New(rand.NewPCG(3, uint64(window)))
		a := NewAdmission(AdmissionConfig{Window: window, Threshold: 1, Aggression: 1, MaxProbability: 1}, start)
		type call struct {
			at time.Time
			ok bool
		}
		var all []call
		now := start
		for range 3000 {
			now = now.Add(time.Duration(random.ExpFloat64() * float64(window) / 100))
			if random.IntN(200) == 0 {
				now = now.Add(window * time.Duration(random.IntN(3)))
			}
			ok := random.IntN(3) > 0
			a.Record(now, ok)
			all = append(all, call{now, ok})
			// What is a bucket older or younger than the window may count or not.
			count := func(since time.Time) (n, failed float64) {
				for i := len(all) - 1; i >= 0 && !all[i].at.Before(since); i-- {
					n++
					if !all[i].ok {
						failed++
					}
				}
				return n, failed
			}
			n, failed := count(now.Add(-window + a.width))
			most, mostFailed := count(now.Add(-window))
			if got := a.Probability(now); got < failed/(most+1)-1e-9 || got > mostFailed/(n+1)+1e-9 {
				t.Fatalf("after %v: %v, want %v of %v to %v of %v", now.Sub(start), got, failed, most, mostFailed, n)
			}
		}
		if got := a.Probability(now.Add(window)); got != 0 {
			t.Errorf("a window later: %v", got)
		}
	}
}

// TestAdmissionShare calls a backend that fails all but some calls. What is let through
// is a part of the calls that follows from the formula, but for chance: refused calls do
// not count, so that the share of successes stays the backend's.
func TestAdmissionShare(t *testing.T) {
	for _, test := range []struct{ success, threshold, aggression, most float64 }{
		{0, 0.95, 1, 0.8}, {0.5, 0.95, 1, 0.8}, {0.9, 0.95, 1, 0.8}, {0.96, 0.95, 1, 0.8}, {1, 0.95, 1, 0.8},
		{0.5, 0.5, 1, 0.8}, {0.2, 0.5, 1, 1}, {0.7, 0.95, 3, 0.99}, {0.9, 1, 2, 1},
	} {
		const rate, seconds = 500, 120
		random := rand.New(rand.NewPCG(4, 5))
		a := NewAdmission(AdmissionConfig{Window: 30 * time.Second, Threshold: test.threshold, Aggression: test.aggression, MaxProbability: test.most}, start)
		refused, n := 0, 0
		for i := range rate * seconds {
			now := start.Add(time.Duration(i) * time.Second / rate)
			refuse := random.Float64() < a.Probability(now)
			if i >= rate*30 { // the window is full
				n++
				if refuse {
					refused++
				}
			}
			if !refuse {
				a.Record(now, random.Float64() < test.success)
			}
		}
		want := min(test.most, math.Pow(max(0, 1-test.success/test.threshold), 1/test.aggression))
		got := float64(refused) / float64(n)
		// Six standard deviations of drawing, and what the backend's own luck moves the
		// probability by.
		bound := 6*math.Sqrt(want*(1-want)/float64(n)) + 0.03
		if math.Abs(got-want) > bound || test.success == 1 && refused > 0 {
			t.Errorf("%+v: %.4f are refused, want %.4f ± %.4f", test, got, want, bound)
		}
	}
}

// TestAdmissionRecovers has a backend fail for two minutes. When it is well again, all
// calls get through a window later.
func TestAdmissionRecovers(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 7))
	a := NewAdmission(AdmissionConfig{Window: 10 * time.Second, Threshold: 0.95, Aggression: 1, MaxProbability: 0.8}, start)
	for i := range 2000 {
		now := start.Add(time.Duration(i) * 100 * time.Millisecond)
		p := a.Probability(now)
		switch s := now.Sub(start).Seconds(); {
		case s < 60 && p > 0, s >= 71 && s < 120 && p < 0.79, s >= 131 && p > 0:
			t.Fatalf("after %vs: %v", s, p)
		}
		if random.Float64() >= p {
			a.Record(now, now.Before(start.Add(time.Minute)) || now.After(start.Add(2*time.Minute)))
		}
	}
}

// TestAdmissionConcurrent loses no call, whoever turns the buckets.
func TestAdmissionConcurrent(t *testing.T) {
	a := NewAdmission(AdmissionConfig{Window: 5 * time.Second, Threshold: 1, Aggression: 1, MaxProbability: 1}, start)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 4000 {
				now := start.Add(time.Duration(i) * time.Millisecond)
				a.Record(now, g < 4)
				if p := a.Probability(now); p < 0 || p > 1 {
					t.Errorf("the probability is %v", p)
				}
			}
		})
	}
	all.Wait()
	if calls, ok := a.total.calls.Load(), a.total.successes.Load(); calls != 32000 || ok != 16000 {
		t.Errorf("%d of %d calls succeeded", ok, calls)
	}
	a.Probability(start.Add(time.Minute))
	if calls, ok := a.total.calls.Load(), a.total.successes.Load(); calls != 0 || ok != 0 {
		t.Errorf("%d of %d are left", ok, calls)
	}
}

func BenchmarkAdmission(b *testing.B) {
	a := NewAdmission(AdmissionConfig{Window: 30 * time.Second, Threshold: 0.95, Aggression: 1.5, MaxProbability: 0.8}, time.Now())
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if a.Probability(time.Now()) < 1 {
						a.Record(time.Now(), true)
					}
				}
			})
		})
	}
}
