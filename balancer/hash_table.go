package balancer

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// hashTable maps hashes to members of a snapshot. It is immutable. Consistent hashing
// means that the table of other members differs little from it.
type hashTable struct {
	slots []uint32 // indexes of members
	bound *bound   // nil if the load is not bounded

	// Of a ring: the points at which the slots stand, ascending, and the first point
	// at or after each multiple of 2^shift, where the search begins. Hashes are spread
	// evenly, so that it ends after a step or two. One more point ends it. Nil in a Maglev
	// table.
	points []uint64
	starts []uint32
	shift  uint
}

// hashHost is one member of a hashTable.
type hashHost struct {
	key    string
	member uint32
	weight float64 // a share of 1
}

// place returns the slot of a hash: on a ring the first at or after it.
func (t *hashTable) place(hash uint64) int {
	if t.points == nil {
		return int(hash % uint64(len(t.slots)))
	}
	i := int(t.starts[hash>>t.shift])
	// Two steps without a branch, which would go either way too often to be foretold.
	i += before(t.points[i], hash)
	i += before(t.points[i], hash)
	for t.points[i] < hash {
		i++
	}
	if i == len(t.slots) {
		return 0
	}
	return i
}

// before is 1 if a point comes before a hash, else 0.
func before(point, hash uint64) int {
	_, borrow := bits.Sub64(point, hash, 0)
	return int(borrow)
}

// newRing returns Envoy's ring (envoy.config.cluster.v3.Cluster.RingHashLbConfig;
// ring_hash_lb.cc), which is gRPC's (gRFC A42): each host stands at the XXH64 of
// "<key>_<i>", for as many i as its weight asks for. The number of points is scaled so
// that the lightest host has a whole number of them and the ring at least smallest
// points; but not above largest.
func newRing(hosts []hashHost, smallest, largest uint64) *hashTable {
	lightest := 1.0
	for _, h := range hosts {
		lightest = min(lightest, h.weight)
	}
	scale := min(math.Ceil(lightest*float64(smallest))/lightest, float64(largest))

	type point struct {
		hash   uint64
		member uint32
	}
	points := make([]point, 0, int(math.Ceil(scale)))
	var key []byte
	var have, want float64
	for _, h := range hosts {
		key = append(append(key[:0], h.key...), '_')
		prefix := len(key)
		want += float64(scale * h.weight) // rounded, as elsewhere: not fused with the addition
		for i := int64(0); have < want; i++ {
			key = strconv.AppendInt(key[:prefix], i, 10)
			points = append(points, point{xxhash.Sum64(key), h.member})
			have++
		}
	}
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.member, b.member))
	})

	t := &hashTable{slots: make([]uint32, len(points)), points: make([]uint64, len(points)+1)}
	t.points[len(points)] = math.MaxUint64 // ends every search
	width := bits.Len(uint(len(points) - 1))
	t.shift = uint(64 - width)
	t.starts = make([]uint32, 1<<width)
	next := 0
	for i, p := range points {
		t.slots[i], t.points[i] = p.member, p.hash
		for ; next <= int(p.hash>>t.shift); next++ {
			t.starts[next] = uint32(i)
		}
	}
	for ; next < len(t.starts); next++ {
		t.starts[next] = uint32(len(points))
	}
	return t
}

// newMaglev returns Envoy's Maglev table
// (envoy.config.cluster.v3.Cluster.MaglevLbConfig; maglev_lb.cc): each host goes
// through all slots in an order of its own, which the XXH64 of its key with the seeds 0
// and 1 gives, and takes the next one that is free whenever it is its turn. The
// heaviest host has a turn in every round, the others by their weight. size is prime.
func newMaglev(hosts []hashHost, size uint64) *hashTable {
	hosts = slices.Clone(hosts)
	slices.SortFunc(hosts, func(a, b hashHost) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.member, b.member))
	})
	builders := make([]maglevBuilder, len(hosts))
	heaviest := 0.0
	seeded := xxhash.NewWithSeed(1)
	for i, h := range hosts {
		seeded.ResetWithSeed(1)
		_, _ = seeded.WriteString(h.key)
		builders[i] = maglevBuilder{
			member: h.member,
			at:     xxhash.Sum64String(h.key) % size,
			skip:   seeded.Sum64()%(size-1) + 1,
			weight: h.weight,
		}
		heaviest = max(heaviest, h.weight)
	}

	const free = math.MaxUint32
	t := &hashTable{slots: slices.Repeat([]uint32{free}, int(size))}
	left := size
	// due lists the hosts that have a turn in a round, from 1, as 1 + their index. To
	// ask each of them in every round would take long where one outweighs many.
	due := make([]uint32, size+1)
	for i := range builders {
		builders[i].also, due[1] = due[1], uint32(i+1)
	}
	var turns []uint32
	for round := 1; ; round++ {
		turns = turns[:0]
		for i := due[round]; i != 0; i = builders[i-1].also {
			turns = append(turns, i)
		}
		slices.Sort(turns)
		for _, i := range turns {
			b := &builders[i-1]
			for t.slots[b.at] != free {
				b.at += b.skip
				if b.at >= size {
					b.at -= size
				}
			}
			t.slots[b.at] = b.member
			if left--; left == 0 {
				return t
			}
			b.want += heaviest
			if next := b.next(float64(round), float64(size)); next <= float64(size) {
				b.also, due[int(next)] = due[int(next)], i
			}
		}
	}
}

// maglevBuilder is one host of a Maglev table while that is filled.
type maglevBuilder struct {
	member, also uint32 // also is the next host in a list of due
	at, skip     uint64
	weight, want float64
}

// next returns the first round after this one in which round × weight has reached
// what is wanted, computed in just this way; some round above most if that is.
func (b *maglevBuilder) next(round, most float64) float64 {
	round = max(round+1, math.Ceil(b.want/b.weight)-1)
	for round <= most && float64(round*b.weight) < b.want {
		round++
	}
	return round
}
