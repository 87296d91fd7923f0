package balancer

import (
	"fmt"
	"testing"
)

// The cases are the tables of Envoy's documentation on priority levels, degraded
// endpoints and the panic threshold, with the numbers that its integer arithmetic gives.
func TestSpread(t *testing.T) {
	of := func(healthy, degraded, total int) tally {
		return tally{total: total, availableHealthy: healthy, availableDegraded: degraded}
	}
	for _, test := range []struct {
		tallies   []tally
		threshold float64
		want      []load
	}{
		{[]tally{of(100, 0, 100)}, 50, []load{{100, 0, false}}},
		{[]tally{of(100, 0, 100), of(100, 0, 100)}, 50, []load{{100, 0, false}, {0, 0, false}}},
		{[]tally{of(72, 0, 100), of(72, 0, 100)}, 50, []load{{100, 0, false}, {0, 0, false}}},
		{[]tally{of(71, 0, 100), of(100, 0, 100)}, 50, []load{{99, 0, false}, {1, 0, false}}},
		{[]tally{of(50, 0, 100), of(100, 0, 100)}, 50, []load{{70, 0, false}, {30, 0, false}}},
		{[]tally{of(25, 0, 100), of(100, 0, 100)}, 50, []load{{35, 0, false}, {65, 0, false}}},
		{[]tally{of(0, 0, 100), of(100, 0, 100)}, 50, []load{{0, 0, false}, {100, 0, false}}},
		{[]tally{of(25, 0, 100), of(25, 0, 100), of(100, 0, 100)}, 50, []load{{35, 0, false}, {35, 0, false}, {30, 0, false}}},
		// Less than 100 in all: scaled up, with those below the threshold in panic.
		{[]tally{of(5, 0, 100), of(65, 0, 100)}, 50, []load{{8, 0, true}, {92, 0, false}}},
		// All in panic: by number of endpoints.
		{[]tally{of(25, 0, 100), of(25, 0, 100)}, 50, []load{{50, 0, true}, {50, 0, true}}},
		{[]tally{of(0, 0, 30), of(0, 0, 10)}, 50, []load{{75, 0, true}, {25, 0, true}}},
		{[]tally{of(0, 0, 2), of(0, 0, 1)}, 50, []load{{67, 0, true}, {33, 0, true}}},
		// Panic off: nothing to go to, or only what is healthy.
		{[]tally{of(0, 0, 30), of(0, 0, 10)}, 0, []load{{100, 0, false}, {0, 0, false}}},
		{[]tally{of(25, 0, 100), of(25, 0, 100)}, 0, []load{{50, 0, false}, {50, 0, false}}},
		// Degraded.
		{[]tally{of(71, 0, 100)}, 50, []load{{100, 0, false}}},
		{[]tally{of(71, 29, 100)}, 50, []load{{99, 1, false}}},
		{[]tally{of(25, 65, 100)}, 50, []load{{35, 65, false}}},
		{[]tally{of(5, 0, 100)}, 0, []load{{100, 0, false}}},
		// Degraded only and too few: scaled up, the rounding going to the first.
		{[]tally{of(0, 40, 100), of(0, 20, 100)}, 0, []load{{0, 67, false}, {0, 33, false}}},
		// A threshold of 1 % with one endpoint in 200 available: 140/200 rounds to nothing.
		{[]tally{of(0, 0, 200), of(1, 0, 200)}, 0.5, []load{{0, 0, true}, {100, 0, false}}},
		{[]tally{of(0, 0, 200), of(0, 1, 200)}, 0, []load{{0, 0, false}, {0, 100, false}}},
		{nil, 50, []load{}},
		{[]tally{of(0, 0, 0)}, 50, []load{{100, 0, true}}},
	} {
		got := spread(test.tallies, 140, test.threshold)
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("spread(%+v, panic below %v%%) = %v, want %v", test.tallies, test.threshold, got, test.want)
		}
	}
}

func FuzzSpread(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6}, uint32(140), 50.0)
	f.Add([]byte{0, 0, 0}, uint32(0), 0.0)
	f.Fuzz(func(t *testing.T, numbers []byte, overprovisioning uint32, threshold float64) {
		var tallies []tally
		for ; len(numbers) >= 3; numbers = numbers[3:] {
			healthy, degraded := int(numbers[0]), int(numbers[1])
			tallies = append(tallies, tally{
				total: healthy + degraded + int(numbers[2]), availableHealthy: healthy, availableDegraded: degraded,
			})
		}
		var sum uint32
		for _, l := range spread(tallies, uint64(overprovisioning), threshold) {
			sum += l.healthy + l.degraded
		}
		if len(tallies) > 0 && sum != 100 {
			t.Errorf("loads add up to %d%%", sum)
		}
	})
}
