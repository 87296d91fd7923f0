package call

import "testing"

// TestSampler: about one call in eight is chosen.
func TestSampler(t *testing.T) {
	const calls = 100_000
	var s Sampler
	chosen := 0
	for range calls {
		if s.Clock() != 0 {
			chosen++
		}
	}
	// What is expected is 11,900, give or take 100 (the standard deviation).
	if chosen < calls/9 || chosen > calls/8 {
		t.Errorf("%d of %d calls were chosen", chosen, calls)
	}
}
