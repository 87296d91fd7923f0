package balancer

import (
	"slices"
	"time"
)

const (
	// failoverTimeout is how long a connection may take before its endpoint counts
	// as not available (gRFC A56, failover timer).
	failoverTimeout = 10 * time.Second

	// unusedTimeout is how long the links of a priority that is not needed any more
	// are kept, so that load that swings between priorities does not make
	// connections each time (gRFC A56, deactivation).
	unusedTimeout = 15 * time.Minute
)

// round is the work of one rebuild, on all of a snapshot or on a part of it.
type round struct {
	*View
	now  time.Time
	next time.Duration // until something has to be looked at again; 0 for never

	// What the round works on; of the whole, it is the View's.
	built  *snapshot
	links  []*Link // of built's members
	shared bool    // a picker has links: copy before changing

	parts  []*roundPart // that calls ask for; nil where there are no subsets
	spares bool         // calls may go to priorities that have no load

	localities []tally // of built.localities
	// What all priorities have available, in percent.
	healthy, degraded uint64
	groups            []group
	weights           []uint32
	exact             []float64
	shares            []uint32 // of built's members, where they stand in for their weights
	gone              []*Link  // to close when the new picker is in place
}

// adopt takes over a new snapshot, with the links to endpoints that are still there.
func (r *round) adopt(s *snapshot) {
	if r.built.sameMembers(s) {
		r.built = s
		return
	}
	r.generation++
	links := make([]*Link, len(s.members))
	kept := 0
	var before priorLinks
	if r.built != nil {
		before.members, before.links = r.built.members, r.links
	}
	for i, m := range s.members {
		l, near := before.find(m.endpoint)
		if !near {
			if l = r.byEndpoint[m.endpoint]; l != nil {
				l.generation = r.generation
			}
		}
		if l != nil {
			links[i] = l
			kept++
		}
	}
	if kept < len(r.byEndpoint) {
		for _, l := range before.others() {
			if l != nil && l.generation != r.generation {
				delete(r.byEndpoint, l.endpoint)
				r.gone = append(r.gone, l)
			}
		}
	}
	r.built, r.links, r.shared = s, links, false
}

// survey counts what is available and divides the load.
func (r *round) survey() {
	s := r.built
	r.localities = make([]tally, len(s.localities))
	priorities := make([]tally, len(s.priorities))
	pickFirst := r.policy().Kind == PickFirst
	at := 0
	for i, p := range s.priorities {
		for _, l := range p.localities {
			t := &r.localities[at]
			at++
			if r.weighted(&p) && l.weight == 0 {
				continue
			}
			for k := l.from; k < l.to; k++ {
				r.count(t, s.classes[k], r.links[k])
			}
			if pickFirst && r.weighted(&p) {
				t.asOne()
			}
			priorities[i].add(*t)
		}
		if pickFirst && !r.weighted(&p) {
			priorities[i].asOne()
		}
	}
	r.healthy, r.degraded = availability(priorities, s.overprovisioning)
	loads := spread(priorities, s.overprovisioning, s.config.PanicThreshold)
	r.group(priorities, loads)
}

