package balancer

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Apart has a further attempt of a call leave priorities to which others went, as long as
// there are more
// (envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig).
type Apart struct {
	// Attempted are endpoints that were tried. Their priorities count as if nothing of them
	// were available.
	Attempted []*Endpoint
	// Exhausted is set by a pick for which nothing else was available. It heeds all
	// priorities then, and attempts before it count no more.
	Exhausted bool
}

// PickApart is Pick for a further attempt that leaves priorities. Under ring_hash and maglev,
// whose hash chooses the priority, it is no other than Pick (Envoy).
func (v *View) PickApart(info PickInfo, a *Apart) (*Link, error) {
	info.apart = a
	p, b := v.picker.Load(), v.cluster.breaker.Load()
	if b != nil {
		return v.guarded(b, p, &info)
	}
	return v.pickFrom(p, &info)
}

// left calls f with the groups of other priorities than those that were tried.
func (p *picker) left(c *Cluster, a *Apart, f func(i int, g *group)) {
	for i := range p.groups {
		g := &p.groups[i]
		if g.refuses || slices.ContainsFunc(a.Attempted, func(e *Endpoint) bool {
			return e.cluster == c && e.Priority() == g.priority.level
		}) {
			continue
		}
		f(i, g)
	}
}

// portions are what takes part in a choice, in percent, in the order of preference. All
// together take what there is up to 100 (Envoy's priority load).
type portions []uint64

// draw chooses one; false if there is nothing of any.
func (s portions) draw() (int, bool) {
	var total uint64
	for _, part := range s {
		total = min(100, total+part)
	}
	if total == 0 {
		return 0, false
	}
	at := rand.Uint64N(total)
	i := 0
	for ; at >= s[i]; i++ {
		at -= s[i]
	}
	return i, true
}

// pickApart picks from one of the priorities that are left. Without a link and an error,
// all priorities are to be heeded.
func (v *View) pickApart(p *picker, info *PickInfo) (*Link, error) {
	if len(p.groups) == 0 || p.snapshot.config.Policy.Kind.hashes() {
		return nil, nil
	}
	if !v.asksSpares(p) {
		return nil, ErrConnecting
	}
	parts := make(portions, len(p.groups))
	p.left(v.cluster, info.apart, func(i int, g *group) { parts[i] = g.available })
	i, ok := parts.draw()
	if !ok {
		info.apart.Exhausted = true
		return nil, nil
	}
	return v.pickGroup(p, i, info)
}

// pickGroup picks from the i-th group, whether or not it has load. Without a link and an
// error, there is none to be had.
func (v *View) pickGroup(p *picker, i int, info *PickInfo) (*Link, error) {
	g := &p.groups[i]
	if p.spares != nil && p.spares[i] != nil {
		for range 3 {
			if l := p.spares[i].choose(); v.usable(l) && !slices.Contains(info.Exclude, l.endpoint) {
				return l.take(info)
			}
		}
	}
	// One look at each: a link that connects between two would be none to pick at the first
	// and none to wait for at the second.
	now, waits := time.Now(), false
	if l := p.within(g, func(l *Link) bool {
		if slices.Contains(info.Exclude, l.endpoint) || !l.endpoint.admits() {
			return false
		}
		if v.connected(l) {
			return true
		}
		waits = waits || !v.options.OnDemand && l.connects(now)
		return false
	}); l != nil {
		return l.take(info)
	}
	if waits {
		return nil, ErrConnecting
	}
	return nil, nil
}

// asksSpares remembers that calls go to priorities that have no load. It is false if there
// are yet to be links to those.
func (v *View) asksSpares(p *picker) bool {
	if !v.askedSpares.Load() { // written rarely, so that callers share the cache line
		v.askedSpares.Store(true)
		if p.spares == nil {
			v.wake(nil)
		}
	}
	return p.spares != nil || v.options.OnDemand
}

// keepSpares has all priorities kept for as long after calls have asked for them as links
// that are not needed any more.
func (r *round) keepSpares() {
	if r.askedSpares.Swap(false) {
		r.sparesUntil = r.now.Add(unusedTimeout)
	}
	if left := r.sparesUntil.Sub(r.now); left > 0 {
		r.spares = true
		r.wakeIn(left)
	}
}

// spareGroups returns what chooses within each group by the cluster's policy, whether or not
// it has load: nil where there is nothing usable.
func (r *round) spareGroups() []chooser {
	if !r.spares {
		return nil
	}
	list := make([]chooser, len(r.groups))
	for i := range r.groups {
		list[i] = r.chooser(&r.groups[i], r.View.connected)
	}
	return list
}

// chooseApart is choose for a call that may leave priorities: the parts share it by what
// they have left.
func (a *aggregatePicker) chooseApart(info *PickInfo) int {
	if info.apart == nil {
		return a.choose(info)
	}
	n := len(a.parts)
	parts := make(portions, 2*n)
	for i, v := range a.parts {
		p := v.picker.Load()
		p.left(v.cluster, info.apart, func(_ int, g *group) {
			at := i
			if g.of == classDegraded {
				at += n
			}
			parts[at] = min(100, parts[at]+g.available)
		})
	}
	at, ok := parts.draw()
	if !ok {
		info.apart.Exhausted, info.apart = true, nil
		return a.choose(info)
	}
	return at % n
}
