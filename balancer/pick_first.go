package balancer

import (
	"cmp"
	"slices"
	"time"
)

// newPickFirst takes the first of the links that are usable. Where links connect by
// themselves there is rarely more than one, see connectFirst.
func newPickFirst(p Policy, links []*Link) chooser {
	return only{inOrder(p, links)[0]}
}

// inOrder puts the links in the order in which pick_first tries them: the given one,
// or a random one that stays from one update to the next (gRFC A62).
func inOrder(p Policy, links []*Link) []*Link {
	if p.Shuffle {
		slices.SortStableFunc(links, func(a, b *Link) int { return cmp.Compare(a.rank, b.rank) })
	}
	return links
}

// connectFirst has pick_first's links connect: one at a time, in order, the next
// when one has failed, and none while one is Ready. When all have failed they are
// tried again as their backoff ends; TransientFailure stays until one is Ready (gRFC
// A62). A lost connection is made again at once, from the first link on: a mesh's
// channel is there to be used.
func connectFirst(p Policy, links []*Link, now time.Time) {
	for _, l := range links {
		if State(l.state.Load()) == Ready || l.State() == Connecting || l.asked.Load() {
			return
		}
	}
	links = inOrder(p, links)
	for _, failed := range [2]bool{false, true} {
		for _, l := range links {
			if l.State() == Idle && (State(l.state.Load()) == TransientFailure) == failed {
				l.connect(now)
				return
			}
		}
	}
}
