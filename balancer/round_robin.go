package balancer

import "github.com/weft-mesh/weft/internal/weighted"

// roundRobin goes through the links in turn, each as often as its weight says.
type roundRobin struct {
	links    []*Link
	schedule *weighted.Schedule
}

func newRoundRobin(links []*Link, weights []uint32) *roundRobin {
	return &roundRobin{links, weighted.New(weights)}
}

func (r *roundRobin) choose() *Link { return r.links[r.schedule.Next()] }
