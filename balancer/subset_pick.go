package balancer

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A view has pickers for the subsets that its calls ask for, not for all that there
// are: a cluster may have a subset for each endpoint. What calls ask for is remembered
// until they have not asked for it for unusedTimeout.

// asked is something that calls ask for.
type asked struct {
	criteria *Criteria
	used     atomic.Bool // since the last rebuild
	usedAt   time.Time   // owned by the rebuild
}

func (a *asked) key() string {
	if a.criteria == nil {
		return ""
	}
	return a.criteria.key
}

// partPicker is the picker for calls that ask for something: the pickers of the parts
// of the cluster that they go to, of which the first that has an endpoint counts.
type partPicker struct {
	asked   *asked // nil if nobody remembers
	pickers []*picker
	err     error // if there are none
}

// roundPart is the work of a rebuild on one part.
type roundPart struct {
	*round
	part *part
	made *picker
}

// divide begins the work on the parts that calls ask for.
func (r *round) divide() {
	if r.built.subsets == nil {
		return
	}
	known := map[*part]bool{}
	for _, a := range r.remember() {
		for _, p := range r.built.subsets.resolve(r.built, a.criteria) {
			if known[p] {
				continue
			}
			known[p] = true
			sub := &roundPart{part: p, round: &round{View: r.View, now: r.now, built: p.snapshot, shared: true, spares: r.spares}}
			sub.takeLinks(r.links)
			sub.survey()
			r.parts = append(r.parts, sub)
			r.wakeIn(sub.next)
		}
	}
}

// takeLinks takes the links of the part's members from those of the whole.
func (s *roundPart) takeLinks(links []*Link) {
	s.links = make([]*Link, len(s.part.from))
	for i, k := range s.part.from {
		s.links[i] = links[k]
	}
}

// remember returns what calls ask for, and forgets what they do not any more.
func (v *View) remember() []*asked {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []*asked
	for _, a := range v.asked {
		if a.used.Swap(false) {
			a.usedAt = now
		}
		if now.Sub(a.usedAt) < unusedTimeout {
			list = append(list, a)
		}
	}
	v.asked = list
	return list
}

// ask remembers that calls ask for something new, and has the view rebuilt.
func (v *View) ask(c *Criteria) {
	a := &asked{criteria: c}
	a.used.Store(true)
	v.mu.Lock()
	for _, known := range v.asked {
		if known.key() == a.key() {
			v.mu.Unlock()
			return // the rebuild is on its way
		}
	}
	v.asked = append(v.asked, a)
	v.mu.Unlock()
	v.wake(nil)
}

// usedByParts reports which members the parts need a link to. Links on demand cost
// little, and all are there for calls that ask for something new.
func (r *round) usedByParts(used []bool) {
	for k := range used {
		used[k] = r.options.OnDemand
	}
	for _, sub := range r.parts {
		for k, u := range sub.used() {
			if u {
				used[sub.part.from[k]] = true
			}
		}
	}
}

// newSubsetPicker is the rest of newPicker where endpoints are divided.
func (r *round) newSubsetPicker(p *picker) *picker {
	p.parts = map[string]*partPicker{}
	p.state, p.err = Connecting, ErrConnecting
	pickers := map[*part]*picker{}
	failed := 0
	for _, sub := range r.parts {
		sub.takeLinks(r.links)
		sub.made = sub.newPicker()
		r.wakeIn(sub.next)
		pickers[sub.part] = sub.made
		switch sub.made.state {
		case Ready:
			p.state = Ready
		case TransientFailure:
			failed++
		}
	}
	r.View.mu.Lock()
	list := r.View.asked
	r.View.mu.Unlock()
	for _, a := range list {
		if pp := r.newPartPicker(a, pickers); pp != nil {
			p.parts[a.key()] = pp
		}
	}
	switch {
	case p.state == Ready:
		p.err = nil
	case failed > 0 && failed == len(r.parts):
		p.state, p.err = TransientFailure, r.parts[0].made.err
	}
	return p
}

// newPartPicker returns the picker for what calls ask for, nil if it came up since
// divide.
func (r *round) newPartPicker(a *asked, pickers map[*part]*picker) *partPicker {
	pp := &partPicker{asked: a}
	for _, part := range r.built.subsets.resolve(r.built, a.criteria) {
		p := pickers[part]
		if p == nil {
			return nil
		}
		pp.pickers = append(pp.pickers, p)
	}
	if len(pp.pickers) == 0 {
		pp.err = r.noSubset(a.criteria)
	}
	return pp
}

func (r *round) noSubset(c *Criteria) error {
	return fmt.Errorf("cluster %q: %w: no subset has %s", r.cluster.name, ErrNoEndpoints, c)
}

// pickSubset is Pick where endpoints are divided.
func (v *View) pickSubset(p *picker, info *PickInfo) (*Link, error) {
	var key string
	if info.Subset != nil {
		key = info.Subset.key
	}
	pp := p.parts[key]
	if pp == nil {
		if pp = v.newlyAsked(p, info.Subset); pp == nil {
			return nil, ErrConnecting
		}
	}
	if a := pp.asked; a != nil && !a.used.Load() { // written rarely, so that callers share the cache line
		a.used.Store(true)
	}
	l, err := v.pickPart(p, pp, info)
	if p.drops == nil || len(info.Exclude) > 0 || errors.Is(err, ErrConnecting) || errors.Is(err, errProbed) {
		return l, err
	}
	if dropped := p.drops.drop(); dropped != nil {
		if l != nil {
			l.Done(Outcome{Err: ErrUnsent})
		}
		return nil, dropped
	}
	return l, err
}

// pickPart picks from the first part that has an endpoint.
func (v *View) pickPart(p *picker, pp *partPicker, info *PickInfo) (*Link, error) {
	first := pp.err
	for _, part := range pp.pickers {
		l, err := v.pick(part, info)
		if err == nil || errors.Is(err, ErrConnecting) || errors.Is(err, errProbed) {
			return l, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// newlyAsked is for a call that asks for something new. Where links are on demand, a
// picker is made for this call, until the rebuild has made one for all; else the call
// waits, because there is nothing connected.
func (v *View) newlyAsked(p *picker, c *Criteria) *partPicker {
	v.ask(c)
	if !v.options.OnDemand || p.snapshot.subsets == nil {
		return nil
	}
	r := &round{View: v, now: time.Now(), built: p.snapshot, links: p.links}
	pickers := map[*part]*picker{}
	for _, part := range r.built.subsets.resolve(r.built, c) {
		sub := &roundPart{part: part, round: &round{View: v, now: r.now, built: part.snapshot, shared: true}}
		sub.takeLinks(r.links)
		sub.survey()
		pickers[part] = sub.newPicker()
	}
	pp := r.newPartPicker(&asked{criteria: c}, pickers)
	pp.asked = nil
	return pp
}
