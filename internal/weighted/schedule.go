package weighted

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// maxWindow bounds the sum of the weights, so that a point fits 32 bits and the
// arithmetic in at stays exact.
const maxWindow = 1 << 31

// Schedule yields the indices of a list of weights in proportion to them. It is
// immutable but for its position, and safe for concurrent use without a lock.
type Schedule struct {
	total uint64 // length of the line, 0 when there is nothing to choose
	turn  uint64 // step/total in units of 2^-64, rounded up
	lap   uint64 // the greatest multiple of total up to maxWindow
	line  line   // zero when all weights are equal: then the point is the index

	// The position changes with every choice and the fields above never do: kept
	// apart, so that one core's choice does not evict what another reads.
	_        [64]byte
	position atomic.Uint64
	_        [56]byte
}

// New returns a schedule over weights, of which index i is chosen weights[i] times
// in every W consecutive choices, where W is the sum of the weights divided by
// their greatest common divisor. Where W would exceed 2^31 the weights are scaled
// down to it, which moves an index's share of the choices by less than
// len(weights)/2^30 and never to nothing. An index of weight zero is never chosen.
//
// Equal weights are chosen in the order of the list. The first choice is at a
// random place, so that many schedules over one list do not begin together.
//
// Memory and the time to build are proportional to len(weights), which must be
// below 2^30. New keeps no reference to weights.
func New(weights []uint32) *Schedule {
	s := new(Schedule)
	step := uint64(1)
	switch divisor, equal := commonDivisor(weights); {
	case divisor == 0: // nothing to choose
		return s
	case equal:
		s.total = uint64(len(weights))
	default:
		s.line = newLine(weights, divisor)
		s.total = s.line.length()
		step = stride(s.total)
	}
	if s.total > 1 {
		quotient, remainder := bits.Div64(step, 0, s.total)
		if remainder > 0 {
			quotient++
		}
		s.turn = quotient
	}
	s.lap = maxWindow / s.total * s.total
	s.position.Store(rand.Uint64N(s.total))
	return s
}

// Next returns the next index, or -1 when no weight is above zero.
func (s *Schedule) Next() int {
	if s.total <= 1 {
		return s.only()
	}
	n := s.position.Add(1)
	if n == maxWindow {
		// Exactly one caller sees this number. Going back by whole windows changes
		// no choice and keeps the position within what at can take.
		s.position.Add(-s.lap)
	}
	return s.at(n)
}

// Random returns an index drawn at random with a probability in proportion to its
// weight, independent of Next, or -1 when no weight is above zero.
func (s *Schedule) Random() int {
	if s.total <= 1 {
		return s.only()
	}
	return s.index(rand.Uint64N(s.total))
}

// Window is the number of consecutive choices over which the proportions are exact.
// It is 0 when there is nothing to choose.
func (s *Schedule) Window() uint64 { return s.total }

// only is the choice of a schedule that has one or none.
func (s *Schedule) only() int {
	if s.total == 0 {
		return -1
	}
	return s.index(0)
}

// at returns the n-th choice. The fractional part of n·step/total, scaled up by
// total, is n·step mod total: with turn rounded up by less than 2^-64 the product
// is too great by less than n·total/2^64, below 1 while both are below 2^32.
func (s *Schedule) at(n uint64) int {
	point, _ := bits.Mul64(n*s.turn, s.total)
	return s.index(point)
}

func (s *Schedule) index(point uint64) int {
	if s.line.ends == nil {
		return int(point)
	}
	return s.line.find(uint32(point))
}

// commonDivisor returns the greatest common divisor of the weights, 0 when all are
// zero, and whether all are the same.
func commonDivisor(weights []uint32) (divisor uint32, equal bool) {
	equal = true
	for _, w := range weights {
		equal = equal && w == weights[0]
		for w != 0 {
			divisor, w = w, divisor%w
		}
	}
	return divisor, equal
}
