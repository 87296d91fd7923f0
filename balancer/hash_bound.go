package balancer

import (
	"math"
	"slices"
	"sync"
	"time"
)

// bound keeps endpoints of a hash table from having more than their share of the calls
// in flight, by Envoy's algorithm (thread_aware_lb_impl.cc,
// BoundedLoadHashingLoadBalancer; https://arxiv.org/abs/1608.01350 and 1908.08762):
// where a key's endpoint has too much to do, the key goes to the next that has not, in
// an order that the key's hash shuffles.
type bound struct {
	hosts  []hashHost
	share  []float64 // by member
	factor uint64    // percent
}

// newBound returns nil if the load is not bounded.
func newBound(p Policy, hosts []hashHost, members int) *bound {
	if p.HashBalanceFactor == 0 {
		return nil
	}
	b := &bound{hosts: slices.Clone(hosts), share: make([]float64, members), factor: uint64(p.HashBalanceFactor)}
	for _, h := range hosts {
		b.share[h.member] = h.weight
	}
	return b
}

// choose returns the member to take in place of the one that a hash belongs to: that
// one unless it is overloaded. It takes none that cannot be picked. Where connections
// are made ahead of calls it has the first such connect, for the calls that come.
func (b *bound) choose(v *View, p *picker, hash uint64, member uint32, exclude []*Endpoint) uint32 {
	total := (uint64(max(0, v.cluster.active.Load())+1)*b.factor + 99) / 100
	least := math.Inf(1)
	if l := p.links[member]; l != nil && !slices.Contains(exclude, l.endpoint) {
		if least = b.overload(l, total, member); least <= 1 {
			return member
		}
	}
	order := shuffles.Get().(*shuffle)
	defer shuffles.Put(order)
	best, asked := member, v.options.OnDemand
	order.each(hash, len(b.hosts), func(i uint32) bool {
		other := b.hosts[i].member
		l := p.links[other]
		if other == member || l == nil || slices.Contains(exclude, l.endpoint) {
			return true
		}
		admitted := l.endpoint.admits()
		if !admitted || !v.connected(l) {
			if now := time.Now(); admitted && !asked && l.connects(now) {
				l.demand(now)
				asked = true
			}
			return true
		}
		if load := b.overload(l, total, other); load < least {
			best, least = other, load
		}
		return least > 1
	})
	return best
}

// overload is what an endpoint has in flight, as a part of what it may have.
func (b *bound) overload(l *Link, total uint64, member uint32) float64 {
	slots := max(1, math.Ceil(float64(total)*b.share[member]))
	return float64(l.endpoint.Active()) / slots
}

// shuffle goes through numbers in an order that depends on a seed. It is reused: a pick
// allocates nothing.
type shuffle struct {
	random  mersenne
	numbers []uint32 // each its own index, but for what a run has swapped
	swapped []uint32 // the places that the i-th number was swapped with
}

var shuffles = sync.Pool{New: func() any { return new(shuffle) }}

// each calls f with the numbers below n until it returns false.
func (s *shuffle) each(seed uint64, n int, f func(uint32) bool) {
	for len(s.numbers) < n {
		s.numbers = append(s.numbers, uint32(len(s.numbers)))
	}
	s.random.seed(uint32(seed))
	s.swapped = s.swapped[:0]
	for i := range uint32(n) {
		j := i + s.random.below(uint32(n)-i)
		s.numbers[i], s.numbers[j] = s.numbers[j], s.numbers[i]
		s.swapped = append(s.swapped, j)
		if !f(s.numbers[i]) {
			break
		}
	}
	for i, j := range slices.Backward(s.swapped) {
		s.numbers[i], s.numbers[j] = s.numbers[j], s.numbers[i]
	}
}

// mersenne is the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), C++'s
// std::mt19937, which Envoy shuffles with.
type mersenne struct {
	state [624]uint32
	next  int
}

func (m *mersenne) seed(seed uint32) {
	m.next = 0
	m.state[0] = seed
	for i := uint32(1); i < uint32(len(m.state)); i++ {
		seed = 1812433253*(seed^seed>>30) + i
		m.state[i] = seed
	}
}

func (m *mersenne) uint32() uint32 {
	const n, offset = len(m.state), 397
	i := m.next
	after := (i + 1) % n
	m.next = after
	y := m.state[i]&0x80000000 | m.state[after]&0x7fffffff
	x := m.state[(i+offset)%n] ^ y>>1
	if y&1 != 0 {
		x ^= 0x9908b0df
	}
	m.state[i] = x
	x ^= x >> 11
	x ^= x << 7 & 0x9d2c5680
	x ^= x << 15 & 0xefc60000
	return x ^ x>>18
}

// below returns a number below n, which is not 0, as Envoy makes one.
func (m *mersenne) below(n uint32) uint32 {
	width := (1 << 32) / uint64(n)
	for {
		if x := uint64(m.uint32()) / width; x < uint64(n) {
			return uint32(x)
		}
	}
}
