package balancer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/weft-mesh/weft/resilience"
)

// newPicker composes the picker's tree: priorities, localities, policy.
func (r *round) newPicker() *picker {
	s := r.built
	r.shared = true
	p := &picker{snapshot: s, overrides: s.config.OverrideHeaders, links: r.links, groups: r.groups, drops: s.drops, healthy: r.healthy, degraded: r.degraded, state: TransientFailure, err: s.err}
	if s.err != nil {
		if errors.Is(s.err, ErrConnecting) {
			p.state = Connecting
		}
		return p
	}
	if s.subsets != nil {
		return r.newSubsetPicker(p)
	}
	p.anything = r.options.OnDemand && s.config.PanicThreshold > 0
	if r.policy().Kind.hashes() {
		return r.newHashPicker(p)
	}
	p.spares = r.spareGroups()
	p.root = r.root(r.View.connected)
	if p.root == nil && p.anything {
		p.root = r.root(func(*Link) bool { return true })
	}
	if p.root != nil {
		p.state = Ready
		p.plain = p.drops == nil
		p.simple = p.plain && len(p.overrides) == 0 && s.config.OriginalDst == nil && r.policy().Kind != PeakEWMA
		p.inTurn, _ = p.root.(*inTurn)
		return p
	}
	p.state, p.err = r.why()
	return p
}

// newHashPicker is the rest of newPicker for ring_hash and maglev. Where connections
// are made ahead of calls, here calls ask for them (gRFC A42): there may be something
// to pick from and nothing connected.
func (r *round) newHashPicker(p *picker) *picker {
	p.hash = r.hashed(r.hopeful)
	if p.hash == nil && p.anything {
		p.hash = r.hashed(func(*Link) bool { return true })
	}
	switch {
	case p.hash == nil:
		p.state, p.err = r.why()
	case r.options.OnDemand || slices.ContainsFunc(r.links, func(l *Link) bool { return l != nil && r.View.connected(l) }):
		p.state = Ready
	default:
		p.state, p.err = Connecting, ErrConnecting
	}
	p.plain = p.hash != nil && p.hash.only() && p.drops == nil
	return p
}

// root chooses among the groups by their load. Where none that has load has a link,
// the first group that has one takes all.
func (r *round) root(usable func(*Link) bool) chooser {
	var choosers []chooser
	var weights []uint32
	for i := range r.groups {
		if g := &r.groups[i]; g.load > 0 {
			if c := r.chooser(g, usable); c != nil {
				choosers = append(choosers, c)
				weights = append(weights, g.load)
			}
		}
	}
	for i := range r.groups {
		if g := &r.groups[i]; g.load == 0 && len(choosers) == 0 {
			if c := r.chooser(g, usable); c != nil {
				return c
			}
		}
	}
	return newSplit(choosers, weights)
}

// chooser chooses among the usable links of a group, nil if there is none.
func (r *round) chooser(g *group, usable func(*Link) bool) chooser {
	if g.refuses {
		return nil
	}
	if zones := r.zoned(g, usable); zones != nil {
		return zones
	}
	var choosers []chooser
	var weights []uint64
	policy := r.policy()
	r.buckets(g, func(l *locality, t *tally) {
		if links := r.collect(g, l, usable); len(links) > 0 {
			choosers = append(choosers, newChooser(&policy, links, r.weigh(&policy, links)))
			weights = append(weights, localityWeight(l.weight, t, g.of, r.built.overprovisioning))
		}
	})
	return newSplit(choosers, fit(weights))
}

// buckets calls f for the parts of a group that have a policy of their own: its
// localities where they are weighted, else all of it.
func (r *round) buckets(g *group, f func(*locality, *tally)) {
	if !r.weighted(g.priority) {
		f(&locality{from: g.priority.from, to: g.priority.to, weight: 1}, &tally{})
		return
	}
	for i := range g.priority.localities {
		if l := &g.priority.localities[i]; l.weight > 0 {
			f(l, &r.localities[g.priority.first+i])
		}
	}
}

// collect returns a group's links within a run of members, those that are usable
// unless usable is nil, and leaves their weights in r.weights.
func (r *round) collect(g *group, l *locality, usable func(*Link) bool) []*Link {
	links := make([]*Link, 0, l.to-l.from)
	r.weights = slices.Grow(r.weights[:0], l.to-l.from)
	if p := r.policy(); p.Kind == PickFirst && p.Shuffle && r.shares == nil {
		r.shares = r.built.shares()
	}
	for k := l.from; k < l.to; k++ {
		m, link := r.built.members[k], r.links[k]
		if link == nil || r.built.classes[k]&g.of == 0 || usable != nil && !usable(link) {
			continue
		}
		links = append(links, link)
		weight := m.weight
		if r.shares != nil {
			weight = r.shares[k]
		}
		r.weights = append(r.weights, weight)
	}
	return links
}

// localityWeight is a locality's weight lowered by what of it is not available
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/locality_weight),
// in thousandths.
func localityWeight(weight uint32, t *tally, of classes, overprovisioning uint64) uint64 {
	if t.total == 0 {
		return uint64(weight) * 1000
	}
	available := overprovisioning * 10 * uint64(t.available(of)) / uint64(t.total)
	return max(1, uint64(weight)*min(1000, available))
}

// fit scales weights down to what a schedule takes, none of them to zero.
func fit(weights []uint64) []uint32 {
	var greatest uint64
	for _, w := range weights {
		greatest = max(greatest, w)
	}
	divisor := greatest/math.MaxUint32 + 1
	fitted := make([]uint32, len(weights))
	for i, w := range weights {
		fitted[i] = uint32(max(1, w/divisor))
	}
	return fitted
}

// why says why there is nothing to pick.
func (r *round) why() (State, error) {
	if slices.ContainsFunc(r.groups, func(g group) bool { return g.refuses }) {
		return TransientFailure, fmt.Errorf("cluster %q: %w: too few are healthy, and policy has calls fail then", r.cluster.name, ErrNoEndpoints)
	}
	var last error
	var refusal *resilience.BreakerError
	for k, class := range r.built.classes {
		if class == classBroken {
			refusal = r.cluster.refusal(refusal, r.built.members[k].endpoint)
		}
	}
	wanted, spare := false, false
	for i := range r.groups {
		g := &r.groups[i]
		for k := g.priority.from; k < g.priority.to; k++ {
			l := r.links[k]
			switch {
			case r.built.classes[k]&g.of == 0:
			case !r.wants(g):
				spare = spare || l == nil || State(l.state.Load()) != TransientFailure
			case l == nil:
			case State(l.state.Load()) != TransientFailure:
				return Connecting, ErrConnecting
			default:
				wanted = true
				if last == nil {
					last = l.Err()
				}
			}
		}
	}
	switch {
	case !wanted && refusal != nil:
		return TransientFailure, refusal
	case !wanted:
		return TransientFailure, fmt.Errorf("cluster %q: %w that are healthy", r.cluster.name, ErrNoEndpoints)
	case spare:
		// The last of the links failed since the load was divided, and its report has
		// the next round turn to what is in reserve.
		return Connecting, ErrConnecting
	}
	return TransientFailure, &UnreachableError{r.cluster.name, last}
}
