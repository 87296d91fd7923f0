package balancer

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/weft-mesh/weft/internal/weighted"
)

// newLeastRequest returns the chooser for envoy's least_request, which goes two ways
// by whether the weights differ.
func newLeastRequest(p *Policy, links []*Link, weights []uint32) chooser {
	if slices.Min(weights) == slices.Max(weights) {
		if p.FullScan {
			return &fewestOfAll{links}
		}
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
	best, other := drawTwo(f.links)
	active := best.endpoint.Active()
	best, active = fewer(best, active, other)
	for range f.choices - 2 {
		best, active = fewer(best, active, f.links[rand.Uint64N(uint64(len(f.links)))])
	}
	return best
}

// drawTwo draws two different links, with one random number.
func drawTwo(links []*Link) (first, second *Link) {
	n, r := uint64(len(links)), rand.Uint64()
	i := r & math.MaxUint32 * n >> 32
	k := r >> 32 * (n - 1) >> 32
	if k >= i {
		k++
	}
	return links[i], links[k]
}

func fewer(best *Link, active int64, other *Link) (*Link, int64) {
	if a := other.endpoint.Active(); a < active {
		return other, a
	}
	return best, active
}

// fewestOfAll looks at all links, which takes as long as there are many, and takes one
// of those with the fewest calls in flight, each of them equally often
// (envoy LeastRequest.FULL_SCAN).
type fewestOfAll struct{ links []*Link }

func (f *fewestOfAll) choose() *Link {
	best, active, ties := f.links[0], f.links[0].endpoint.Active(), uint64(1)
	for _, l := range f.links[1:] {
		switch a := l.endpoint.Active(); {
		case a < active:
			best, active, ties = l, a, 1
		case a == active:
			if ties++; rand.Uint64N(ties) == 0 {
				best = l
			}
		}
	}
	return best
}

// biased chooses a link with a probability in proportion to
//
//	weight / (active + 1)^bias
//
// which is the rate that Envoy's weighted least request gives it
// (envoy.config.cluster.v3.Cluster.LeastRequestLbConfig.active_request_bias). Envoy
// keeps a priority queue, which takes a lock. Here few links are weighed against one
// another as they are. Of many, one is drawn by weight and then taken with a
// probability of 1/(active+1)^bias, else another is drawn: that gives just these rates.
// Where so many are busy that none of a number of draws was taken, those drawn are
// weighed against one another.
type biased struct {
	links    []*Link
	bias     float64
	weights  []uint32           // of each link where there are few
	schedule *weighted.Schedule // over the links where there are many
}

const (
	few   = 8  // up to so many links are weighed all
	draws = 16 // of more
)

func (b *biased) choose() *Link {
	if b.schedule != nil {
		return b.draw()
	}
	var rates [few]float64
	for k, w := range b.weights {
		rates[k] = float64(w) / b.cost(b.links[k].endpoint.Active())
	}
	return b.links[choose(rates[:len(b.weights)])]
}

func (b *biased) draw() *Link {
	var drawn [draws]*Link
	var rates [draws]float64
	for k := range draws {
		l := b.links[b.schedule.Random()]
		active := l.endpoint.Active()
		if active <= 0 {
			return l
		}
		drawn[k], rates[k] = l, 1/b.cost(active)
		if rand.Float64() < rates[k] {
			return l
		}
	}
	return drawn[choose(rates[:])]
}

// choose draws an index with a probability in proportion to its rate.
func choose(rates []float64) int {
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	point := rand.Float64() * sum
	for k, r := range rates {
		if point -= r; point < 0 {
			return k
		}
	}
	return len(rates) - 1
}

func (b *biased) cost(active int64) float64 {
	load := float64(max(0, active) + 1)
	if b.bias == 1 {
		return load
	}
	return math.Pow(load, b.bias)
}
