package balancer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
)

// subsetParts are the parts of a snapshot that calls ask for, as snapshots of their own.
// They do not depend on connections: the views share them.
type subsetParts struct {
	index *subsetIndex

	mu    sync.Mutex
	parts map[*subset]*part
}

// part is a subset as a snapshot of its own.
type part struct {
	*snapshot
	from []int // of each member, its index in the whole
}

// subsetIndex finds the subsets of a snapshot's members, whatever their health. It
// indexes them when it is first asked.
type subsetIndex struct {
	config    *Subsets
	selectors []selector // those with the most keys first, if that matters

	mu     sync.Mutex
	built  bool
	byKeys map[string]*subset // by labelsKey of a selector's keys
	any    *subset
	dflt   *subset
	found  map[string][]*subset // by Criteria.key
}

// selector is a SubsetSelector with sorted keys.
type selector struct {
	*SubsetSelector
	keys []string
}

// subset is a part of a snapshot's members.
type subset struct {
	members []int // in the snapshot, ascending
	single  bool
}

// newSubsetParts returns nil if there are no subsets.
func newSubsetParts(config *Subsets) *subsetParts {
	if config == nil {
		return nil
	}
	return &subsetParts{index: newSubsetIndex(config)}
}

// reassessed returns the parts of a snapshot of the same members.
func (p *subsetParts) reassessed() *subsetParts {
	if p == nil {
		return nil
	}
	return &subsetParts{index: p.index}
}

