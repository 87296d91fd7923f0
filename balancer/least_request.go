package balancer

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/weft-mesh/weft/internal/weighted"
)

// newLeastRequest returns the chooser for envoy's least_request, which goes two ways
// by whether the weights differ.
func newLeastRequest(p Policy, links []*Link, weights []uint32) chooser {
	if slices.Min(weights) == slices.Max(weights) {
		return &fewest{links, max(2, p.ChoiceCount)}
	}
	bias := p.ActiveRequestBias
	switch {
	case bias == 0:
		return newRoundRobin(links, weights)
	case bias < 0 || math.IsNaN(bias):
		bias = 1
	}
	b := &biased{links: links, bias: bias}
	if len(links) <= few {
		b.weights = slices.Clone(weights)
	} else {
		b.schedule = weighted.New(weights)
	}
	return b
}

// fewest draws some links at random and takes the one with the fewest calls in
// flight: the power of two choices (Mitzenmacher 1996).
type fewest struct {
	links   []*Link
	choices int // at least 2
}

func (f *fewest) choose() *Link {
	// Two different ones from one random number.
	n, r := uint64(len(f.links)), rand.Uint64()
	first := r & math.MaxUint32 * n >> 32
	second := r >> 32 * (n - 1) >> 32
	if second >= first {
		second++
	}
	best, active := f.links[first], f.links[first].endpoint.active.Load()
	best, active = fewer(best, active, f.links[second])
	for range f.choices - 2 {
		best, active = fewer(best, active, f.links[rand.Uint64N(n)])
	}
	return best
}

func fewer(best *Link, active int64, other *Link) (*Link, int64) {
	if a := other.endpoint.active.Load(); a < active {
		return other, a
	}
	return best, active
}

// biased chooses a link with a probability in proportion to
//
//	weight / (active + 1)^bias
//
// which is the rate that Envoy's weighted least request gives it
// (envoy.config.cluster.v3.Cluster.LeastRequestLbConfig.active_request_bias). Envoy
// keeps a priority queue, which takes a lock; here few links are weighed against one
// another as they are, and of many a sample that is drawn by weight.
type biased struct {
	links    []*Link
	bias     float64
	weights  []uint32           // of each link where there are few
	schedule *weighted.Schedule // over the links where there are many
}

const (
	few    = 8 // up to so many links are weighed all
	sample = 4 // of more
)

func (b *biased) choose() *Link {
	var sums [few]float64 // of the rates up to each candidate
	var indices [few]int
	var sum float64
	n := len(b.weights)
	if b.schedule != nil {
		n = sample
	}
	for k := range n {
		index, weight := k, 1.0
		if b.schedule != nil {
			index = b.schedule.Random()
		} else {
			weight = float64(b.weights[k])
		}
		sum += weight / b.cost(b.links[index].endpoint.active.Load())
		sums[k], indices[k] = sum, index
	}
	point := rand.Float64() * sum
	for k := range n - 1 {
		if point < sums[k] {
			return b.links[indices[k]]
		}
	}
	return b.links[indices[n-1]]
}

func (b *biased) cost(active int64) float64 {
	load := float64(max(0, active) + 1)
	if b.bias == 1 {
		return load
	}
	return math.Pow(load, b.bias)
}
