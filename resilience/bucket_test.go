package resilience

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// naiveBucket is a bucket as its definition has it, in exact numbers.
type naiveBucket struct {
	config BucketConfig
	tokens *big.Rat
	at     time.Duration
}

func newNaiveBucket(c BucketConfig) *naiveBucket {
	return &naiveBucket{config: c, tokens: new(big.Rat).SetInt64(int64(c.Max))}
}

func (b *naiveBucket) fill(now time.Duration) {
	came := big.NewRat(int64(now-b.at), int64(b.config.Every))
	came.Mul(came, new(big.Rat).SetInt64(int64(b.config.Fill)))
	b.at = now
	b.set(came.Add(came, b.tokens))
}

func (b *naiveBucket) set(tokens *big.Rat) {
	if most := new(big.Rat).SetInt64(int64(b.config.Max)); tokens.Cmp(most) > 0 {
		tokens = most
	}
	b.tokens = tokens
}

func (b *naiveBucket) take(n uint64, now time.Duration) bool {
	b.fill(now)
	cost := new(big.Rat).SetUint64(n)
	if b.tokens.Cmp(cost) < 0 {
		return false
	}
	b.tokens = cost.Sub(b.tokens, cost)
	return true
}

func (b *naiveBucket) put(n uint64, now time.Duration) {
	b.fill(now)
	b.set(new(big.Rat).Add(b.tokens, new(big.Rat).SetUint64(n)))
}

func (b *naiveBucket) left(now time.Duration) uint32 {
	b.fill(now)
	return uint32(new(big.Int).Quo(b.tokens.Num(), b.tokens.Denom()).Uint64())
}

// TestBucketModel asks buckets and their definition the same. Tokens whose time is whole
// in nanoseconds are given at the very nanosecond.
func TestBucketModel(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		c := BucketConfig{Max: uint32(1 + r.IntN(20)), Fill: uint32(1 + r.IntN(50))}
		c.Every = time.Duration(1+r.IntN(1_000_000)) * time.Duration(c.Fill)
		b, model := NewBucket(c, 0), newNaiveBucket(c)
		now := time.Duration(0)
		for range 300 {
			now += time.Duration(r.Int64N(2*int64(c.Every)/int64(c.Fill) + 1))
			switch r.IntN(8) {
			case 0:
				n := uint64(r.IntN(5))
				b.Return(n, now)
				model.put(n, now)
			case 1:
				if got, want := b.Left(now), model.left(now); got != want {
					t.Fatalf("seed %d, %+v at %v: %d left, want %d", seed, c, now, got, want)
				}
			default:
				n := uint64(r.IntN(4))
				if got, want := b.Take(n, now), model.take(n, now); got != want {
					t.Fatalf("seed %d, %+v at %v: take %d is %v, want %v", seed, c, now, n, got, want)
				}
			}
		}
	}
}

// TestBucketBounds has buckets of any size and rate asked without pause: what they give is
// at most what the definition has, and hardly less.
func TestBucketBounds(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		c := BucketConfig{Max: 1 + r.Uint32()>>r.IntN(32), Fill: 1 + r.Uint32()>>r.IntN(32)}
		c.Every = time.Duration(1+r.Int64N(int64(time.Hour)))<<r.IntN(10) + 50*time.Millisecond
		b := NewBucket(c, 0)
		if got := b.Left(0); got != c.Max {
			t.Fatalf("seed %d: %+v begins with %d", seed, c, got)
		}
		if !b.Take(uint64(c.Max), 0) || b.Take(1, 0) {
			t.Fatalf("seed %d: %+v gives not all of its tokens at once, or more", seed, c)
		}
		wait := b.Wait(0)
		if b.Take(1, wait-1) || !b.Take(1, wait) {
			t.Fatalf("seed %d: %+v: there is no token after %v, or before", seed, c, wait)
		}
		for range 20 {
			now := wait + time.Duration(r.Int64N(int64(c.Every)))
			came := new(big.Rat).Mul(big.NewRat(int64(now), int64(c.Every)), new(big.Rat).SetInt64(int64(c.Fill)))
			exact, _ := came.Float64()
			exact = math.Min(exact-1, float64(c.Max))
			got := float64(b.Left(now))
			// A token takes at least an eighth of a nanosecond.
			fastest := math.Min(exact, float64(now)*8-1)
			if got > math.Max(0, exact) || got < math.Floor(fastest*(1-1e-6))-1 && perToken(c) > 1e6 {
				t.Fatalf("seed %d: %+v has %v after %v, want %v", seed, c, got, now, exact)
			}
		}
	}
}

func perToken(c BucketConfig) float64 { return float64(c.Every) / float64(c.Fill) }

