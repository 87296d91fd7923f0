package balancer

import "math"

// weigh returns the weights that picks go by now, for links whose own weights collect
// left in r.weights: what the endpoints reported in place of these, and less for
// those that have just come.
func (r *round) weigh(p *Policy, links []*Link) []uint32 {
	weights := r.weights
	reported := p.Kind == ClientSideWeightedRoundRobin
	if !reported && p.SlowStart.Window <= 0 {
		return weights
	}
	exact := r.exact[:0]
	for _, w := range weights {
		exact = append(exact, float64(w))
	}
	r.exact = exact
	if reported {
		r.reported(p, links, exact)
	}
	if ramping := r.slowStart(p, links, exact); reported || ramping {
		quantize(exact, weights)
	}
	return weights
}

// quantize makes whole numbers of weights, to within a millionth of the greatest and
// none of them zero.
func quantize(exact []float64, weights []uint32) {
	greatest := 0.0
	for _, w := range exact {
		greatest = max(greatest, w)
	}
	const scale = 1 << 20
	for i, w := range exact {
		weights[i] = uint32(max(1, math.Round(w/greatest*scale)))
	}
}
