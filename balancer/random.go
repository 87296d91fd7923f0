package balancer

import "github.com/weft-mesh/weft/internal/weighted"

// random draws a link, each with a probability in proportion to its weight.
type random struct {
	links    []*Link
	schedule *weighted.Schedule
}

func newRandom(links []*Link, weights []uint32) *random {
	return &random{links, weighted.New(weights)}
}

func (r *random) choose() *Link { return r.links[r.schedule.Random()] }
