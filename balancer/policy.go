package balancer

// chooser picks one of the links it was made for. It is immutable but for counters,
// safe for concurrent use, and neither locks nor allocates.
type chooser interface {
	choose() *Link
}

// newChooser returns the policy's chooser over links, of which there must be at
// least one. It keeps links but not weights, which are all above zero.
func newChooser(p *Policy, links []*Link, weights []uint32) chooser {
	if len(links) == 1 {
		return only{links[0]}
	}
	switch p.Kind {
	case Random:
		return newRandom(links, weights)
	case LeastRequest:
		return newLeastRequest(p, links, weights)
	case PeakEWMA:
		return newPeakEWMA(&p.EWMA, links)
	case PickFirst:
		return newPickFirst(p, links, weights)
	}
	return newRoundRobin(links, weights)
}

// only has no choice.
type only struct{ link *Link }

func (o only) choose() *Link { return o.link }