// resolve returns the parts of the snapshot s that a call with these criteria goes to:
// the first in which there is an endpoint to be picked.
func (p *subsetParts) resolve(s *snapshot, c *Criteria) []*part {
	found := p.index.subsets(s, c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parts == nil {
		p.parts = map[*subset]*part{}
	}
	parts := make([]*part, len(found))
	for i, sub := range found {
		if p.parts[sub] == nil {
			p.parts[sub] = p.index.cut(s, sub)
		}
		parts[i] = p.parts[sub]
	}
	return parts
}

func newSubsetIndex(config *Subsets) *subsetIndex {
	x := &subsetIndex{config: config}
	for i := range config.Selectors {
		s := &config.Selectors[i]
		keys := slices.Compact(slices.Sorted(slices.Values(s.Keys)))
		same := func(o selector) bool { return slices.Equal(o.keys, keys) }
		if len(keys) > 0 && !slices.ContainsFunc(x.selectors, same) {
			x.selectors = append(x.selectors, selector{s, keys})
		}
	}
	if config.RedundantKeys {
		slices.SortStableFunc(x.selectors, func(a, b selector) int { return cmp.Compare(len(b.keys), len(a.keys)) })
	}
	return x
}

// subsets returns the subsets of the members of s that a call with these criteria goes
// to, in turn.
func (x *subsetIndex) subsets(s *snapshot, c *Criteria) []*subset {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.built {
		x.build(s)
	}
	var key string
	var labels map[string]Value
	if c != nil {
		key, labels = c.key, c.labels
	}
	list, ok := x.found[key]
	if !ok {
		list = x.find(labels)
		x.found[key] = list
	}
	return list
}

// build sorts the members into subsets.
func (x *subsetIndex) build(s *snapshot) {
	x.built, x.found = true, map[string][]*subset{}
	x.byKeys, x.any, x.dflt = map[string]*subset{}, &subset{}, &subset{}
	for k := range s.members {
		labels := s.members[k].endpoint.Labels()
		x.any.members = append(x.any.members, k)
		if x.config.has(labels, x.config.Default) {
			x.dflt.members = append(x.dflt.members, k)
		}
		for _, sel := range x.selectors {
			x.combinations(labels, sel.keys, func(key string) {
				sub := x.byKeys[key]
				if sub == nil {
					sub = &subset{single: sel.SingleHost}
					x.byKeys[key] = sub
				}
				// Members come by priority.
				if n := len(sub.members); !sub.single && (n == 0 || sub.members[n-1] != k) || n == 0 {
					sub.members = append(sub.members, k)
				}
			})
		}
	}
}

// maxCombinations bounds the subsets that one endpoint is in because its labels are
// lists: the rest of them do not have it.
const maxCombinations = 1 << 10

// combinations calls f for each labelsKey that labels have under keys: one, or none if
// a key is missing, or several where lists stand for their elements.
func (x *subsetIndex) combinations(labels map[string]Value, keys []string, f func(key string)) {
	prefixes := []string{""}
	for _, key := range keys {
		v, ok := labels[key]
		if !ok {
			return
		}
		values := []Value{v}
		if x.config.ListAsAny {
			if list, ok := v.elements(); ok {
				values = list
			}
		}
		var longer []string
		for _, prefix := range prefixes {
			for _, v := range values {
				if len(longer) == maxCombinations {
					break
				}
				var b strings.Builder
				b.WriteString(prefix)
				appendLabel(&b, key, v)
				longer = append(longer, b.String())
			}
		}
		prefixes = longer
	}
	for _, key := range prefixes {
		f(key)
	}
}

// fallbackListKey is the key of a call's criteria that holds others to try.
const fallbackListKey = "fallback_list"

// find returns the subsets of a call that asks for these labels.
func (x *subsetIndex) find(labels map[string]Value) []*subset {
	list, ok := labels[fallbackListKey]
	if !ok || !x.config.FallbackList {
		return x.once(labels)
	}
	labels = without(labels, func(key string) bool { return key == fallbackListKey })
	elements, _ := list.elements()
	if len(elements) == 0 {
		return x.once(labels)
	}
	var found []*subset
	for _, e := range elements {
		fields, _ := e.fields()
		asked := without(labels, func(string) bool { return false })
		for key, v := range fields {
			asked[key] = v
		}
		found = append(found, x.once(asked)...)
	}
	return found
}

// once is find without a fallback list (Envoy's chooseHostIteration).
func (x *subsetIndex) once(labels map[string]Value) []*subset {
	for range len(x.selectors) + 1 { // each FallbackToKeys asks for fewer keys
		if x.config.RedundantKeys {
			labels = x.needed(labels)
		}
		sel := x.selector(labels)
		if sel == nil {
			break
		}
		if sub := x.byKeys[labelsKey(labels, sel.keys)]; sub != nil {
			return []*subset{sub}
		}
		switch sel.Fallback {
		case FallbackNone:
			return nil
		case FallbackAny:
			return []*subset{x.any}
		case FallbackDefault:
			return []*subset{x.dflt}
		case FallbackToKeys:
			labels = without(labels, func(key string) bool { return !slices.Contains(sel.FallbackKeys, key) })
			continue
		}
		break
	}
	var found []*subset
	switch x.config.Fallback {
	case FallbackAny:
		return []*subset{x.any}
	case FallbackDefault:
		found = []*subset{x.dflt}
		if x.config.PanicAny {
			found = append(found, x.any)
		}
	}
	return found
}

// selector returns the selector of just these keys, nil if there is none.
func (x *subsetIndex) selector(labels map[string]Value) *selector {
	for i := range x.selectors {
		if sel := &x.selectors[i]; len(sel.keys) == len(labels) && sel.within(labels) {
			return sel
		}
	}
	return nil
}

// needed leaves out the keys that the best selector does not have; it is labels if none
// is within them.
func (x *subsetIndex) needed(labels map[string]Value) map[string]Value {
	for i := range x.selectors {
		if sel := &x.selectors[i]; sel.within(labels) {
			return without(labels, func(key string) bool { return !slices.Contains(sel.keys, key) })
		}
	}
	return labels
}

// within reports whether labels have all of the selector's keys.
func (s *selector) within(labels map[string]Value) bool {
	for _, key := range s.keys {
		if _, ok := labels[key]; !ok {
			return false
		}
	}
	return true
}

func without(labels map[string]Value, out func(key string) bool) map[string]Value {
	left := make(map[string]Value, len(labels))
	for key, v := range labels {
		if !out(key) {
			left[key] = v
		}
	}
	return left
}

// cut makes a subset a snapshot.
func (x *subsetIndex) cut(s *snapshot, sub *subset) *part {
	p := &part{from: sub.members, snapshot: &snapshot{
		config:           s.config,
		overprovisioning: s.overprovisioning,
		hashTables:       new(hashTables),
		members:          make([]member, len(sub.members)),
		classes:          make([]classes, len(sub.members)),
	}}
	for i, k := range sub.members {
		p.members[i], p.classes[i] = s.members[k], s.classes[k]
		if sub.single {
			p.classes[i] = classHealthy // calls go there whatever it is
		}
	}
	if len(sub.members) == 0 {
		p.err = fmt.Errorf("cluster %q: %w in the subset", s.config.Name, ErrNoEndpoints)
	}
	at := 0
	for _, whole := range s.priorities {
		for _, l := range whole.localities {
			from := at
			for at < len(p.from) && p.from[at] < l.to {
				at++
			}
			if at > from {
				p.add(locality{from, at, x.localityWeight(l, at-from)}, whole.level)
			}
		}
	}
	return p
}

// localityWeight is the weight of a locality of which so many members are in a subset.
func (x *subsetIndex) localityWeight(l locality, members int) uint32 {
	switch {
	case !x.config.LocalityWeights:
		return 0
	case !x.config.ScaleLocalityWeights:
		return l.weight
	}
	return uint32(math.Round(float64(l.weight) * float64(members) / float64(l.to-l.from)))
}