func TestBucketEnds(t *testing.T) {
	none := NewBucket(BucketConfig{Every: time.Second}, 0)
	if none.Take(1, time.Hour) || none.Left(time.Hour) != 0 || none.Wait(0) != math.MaxInt64 {
		t.Error("a bucket without tokens gives one")
	}
	b := NewBucket(BucketConfig{Max: 2, Fill: 1, Every: time.Second}, 5*time.Second)
	if b.Take(3, time.Hour) {
		t.Error("it gives more than it can hold")
	}
	if !b.Take(2, 5*time.Second) || b.Wait(5*time.Second) != time.Second || b.Wait(7*time.Second) != 0 {
		t.Errorf("the next token comes after %v", b.Wait(5*time.Second))
	}
	if b.Take(1, 4*time.Second) {
		t.Error("it gives a token for time that has not passed")
	}
	long := NewBucket(BucketConfig{Max: math.MaxUint32, Fill: 1, Every: 24 * time.Hour}, 0)
	if !long.Take(math.MaxUint32, 0) || long.Take(1, 23*time.Hour) || !long.Take(1, 24*time.Hour+time.Second) {
		t.Error("a very large bucket that fills very slowly gives another number of tokens than it has")
	}
	const years = 4 * 365 * 24 * time.Hour
	old := NewBucket(BucketConfig{Max: 3, Fill: 1, Every: time.Second}, 0)
	if !old.Take(3, years) || old.Take(1, years) || !old.Take(1, years+time.Second) {
		t.Error("a bucket of four years gives another number of tokens than it has")
	}
}

// TestBucketRace has many goroutines take while time passes: never are there more tokens
// given than there were.
func TestBucketRace(t *testing.T) {
	const takers, turns = 32, 2000
	c := BucketConfig{Max: 50, Fill: 3, Every: 3 * time.Millisecond}
	b := NewBucket(c, 0)
	var clock, given atomic.Int64
	var all sync.WaitGroup
	for range takers {
		all.Go(func() {
			for range turns {
				now := time.Duration(clock.Add(int64(10 * time.Microsecond)))
				if b.Take(1, now) {
					given.Add(1)
				}
			}
		})
	}
	all.Wait()
	end := time.Duration(clock.Load())
	most := int64(c.Max) + int64(end/time.Millisecond)
	// What is left at the end was not given.
	if got := given.Load() + int64(b.Left(end)); got > most || got < most-1 {
		t.Errorf("given and left %d in %v, want %d", got, end, most)
	}
}

func FuzzBucket(f *testing.F) {
	f.Add(uint32(3), uint32(1), int64(time.Second), int64(time.Minute), uint64(2))
	f.Add(uint32(math.MaxUint32), uint32(1), int64(math.MaxInt64), int64(0), uint64(math.MaxUint64))
	f.Add(uint32(math.MaxUint32), uint32(math.MaxUint32), int64(1), int64(horizon), uint64(1))
	f.Fuzz(func(t *testing.T, most, fill uint32, every, now int64, n uint64) {
		if now < 0 || now > horizon {
			return
		}
		c := BucketConfig{Max: most, Fill: fill, Every: time.Duration(every)}
		b, at := NewBucket(c, 0), time.Duration(now)
		before := b.Left(at)
		if before != most {
			t.Fatalf("%d of %d left", before, most)
		}
		took := b.Take(n, at)
		if took != (n <= uint64(before)) {
			t.Fatalf("take %d of %d: %v", n, before, took)
		}
		if took && uint64(b.Left(at))+n != uint64(before) {
			t.Fatalf("%d left of %d after %d", b.Left(at), before, n)
		}
		if b.Return(n, at); b.Left(at) > most {
			t.Fatalf("%d left of %d", b.Left(at), most)
		}
	})
}

func BenchmarkBucket(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for _, full := range []bool{true, false} {
			most := uint32(1)
			if full {
				most = math.MaxUint32
			}
			began := time.Now()
			bucket := NewBucket(BucketConfig{Max: most, Every: time.Hour}, 0)
			limiter := rate.NewLimiter(rate.Every(time.Hour), int(most))
			run := func(name string, take func() bool) {
				b.Run(fmt.Sprintf("%s/callers=%d/gives=%v", name, callers, full), func(b *testing.B) {
					b.ReportAllocs()
					if callers == 1 {
						for b.Loop() {
							take()
						}
						return
					}
					b.SetParallelism(callers / runtime.GOMAXPROCS(0))
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							take()
						}
					})
				})
			}
			run("weft", func() bool { return bucket.Take(1, time.Since(began)) })
			run("x_time_rate", limiter.Allow)
		}
	}
}
