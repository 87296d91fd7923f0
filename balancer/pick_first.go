package balancer

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// newPickFirst takes the first of the links that are usable. Where links connect by
// themselves there is rarely more than one, see connectFirst.
func newPickFirst(p *Policy, links []*Link, weights []uint32) chooser {
	return only{inOrder(p, links, weights)[0]}
}

// inOrder puts the links in the order in which pick_first tries them: the given one, or
// a random one that stays from one update to the next (gRFC A62). In that, the chance
// of a link to come before another is as their weights (gRFC A113; Efraimidis and
// Spirakis, Weighted Random Sampling, 2006).
func inOrder(p *Policy, links []*Link, weights []uint32) []*Link {
	if !p.Shuffle {
		return links
	}
	type keyed struct {
		link *Link
		key  float64
	}
	order := make([]keyed, len(links))
	for i, l := range links {
		u := (float64(l.rank) + 0.5) / (1 << 32)
		order[i] = keyed{l, math.Log(u) / float64(weights[i])} // as u^(1/weight), which underflows
	}
	slices.SortStableFunc(order, func(a, b keyed) int { return cmp.Compare(b.key, a.key) })
	for i, o := range order {
		links[i] = o.link
	}
	return links
}

// shares returns for each member the product of its locality's part of the priority and
// its own part of the locality, in units of 2^-31 (gRFC A113). In a priority in which no
// locality has a weight it is the member's own weight.
func (s *snapshot) shares() []uint32 {
	const one = 1 << 31
	shares := make([]uint32, len(s.members))
	for i := range s.priorities {
		p := &s.priorities[i]
		var localities uint64
		for _, l := range p.localities {
			localities += uint64(l.weight)
		}
		for _, l := range p.localities {
			var sum uint64
			for k := l.from; k < l.to; k++ {
				sum += uint64(s.members[k].weight)
			}
			for k := l.from; k < l.to; k++ {
				shares[k] = s.members[k].weight
				if p.weighted {
					locality := uint64(l.weight) * one / localities
					shares[k] = uint32(max(1, locality*(uint64(s.members[k].weight)*one/sum)>>31))
				}
			}
		}
	}
	return shares
}

// connectFirst has pick_first's links connect: one at a time, in order, the next
// when one has failed, and none while one is Ready. When all have failed they are
// tried again as their backoff ends; TransientFailure stays until one is Ready (gRFC
// A62). A lost connection is made again at once, from the first link on: a mesh's
// channel is there to be used.
func connectFirst(p *Policy, links []*Link, weights []uint32, now time.Time) {
	for _, l := range links {
		if State(l.state.Load()) == Ready || l.State() == Connecting || l.asked.Load() {
			return
		}
	}
	links = inOrder(p, links, weights)
	for _, failed := range [2]bool{false, true} {
		for _, l := range links {
			if l.State() == Idle && (State(l.state.Load()) == TransientFailure) == failed {
				l.connect(now)
				return
			}
		}
	}
}
