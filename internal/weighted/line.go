package weighted

import (
	"math/bits"
	"sort"
)

// line holds weights laid end to end. The line is cut into pieces of equal, power
// of two length, about one or two per weight, and the table says which weights
// reach into a piece: looking one up then needs no search but where many small
// weights share a piece.
type line struct {
	ends  []uint32 // where the weight of each index ends, exclusive
	table []uint32 // first index that reaches into each piece, and a last entry to close the list
	shift uint     // log2 of a piece's length
}

// newLine lays out the weights divided by divisor, scaled down where they would
// exceed maxWindow. At least one weight must be above zero.
func newLine(weights []uint32, divisor uint32) line {
	var sum uint64
	for _, w := range weights {
		sum += uint64(w / divisor)
	}
	l := line{ends: make([]uint32, len(weights))}
	var end uint64
	for i, w := range weights {
		length := uint64(w / divisor)
		if sum > maxWindow && length > 0 {
			length = max(1, length<<30/sum)
		}
		end += length
		l.ends[i] = uint32(end)
	}
	last := end - 1
	l.shift = uint(max(0, bits.Len64(last)-bits.Len(uint(len(weights)))))
	l.table = make([]uint32, last>>l.shift+2)
	index := 0
	for piece := range l.table[:len(l.table)-1] {
		for uint64(l.ends[index]) <= uint64(piece)<<l.shift {
			index++
		}
		l.table[piece] = uint32(index)
	}
	l.table[len(l.table)-1] = uint32(len(weights) - 1)
	return l
}

func (l *line) length() uint64 { return uint64(l.ends[len(l.ends)-1]) }

// find returns the index whose weight covers the point, which must be on the line.
func (l *line) find(point uint32) int {
	const few = 8 // below it, stepping beats halving
	piece := point >> (l.shift & 31)
	from, to := int(l.table[piece]), int(l.table[piece+1])
	if to-from > few {
		return from + sort.Search(to-from, func(i int) bool { return l.ends[from+i] > point })
	}
	for l.ends[from] <= point {
		from++
	}
	return from
}
