package balancer

import (
	"errors"
	"fmt"
	"time"

	"github.com/weft-mesh/weft/internal/weighted"
)

// Compose says which clusters a DiscoverAggregate cluster is made of, the preferred
// first: none of them an aggregate itself, and none twice. Other kinds ignore it.
//
// The priorities of all of them make one list, along which calls fail over as among the
// priorities of one cluster (Envoy's aggregate cluster). Within its part of the calls a
// cluster does everything by its own configuration, its drops and panic mode included
// (gRFC A75). A view of the aggregate has connections of its own to the endpoints of
// its clusters.
func (c *Cluster) Compose(clusters []*Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.config == nil || c.config.Discovery != DiscoverAggregate {
		return
	}
	c.composed = clusters
	if c.composed == nil {
		c.composed = []*Cluster{}
	}
	c.failure = nil
	c.publish()
}

// aggregate makes the snapshot of a cluster that is made of others. The caller holds
// c.mu.
func (c *Cluster) aggregate(config *Config) *snapshot {
	c.generation++
	s := &snapshot{config: config, clusters: c.composed, hashTables: new(hashTables), addresses: new(addressIndex)}
	switch {
	case c.composed == nil:
		s.err = ErrConnecting
	case len(c.composed) == 0:
		s.err = fmt.Errorf("cluster %q: %w: it is made of no clusters", c.name, ErrNoEndpoints)
	}
	return s
}

// aggregatePart is a view's view of one of the clusters of an aggregate.
type aggregatePart struct {
	cluster     *Cluster
	view        *View     // nil until it is needed
	unusedSince time.Time // zero while it is needed
}

// rebuildAggregate is rebuild for a snapshot that is made of clusters.
func (v *View) rebuildAggregate(r *round, s *snapshot) {
	if s != v.built {
		r.adopt(s) // no links of its own
		v.adoptParts(s.clusters)
	}
	// A cluster that was not needed before may be of no use once it is looked at.
	for range s.clusters {
		if !v.openParts(r) {
			break
		}
	}
	p := v.aggregatePicker(s)
	if r.spares {
		p.spares = []chooser{} // those are its parts' own
	}
	v.picker.Store(p)
	for _, l := range r.gone {
		l.close()
	}
	v.closeRetired()
	v.built, v.links = r.built, r.links
	v.setTimer(r.next)
}

// adoptParts takes over another list of clusters, with the views of those that are
// still in it.
func (v *View) adoptParts(clusters []*Cluster) {
	old := map[*Cluster]*View{}
	for _, p := range v.aggregated {
		if p.view != nil {
			old[p.cluster] = p.view
		}
	}
	v.aggregated = make([]aggregatePart, len(clusters))
	for i, c := range clusters {
		v.aggregated[i] = aggregatePart{cluster: c, view: old[c]}
		delete(old, c)
	}
	for _, view := range old {
		v.retired = append(v.retired, view)
	}
}

// openParts opens the first view that is needed and not open, and reports whether there
// was one. Views that were not needed for long are closed.
func (v *View) openParts(r *round) bool {
	var healthy uint64
	for i := range v.aggregated {
		p := &v.aggregated[i]
		needed := healthy < 100 || v.options.OnDemand || r.spares
		switch {
		case needed && p.view == nil:
			p.unusedSince = time.Time{}
			p.view = p.cluster.View(v.connector, ViewOptions{
				OnDemand: v.options.OnDemand, GRPC: v.options.GRPC, Changed: func() { v.wake(nil) },
			})
			return true
		case needed:
			p.unusedSince = time.Time{}
		case p.view == nil:
		case p.unusedSince.IsZero():
			p.unusedSince = r.now
			r.wakeIn(unusedTimeout)
		case r.now.Sub(p.unusedSince) >= unusedTimeout:
			v.retired = append(v.retired, p.view)
			p.view = nil
		default:
			r.wakeIn(unusedTimeout - r.now.Sub(p.unusedSince))
		}
		if p.view != nil {
			healthy += p.view.picker.Load().healthy
		}
	}
	return false
}

// closeRetired closes the views that have left the picker.
func (v *View) closeRetired() {
	for _, view := range v.retired {
		view.Close()
	}
	v.retired = nil
}