// count adds one endpoint to t. Whether it can be reached is decided by its link:
// one that does not exist yet is given the benefit of the doubt, as is, for a while,
// one that is still connecting.
func (r *round) count(t *tally, class classes, l *Link) {
	if class == classUncounted {
		return
	}
	if class == classDraining { // which is on its way out, and no failure
		t.draining++
		return
	}
	t.total++
	available, ready, late := true, false, false
	if l != nil {
		available, ready, late = r.reachable(l)
	}
	switch class {
	case classHealthy:
		t.healthy++
		t.availableHealthy += count(available)
	case classDegraded:
		t.degraded++
		t.availableDegraded += count(available)
	default:
		return
	}
	t.ready += count(ready)
	t.late += count(late)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// reachable says what is known of a link.
func (r *round) reachable(l *Link) (available, ready, late bool) {
	state := State(l.state.Load())
	if r.options.OnDemand {
		if state == TransientFailure {
			left := l.expire(r.now)
			r.wakeIn(left)
			return left == 0, false, false
		}
		return true, true, false
	}
	if state == Ready {
		return true, true, false
	}
	if !l.unusedSince.IsZero() && l.rearm() {
		return true, false, false
	}
	if since := l.waitingSince.Load(); since != 0 && !(state == Idle && r.policy().Kind.hashes()) {
		left := time.Unix(0, since).Add(failoverTimeout).Sub(r.now)
		late = left <= 0
		r.wakeIn(left)
	}
	return state != TransientFailure && !late, false, late
}

// wakeIn has the view looked at again after d at the latest.
func (r *round) wakeIn(d time.Duration) {
	if d > 0 && (r.next == 0 || d < r.next) {
		r.next = d
	}
}

// group lists the groups of endpoints in the order in which they stand in for one
// another: healthy ones by priority, then degraded ones.
func (r *round) group(tallies []tally, loads []load) {
	s := r.built
	r.groups = make([]group, 0, 2*len(loads))
	for i, l := range loads {
		healthy, degraded := tallies[i].availability(s.overprovisioning)
		g := group{priority: &s.priorities[i], of: classHealthy, load: l.healthy, available: healthy}
		if g.refuses = l.panics && r.failsOnPanic(); l.panics && !g.refuses {
			g.of = classHealthy | classDegraded | classUnhealthy | classUncounted
			if tallies[i].total == 0 && tallies[i].draining > 0 {
				g.of = classDraining
			}
			g.load += l.degraded
			g.available += degraded
		}
		r.groups = append(r.groups, g)
	}
	for i, l := range loads {
		if tallies[i].degraded > 0 && !l.panics {
			_, degraded := tallies[i].availability(s.overprovisioning)
			r.groups = append(r.groups, group{priority: &s.priorities[i], of: classDegraded, load: l.degraded, available: degraded})
		}
	}
}

// weighted reports whether the localities of p share its load by their weights.
func (r *round) weighted(p *priority) bool {
	config := r.built.config
	if !config.LocalityWeighted && (!config.LegacyPolicy || !r.options.GRPC || config.ZoneAware != nil && r.zoneAware() != nil) {
		return false
	}
	return p.weighted
}

// policy returns the policy within a locality.
func (r *round) policy() Policy {
	if r.options.GRPC && r.built.config.Discovery == DiscoverLogicalDNS {
		return Policy{Kind: PickFirst}
	}
	return r.built.config.Policy
}

// wants reports whether the links of a group should exist.
func (r *round) wants(g *group) bool { return g.load > 0 || r.options.OnDemand || r.spares }

// used reports which members should have a link.
func (r *round) used() []bool {
	s := r.built
	used := make([]bool, len(s.members))
	if s.subsets != nil {
		r.usedByParts(used)
		r.usedByOverrides(used)
		return used
	}
	for i := range r.groups {
		g := &r.groups[i]
		if !r.wants(g) {
			continue
		}
		for _, l := range g.priority.localities {
			if r.weighted(g.priority) && l.weight == 0 {
				continue
			}
			for k := l.from; k < l.to; k++ {
				used[k] = used[k] || s.classes[k]&g.of != 0
			}
		}
	}
	r.usedByOverrides(used)
	return used
}

// makeLinks makes the links that are needed and lacking, and lets go of those that
// have not been needed for long.
func (r *round) makeLinks() {
	s := r.built
	used := r.used()
	for k, l := range r.links {
		switch {
		case used[k] && l == nil:
			l = newLink(r.View, s.members[k].endpoint)
			r.byEndpoint[l.endpoint] = l
			r.setLink(k, l)
		case used[k]:
			if !l.unusedSince.IsZero() { // most are not: to write to all would cost
				l.unusedSince = time.Time{}
			}
		case l == nil:
		case l.unusedSince.IsZero():
			l.unusedSince = r.now
			r.wakeIn(unusedTimeout)
		case r.now.Sub(l.unusedSince) >= unusedTimeout:
			delete(r.byEndpoint, l.endpoint)
			r.setLink(k, nil)
			r.gone = append(r.gone, l)
		default:
			r.wakeIn(unusedTimeout - r.now.Sub(l.unusedSince))
		}
	}
}

func (r *round) setLink(k int, l *Link) {
	if r.shared {
		r.links = slices.Clone(r.links)
		r.shared = false
	}
	r.links[k] = l
}

// connect has idle links connect, as the policy needs them.
func (r *round) connect() {
	for _, sub := range r.parts {
		sub.connect()
	}
	if r.built.subsets != nil {
		return
	}
	policy := r.policy()
	for i := range r.groups {
		g := &r.groups[i]
		if !r.wants(g) {
			continue
		}
		if policy.Kind == PickFirst {
			r.buckets(g, func(l *locality, _ *tally) {
				links := r.collect(g, l, nil)
				connectFirst(&policy, links, r.weights, r.now)
			})
			continue
		}
		if policy.Kind.hashes() {
			connectFailed(r.links[g.priority.from:g.priority.to], r.now)
			continue
		}
		r.buckets(g, func(b *locality, _ *tally) {
			for k := b.from; k < b.to; k++ {
				if l := r.links[k]; l != nil && r.built.classes[k]&g.of != 0 {
					l.connect(r.now)
				}
			}
		})
	}
}
