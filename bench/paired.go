package main

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// playPairs is playRound for a small difference: each path takes turns with the bare one
// alone, in slots bare, path, path, bare or path, bare, bare, path. What becomes slower or
// quicker by and by falls on both sides alike, and so does what either leaves behind for
// the other. The sample of a round is the mean of a path's two slots.
func playPairs(ctx context.Context, table []rows, o options) error {
	for _, callers := range o.callers {
		for _, rs := range table {
			bare := rs.rows[0]
			for _, i := range rand.Perm(len(rs.rows) - 1) {
				r := rs.rows[i+1]
				order := [4]*row{bare, r, r, bare}
				if rand.IntN(2) == 0 {
					order = [4]*row{r, bare, bare, r}
				}
				sums := map[*row]sample{}
				for _, of := range order {
					s, err := rs.slot(ctx, of, callers, o.slot)
					if err != nil {
						return err
					}
					sums[of] = sums[of].plus(s)
				}
				r.samples[callers] = append(r.samples[callers], sums[r].over(2))
				r.bare[callers] = append(r.bare[callers], sums[bare].over(2))
				bare.samples[callers] = append(bare.samples[callers], sums[bare].over(2))
			}
		}
	}
	return nil
}

func (s sample) plus(o sample) sample {
	return sample{s.Calls + o.Calls, s.Allocs + o.Allocs, s.Bytes + o.Bytes, s.CPU + o.CPU, s.Latency + o.Latency}
}

// over is the mean of n samples whose sum is s.
func (s sample) over(n int) sample {
	of := float64(n)
	return sample{s.Calls / of, s.Allocs / of, s.Bytes / of, s.CPU / time.Duration(n), s.Latency / time.Duration(n)}
}

// interval is where, with 95 % confidence or as near to it as so few allow, the median
// lies of what the list is a sample of, however that is distributed: between two of its
// values, beyond which as many lie as of tosses of a coin are rarely all heads or tails.
func interval(list []float64) (low, high float64) {
	slices.Sort(list)
	n := len(list)
	chance := math.Pow(0.5, float64(n)) // that just k of n tosses are heads
	k := 0
	for below := chance; below <= 0.025 && k < n/2; k++ {
		chance *= float64(n-k) / float64(k+1)
		below += chance
	}
	k = max(0, k-1)
	return list[k], list[n-1-k]
}