// aggregatePicker picks among the clusters of an aggregate.
type aggregatePicker struct {
	parts    []*View // that are open, in order
	loads    []uint64
	schedule *weighted.Schedule // of the parts; nil if one takes all
	only     int                // that one
}

// aggregatePicker divides the load among the parts: in order, as far as each has
// endpoints that are available, healthy ones first.
func (v *View) aggregatePicker(s *snapshot) *picker {
	p := &picker{snapshot: s, overrides: s.config.OverrideHeaders, state: TransientFailure, err: s.err}
	if s.err != nil {
		if errors.Is(s.err, ErrConnecting) {
			p.state = Connecting
		}
		return p
	}
	a := &aggregatePicker{}
	var healthy, degraded []uint64
	var total uint64
	connecting := false
	for i := range v.aggregated {
		view := v.aggregated[i].view
		if view == nil {
			continue
		}
		of := view.picker.Load()
		switch of.state {
		case Ready:
			p.state, p.err = Ready, nil
		case Connecting:
			connecting = true
		default:
			if p.err == nil && p.state != Ready {
				p.err = of.err
			}
		}
		a.parts = append(a.parts, view)
		healthy, degraded = append(healthy, of.healthy), append(degraded, of.degraded)
		total += of.healthy + of.degraded
	}
	if p.state != Ready && connecting {
		p.state, p.err = Connecting, ErrConnecting
	}
	a.loads = make([]uint64, len(a.parts))
	if total = min(100, total); total > 0 {
		loads := make([]load, len(a.parts))
		share(loads, healthy, degraded, total)
		weights := make([]uint32, len(loads))
		taking := 0
		for i, l := range loads {
			weights[i] = l.healthy + l.degraded
			a.loads[i] = uint64(weights[i])
			if weights[i] > 0 {
				taking++
				a.only = i
			}
		}
		if taking > 1 {
			a.schedule = weighted.New(weights)
		}
	}
	p.aggregate = a
	return p
}

// choose returns the part that a call goes to. Its hash, if it has one, keeps it there.
func (a *aggregatePicker) choose(info *PickInfo) int {
	switch {
	case a.schedule == nil:
		return a.only
	case !info.HasHash:
		return a.schedule.Next()
	}
	at := (info.Hash >> 32) % 100 // other bits than the parts go by
	for i, l := range a.loads {
		if at < l {
			return i
		}
		at -= l
	}
	return a.only
}

// pick chooses a part, and has it pick. Where it cannot, another may.
func (a *aggregatePicker) pick(info *PickInfo) (*Link, error) {
	if info.Override.Addresses != "" {
		if l, done, err := a.pickOverride(info); done {
			return l, err
		}
		info.Override = Override{}
	}
	first := a.chooseApart(info)
	apart := info.apart
	info.apart = nil
	var l *Link
	var err error
	if apart == nil {
		l, err = a.parts[first].Pick(*info)
	} else if l, err = a.parts[first].PickApart(*info, apart); errors.Is(err, ErrConnecting) {
		return nil, err // where it goes was not needed before
	}
	if err == nil || errors.Is(err, ErrDropped) {
		return l, err
	}
	var unreachable *UnreachableError
	for i, part := range a.parts {
		if i == first {
			continue
		}
		l, other := part.Pick(*info)
		switch {
		case other == nil || errors.Is(other, ErrDropped):
			return l, other
		case errors.Is(err, ErrConnecting), errors.Is(err, ErrExcluded): // says most
		case errors.Is(other, ErrConnecting), errors.Is(other, ErrExcluded), errors.As(other, &unreachable):
			err = other
		}
	}
	return nil, err
}

// pickOverride is pick for a call with an override: the part that has the endpoint
// counts, whatever its share of the calls.
func (a *aggregatePicker) pickOverride(info *PickInfo) (l *Link, done bool, err error) {
	for _, part := range a.parts {
		var missing *OverrideError
		l, done, err = part.pickOverride(part.picker.Load(), info)
		if done && !(errors.As(err, &missing) && missing.Missing) {
			return l, done, err
		}
	}
	return l, done, err
}

// Aggregates reports whether the view picks endpoints of other clusters.
func (v *View) Aggregates() bool { return v.picker.Load().aggregate != nil }

// hashes reports whether a part goes by hashes.
func (a *aggregatePicker) hashes() bool {
	for _, part := range a.parts {
		if part.Hashes() {
			return true
		}
	}
	return false
}
