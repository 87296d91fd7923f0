package weighted

import "math"

// stride returns a step through 0..total-1 that visits every point before it
// repeats one and spreads any run of consecutive points evenly.
//
// How evenly is told by the continued fraction of step/total: the smaller its
// terms, the lower the discrepancy of the points. The golden ratio's terms are all
// one, so the steps around total/φ begin as well as can be, and of those the one
// whose terms have the least sum is taken.
func stride(total uint64) uint64 {
	const candidates = 16 // on either side; more find little better
	golden := uint64(float64(total) / math.Phi)
	best, bestSum := uint64(1), total
	for d := uint64(0); d < candidates || bestSum == total; d++ {
		if d >= total {
			break
		}
		for _, step := range [2]uint64{golden + d, golden - d} {
			if step == 0 || step >= total {
				continue
			}
			if sum, coprime := terms(step, total); coprime && sum < bestSum {
				best, bestSum = step, sum
			}
		}
	}
	return best
}

// terms returns the sum of the terms of the continued fraction of step/total, and
// whether the two are coprime.
func terms(step, total uint64) (sum uint64, coprime bool) {
	a, b := total, step
	for b != 0 {
		sum += a / b
		a, b = b, a%b
	}
	return sum, a == 1
}
