package balancer

import (
	"math/rand/v2"
	"slices"
	"time"
)

// hashed is the picker's tree under ring_hash and maglev: a table for each group that
// has load. The hash chooses the group as well, so that a key keeps to its endpoint
// (Envoy's choosePriority). Localities have no part in it: a table spans them (gRFC
// A42).
type hashed struct {
	parts []hashedPart
	total uint64
}

type hashedPart struct {
	*hashTable
	upTo uint64 // the sum of the loads up to and with this one
}

func (h *hashed) part(hash uint64) *hashTable {
	if len(h.parts) > 1 {
		at := hash % h.total
		for i := range h.parts {
			if at < h.parts[i].upTo {
				return h.parts[i].hashTable
			}
		}
	}
	return h.parts[0].hashTable
}

// only reports whether the tree is one table and the load is not bounded.
func (h *hashed) only() bool { return len(h.parts) == 1 && h.parts[0].bound == nil }

// member is the member of the only table that a call goes to.
func (h *hashed) member(hash uint64, hasHash bool) uint32 {
	if !hasHash {
		hash = rand.Uint64()
	}
	t := h.parts[0].hashTable
	return t.slots[t.place(hash)]
}

func (k PolicyKind) hashes() bool { return k == RingHash || k == Maglev }

// hashed composes the tree from the groups of which a link is hopeful. Where none that
// has load has one, the first group that has one takes all.
func (r *round) hashed(hopeful func(*Link) bool) *hashed {
	h := &hashed{}
	for i := range r.groups {
		if g := &r.groups[i]; g.load > 0 {
			if t := r.hashedGroup(g, hopeful); t != nil {
				h.total += uint64(g.load)
				h.parts = append(h.parts, hashedPart{t, h.total})
			}
		}
	}
	for i := range r.groups {
		if g := &r.groups[i]; g.load == 0 && len(h.parts) == 0 {
			if t := r.hashedGroup(g, hopeful); t != nil {
				h.parts = []hashedPart{{t, 1}}
			}
		}
	}
	if len(h.parts) == 0 {
		return nil
	}
	return h
}

func (r *round) hashedGroup(g *group, hopeful func(*Link) bool) *hashTable {
	found := false
	r.buckets(g, func(l *locality, _ *tally) {
		for k := l.from; k < l.to && !found; k++ {
			link := r.links[k]
			found = link != nil && r.built.classes[k]&g.of != 0 && hopeful(link)
		}
	})
	if !found {
		return nil
	}
	return r.hashTable(g)
}

// hopeful reports whether a link can be picked, or will be if it is asked for and
// nothing goes wrong.
func (r *round) hopeful(l *Link) bool {
	if r.View.connected(l) {
		return true
	}
	return !r.options.OnDemand && l.connects(r.now)
}

// connects reports the same of a link that connects by itself, but for its endpoint's breaker.
// Who asks both asks the breaker once: one that comes to admit calls in between may tell
// nobody of it, and a call would wait.
func (l *Link) connects(now time.Time) bool {
	switch State(l.state.Load()) {
	case TransientFailure:
		return false
	case Connecting:
		since := l.waitingSince.Load()
		return since == 0 || now.Sub(time.Unix(0, since)) < failoverTimeout
	}
	return true
}

// demand has an idle link connect because a call's hash is its. From now on it may be
// late.
func (l *Link) demand(now time.Time) {
	if State(l.reported.Load()) == Idle && !l.asked.Swap(true) {
		l.waitingSince.Store(now.UnixNano())
		l.conn.Connect()
	}
}

// connectFailed is what connects without a call under a hash policy: the links that
// failed, so that their keys come back to them.
func connectFailed(links []*Link, now time.Time) {
	for _, l := range links {
		if l != nil && State(l.state.Load()) == TransientFailure {
			l.connect(now)
		}
	}
}

// Hashes reports whether picks go by PickInfo.Hash: the policy is ring_hash or maglev.
// It may be false while there is nothing to pick.
func (v *View) Hashes() bool {
	p := v.picker.Load()
	if p.aggregate != nil {
		return p.aggregate.hashes()
	}
	return p.hash != nil || p.parts != nil && p.snapshot.config.Policy.Kind.hashes()
}

// pickHash is Pick under ring_hash and maglev.
func (v *View) pickHash(p *picker, info *PickInfo) (*Link, error) {
	hash := info.Hash
	if !info.HasHash {
		hash = rand.Uint64()
	}
	t := p.hash.part(hash)
	place := t.place(hash)
	member := t.slots[place]
	if t.bound != nil {
		member = t.bound.choose(v, p, hash, member, info.Exclude)
	}
	l := p.links[member]
	if l == nil || !v.usable(l) || len(info.Exclude) > 0 && slices.Contains(info.Exclude, l.endpoint) {
		var err error
		if l, err = v.walk(p, t, place, info); err != nil {
			return nil, err
		}
	}
	// Not before, as in Pick: a call that waits for its endpoint is picked for again.
	if p.drops != nil && len(info.Exclude) == 0 && !info.Again {
		if err := p.drops.drop(); err != nil {
			return nil, err
		}
	}
	return l.take(info)
}

// maxWalk bounds the slots that a walk looks at.
const maxWalk = 1 << 12

// walk goes on from a slot whose link cannot be picked to the next that can: for a
// call that has tried endpoints as if those were not in the table, and likewise past
// links that failed. Where connections are made ahead of calls it does as gRFCs A42
// and A61 say: a call waits for the first link that has not failed, which is told to
// connect if it does not; the call's key keeps to its endpoint while that starts. A
// call without a hash goes to the first link that is Ready, and has at most one that it
// passes connect, so that such calls spread (gRFC A76).
func (v *View) walk(p *picker, t *hashTable, place int, info *PickInfo) (*Link, error) {
	var now time.Time
	waits := false
	for range min(len(t.slots), maxWalk) {
		l := p.links[t.slots[place]]
		if place++; place == len(t.slots) {
			place = 0
		}
		if l == nil || slices.Contains(info.Exclude, l.endpoint) {
			continue
		}
		admitted := l.endpoint.admits()
		if admitted && v.connected(l) {
			return l, nil
		}
		if !admitted || v.options.OnDemand || waits {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		if !l.connects(now) {
			continue
		}
		l.demand(now)
		if info.HasHash {
			return nil, ErrConnecting
		}
		waits = true
	}
	if waits {
		return nil, ErrConnecting
	}
	if l := p.elsewhere(v, info.Exclude); l != nil {
		return l, nil
	}
	if len(info.Exclude) > 0 {
		return nil, ErrExcluded
	}
	if err := v.barred(p); err != nil {
		return nil, err
	}
	if v.options.OnDemand {
		return nil, &UnreachableError{v.cluster.name, p.links[t.slots[place]].Err()}
	}
	return nil, ErrConnecting // the report that made it unusable has a new picker made
}
