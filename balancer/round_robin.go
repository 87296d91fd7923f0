package balancer

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/weft-mesh/weft/internal/weighted"
)

// newRoundRobin returns the chooser that goes through the links in turn, each as often
// as its weight says.
func newRoundRobin(links []*Link, weights []uint32) chooser {
	if slices.Min(weights) < slices.Max(weights) {
		return &roundRobin{links, weighted.New(weights)}
	}
	t := &inTurn{links: links, turn: ^uint64(0)/uint64(len(links)) + 1}
	t.position.Store(rand.Uint32N(uint32(len(links))))
	return t
}

// roundRobin is for links of different weights.
type roundRobin struct {
	links    []*Link
	schedule *weighted.Schedule
}

func (r *roundRobin) choose() *Link { return r.links[r.schedule.Next()] }

// inTurn is for links of the same weight, of which there are at least two. Its first
// turn is anyone's, so that clients that start together do not all begin with the same
// endpoint.
type inTurn struct {
	links []*Link
	turn  uint64 // 2^64 / len(links), rounded up

	// On one cache line with what does not change: who reads that writes this.
	position atomic.Uint32
	_        [cacheLine - 36]byte
}

// choose returns the link at position mod len(links), without dividing (Lemire, Kaser
// and Kurz, Faster remainder by direct computation, 2019: exact for 32 bits). Once in
// 2^32 turns, when the position begins anew, links are left out.
func (t *inTurn) choose() *Link {
	i, _ := bits.Mul64(t.turn*uint64(t.position.Add(1)), uint64(len(t.links)))
	return t.links[i]
}
