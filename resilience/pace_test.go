package resilience_test

import (
	"math"
	"testing"
	"time"

	"github.com/weft-mesh/weft/resilience"
)

// TestPace sends a response at the pace's: as much as the rate allows from the beginning,
// and not more.
func TestPace(t *testing.T) {
	for _, test := range []struct {
		name      string
		rate      uint64
		after     time.Duration // the response begins
		piece     int
		bytes     int
		want      time.Duration // until all have gone
		tolerance time.Duration
	}{
		{"at once", 1000, 0, 50, 50, 0, 0},
		{"in pieces", 1000, 0, 50, 1000, 950 * time.Millisecond, time.Millisecond},
		{"whole", 1000, 0, 5000, 5000, 4950 * time.Millisecond, time.Millisecond},
		{"saved up", 1000, 10 * time.Second, 50, 1000, 0, 0},
		{"saved up a second's at most", 1000, time.Hour, 50, 3000, 2 * time.Second, time.Millisecond},
		{"a byte at a time", 1, 0, 1, 3, 2950 * time.Millisecond, time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Unix(0, 0)
			p := resilience.NewPace(test.rate, now)
			now = now.Add(test.after)
			began := now
			for sent := 0; sent < test.bytes; sent += test.piece {
				now = now.Add(p.Take(min(test.piece, test.bytes-sent), now))
			}
			if got := now.Sub(began); got < test.want-test.tolerance || got > test.want+test.tolerance {
				t.Errorf("it took %v, want %v", got, test.want)
			}
		})
	}
	for rate, want := range map[uint64]int{0: 1, 1: 1, 1024: 51, 1 << 20: 1 << 20 / 20, math.MaxUint64: math.MaxInt32} {
		p := resilience.NewPace(rate, time.Time{})
		if got := p.Piece(); got != want {
			t.Errorf("pieces at %d bytes a second are of %d bytes, want %d", rate, got, want)
		}
	}
	slow := resilience.NewPace(1, time.Time{})
	for range 3 {
		if wait := slow.Take(math.MaxInt, time.Time{}); wait != math.MaxInt64 {
			t.Errorf("all there is waits for %v", wait)
		}
	}
}
