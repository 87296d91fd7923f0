package weighted

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestProportionsAreExactOverTheWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		weights := make([]uint32, 1+rng.IntN(30))
		limit := 1 + rng.Uint32N(1<<rng.IntN(9))
		var sum uint64
		for i := range weights {
			weights[i] = rng.Uint32N(limit + 1)
			sum += uint64(weights[i])
		}
		s := New(weights)
		if sum == 0 {
			if got := s.Next(); got != -1 {
				t.Fatalf("Next() of weights %v = %d, want -1", weights, got)
			}
			continue
		}
		window := s.Window()
		if sum%window != 0 {
			t.Fatalf("window %d of weights %v does not divide their sum", window, weights)
		}
		counts := make([]uint64, len(weights))
		for range window {
			counts[s.Next()]++
		}
		for i, w := range weights {
			if got, want := counts[i], uint64(w)*window/sum; got != want {
				t.Fatalf("weights %v: index %d chosen %d times in %d, want %d", weights, i, got, window, want)
			}
		}
	}
}

// In any run of choices an index appears as often as its share says, give or take
// a few: never in one lump.
func TestChoicesAreEvenlySpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		weights := make([]uint32, 2+rng.IntN(20))
		for i := range weights {
			weights[i] = 1 + rng.Uint32N(1000)
		}
		s := New(weights)
		var sum float64
		for _, w := range weights {
			sum += float64(w)
		}
		counts := make([]float64, len(weights))
		// Of two points of discrepancy, which take a log of the window (Niederreiter 1992, §3.1).
		bound := 2 + 0.25*math.Log2(float64(s.Window()))
		for n := range min(s.Window(), 20_000) {
			counts[s.Next()]++
			for i, w := range weights {
				if off := math.Abs(counts[i] - float64(n+1)*float64(w)/sum); off > bound {
					t.Fatalf("weights %v: index %d is %.1f off its share after %d choices, want at most %.1f", weights, i, off, n+1, bound)
				}
			}
		}
	}
}

func TestEqualWeightsGoRound(t *testing.T) {
	s := New([]uint32{7, 7, 7})
	first := s.Next()
	for n := 1; n < 10; n++ {
		if got, want := s.Next(), (first+n)%3; got != want {
			t.Fatalf("choice %d = %d, want %d", n, got, want)
		}
	}
}

func TestHugeWeights(t *testing.T) {
	for _, weights := range [][]uint32{
		{math.MaxUint32, math.MaxUint32 - 1, math.MaxUint32 - 4},
		{math.MaxUint32, 1},
		{4294967291, 4294967279, 65537, 3}, // primes
	} {
		s := New(weights)
		var sum float64
		for _, w := range weights {
			sum += float64(w)
		}
		const n = 100_000
		counts := make([]float64, len(weights))
		for range n {
			counts[s.Next()]++
		}
		for i, w := range weights {
			if off := math.Abs(counts[i] - n*float64(w)/sum); off > 10 {
				t.Errorf("weights %v: index %d is %.1f off its share of %d choices", weights, i, off, n)
			}
		}
	}
}

func TestSchedulesBeginApart(t *testing.T) {
	weights := []uint32{1, 1, 1, 1, 1, 1, 1, 1}
	seen := map[int]bool{}
	for range 200 {
		seen[New(weights).Next()] = true
	}
	// 200 draws of 8 miss one with a probability below 1e-10.
	if len(seen) != len(weights) {
		t.Errorf("200 schedules began at %d of %d indices", len(seen), len(weights))
	}
}

func TestRandomFollowsTheWeights(t *testing.T) {
	weights := []uint32{1, 0, 2, 7}
	s := New(weights)
	const n = 100_000
	counts := make([]float64, len(weights))
	for range n {
		counts[s.Random()]++
	}
	for i, w := range weights {
		share := float64(w) / 10
		// Six standard deviations: wrong less than once in 10^8 runs.
		if off := math.Abs(counts[i] - n*share); off > 6*math.Sqrt(n*share*(1-share)) {
			t.Errorf("index %d drawn %.0f times in %d, want about %.0f", i, counts[i], n, n*share)
		}
	}
	if got := New(nil).Random(); got != -1 {
		t.Errorf("Random() of nothing = %d, want -1", got)
	}
}

func TestConcurrentChoicesStayExact(t *testing.T) {
	weights := []uint32{1, 2, 5}
	s := New(weights)
	const workers, rounds = 4, 1000 // a whole number of windows
	results := make(chan [3]int, workers)
	for range workers {
		go func() {
			var counts [3]int
			for range rounds * 8 {
				counts[s.Next()]++
			}
			results <- counts
		}()
	}
	var counts [3]int
	for range workers {
		for i, c := range <-results {
			counts[i] += c
		}
	}
	for i, w := range weights {
		if want := int(w) * workers * rounds; counts[i] != want {
			t.Errorf("index %d chosen %d times, want %d", i, counts[i], want)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint32(1))
	f.Add([]byte{0, 0, 255, 1}, uint32(16843009))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, small []byte, scale uint32) {
		weights := make([]uint32, len(small))
		some := false
		for i, w := range small {
			weights[i] = uint32(w) * scale
			some = some || weights[i] > 0
		}
		s := New(weights)
		for range 300 {
			for _, got := range [2]int{s.Next(), s.Random()} {
				if !some && got != -1 {
					t.Fatalf("chose %d where nothing has weight", got)
				}
				if some && (got < 0 || got >= len(weights) || weights[got] == 0) {
					t.Fatalf("chose %d of weights %v", got, weights)
				}
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	for _, n := range []int{1, 3, 100, 10_000} {
		equal, mixed := make([]uint32, n), make([]uint32, n)
		rng := rand.New(rand.NewPCG(5, 6))
		for i := range n {
			equal[i], mixed[i] = 1, 1+rng.Uint32N(100)
		}
		for name, weights := range map[string][]uint32{"equal": equal, "mixed": mixed} {
			s := New(weights)
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Next()
				}
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	weights := make([]uint32, 10_000)
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range weights {
		weights[i] = 1 + rng.Uint32N(1000)
	}
	b.ReportAllocs()
	for b.Loop() {
		New(weights)
	}
}

// The position goes back by whole windows before it leaves the range in which the
// arithmetic is exact; no choice may show it.
func TestPositionWrapsUnseen(t *testing.T) {
	weights := []uint32{3, 1, 7, 2}
	s := New(weights)
	s.position.Store(maxWindow - 20)
	for start := range 40 {
		n := uint64(maxWindow - 20 + start + 1)
		if got, want := s.Next(), s.line.find(uint32(n*stride(13)%13)); got != want {
			t.Fatalf("choice %d = %d, want %d", n, got, want)
		}
	}
	if got := s.position.Load(); got > maxWindow/2 {
		t.Errorf("position = %d, want it to have gone back", got)
	}
}
