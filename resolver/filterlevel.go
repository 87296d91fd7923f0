package resolver

import (
	"errors"
	"fmt"
	"slices"

	"github.com/weft-mesh/weft/filter"
)

// filterLevel is what a listener's filters come to at one level of a route
// configuration, for one table. Levels that say nothing of filters share that of the
// level above, and with it the filters.
type filterLevel struct {
	filters []httpFilter
	slots   []*filterSlot // by filter
	chain   filter.Chain  // of the slots
	made    bool
	err     error
}

// filterSlot is one filter at a level.
type filterSlot struct {
	disabled  bool
	overrides []*filter.Parsed // the least specific first
	err       error            // why the overrides cannot be

	filter filter.Filter // nil for nothing to do
	made   bool
}

// newFilterLevel returns the listener's own level; nil if it has no filters.
func newFilterLevel(filters []httpFilter) *filterLevel {
	if len(filters) == 0 {
		return nil
	}
	l := &filterLevel{filters: filters}
	for i := range filters {
		l.slots = append(l.slots, &filterSlot{disabled: filters[i].Disabled})
	}
	return l
}

// under returns the level below l with these overrides. A more specific level has the
// last word on whether a filter is disabled, and one that overrides a filter enables it.
func (l *filterLevel) under(overrides filterOverrides) *filterLevel {
	if l == nil || len(overrides) == 0 {
		return l
	}
	var below *filterLevel
	for i := range l.filters {
		o, ok := overrides[l.filters[i].Name]
		if !ok {
			continue
		}
		if below == nil {
			below = &filterLevel{filters: l.filters, slots: slices.Clone(l.slots)}
		}
		above := l.slots[i]
		slot := &filterSlot{disabled: o.disabled, overrides: above.overrides, err: above.err}
		switch {
		case o.disabled:
		case o.config == nil && l.filters[i].config != nil:
			slot.err = fmt.Errorf("override of type %s: %w", o.typeURL, ErrUnsupported)
		case o.config != nil:
			slot.overrides = append(slices.Clip(above.overrides), o.config)
		}
		below.slots[i] = slot
	}
	if below == nil {
		return l
	}
	return below
}

// build returns the filters that calls pass.
func (l *filterLevel) build() (filter.Chain, error) {
	if l == nil || l.made {
		return l.result()
	}
	l.made = true
	for i, slot := range l.slots {
		if slot.disabled {
			continue
		}
		f, err := slot.build(&l.filters[i])
		if err != nil {
			l.chain, l.err = nil, fmt.Errorf("filter %q: %w", l.filters[i].Name, err)
			break
		}
		if f != nil {
			l.chain = append(l.chain, f)
		}
	}
	return l.result()
}

func (l *filterLevel) result() (filter.Chain, error) {
	if l == nil {
		return nil, nil
	}
	return l.chain, l.err
}

func (s *filterSlot) build(f *httpFilter) (filter.Filter, error) {
	switch {
	case s.made:
		return s.filter, s.err
	case f.missing != "":
		return nil, errors.New(f.missing)
	case f.config == nil || s.err != nil:
		return nil, s.err
	}
	s.made = true
	s.filter, s.err = f.config.New(s.overrides)
	return s.filter, s.err
}

// filter gives a route its filters, at the level that is the route's.
func (r *Route) filter(p *routePolicy, at *filterLevel) {
	if at == nil {
		return
	}
	if p.answer != nil {
		if chain := r.chain(at, p); len(chain) > 0 {
			a := *p.answer
			a.to.Change = a.to.Change.filtered(chain)
			r.answer = &a
		}
		return
	}
	for i := range p.clusters {
		c := &p.clusters[i]
		chain := r.chain(at.under(c.filters), p)
		if len(chain) == 0 {
			continue
		}
		to := &r.destinations[i]
		if to.Change == nil {
			to.Change = &Change{route: p, vhost: r.VirtualHost, cluster: c.name}
		}
		to.Change = to.Change.filtered(chain)
	}
}

// chain returns the filters of a level. If they cannot be had, the route fails: calls
// must not go without.
func (r *Route) chain(at *filterLevel, p *routePolicy) filter.Chain {
	chain, err := at.build()
	if err != nil && r.err == nil {
		r.err, r.answer = fmt.Errorf("%s: %w", r, err), nil
	}
	return ofRoute(chain, &p.limited)
}

// filtered returns the change with filters before it.
func (c *Change) filtered(chain filter.Chain) *Change {
	with := *c
	with.filters = chain
	return &with
}

// Filters are the filters that a call passes before anything else is changed; nil for
// none.
func (c *Change) Filters() filter.Chain {
	if c == nil {
		return nil
	}
	return c.filters
}

// Names says of what the change is, for filters.
func (c *Change) Names() (route, virtualHost, cluster string) {
	return c.route.name, c.vhost, c.cluster
}
