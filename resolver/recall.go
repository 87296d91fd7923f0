package resolver

import (
	"slices"
	"strings"
	"sync/atomic"
)

// recall keeps what paths lead to in a virtual host of a table. A client asks for a few paths
// again and again, and need not ask a map and two trees each time. What depends on more of a
// request than its path is not kept, nor are paths that escaping changes: so one that is found
// needs no escaping.
//
// A path has one place. If another has it, it takes that once in a while. So callers cannot
// make the recall grow, nor have it work in vain by asking for ever new paths, and those that
// they ask for again and again are there most of the time.
type recall [recalls]atomic.Pointer[recalled]

// recalled is what a path leads to.
type recalled struct {
	path string
	// sure is the first route that takes every request for the path that none before it
	// takes; nil, at the number of routes, if there is none.
	sure   *Route
	sets   []*candidates // those with a route before it, which more than the path decides on
	sureAt int32
	// keys are headers without which a request has none of those routes: nil if that cannot
	// be said of the sets.
	keys []*HeaderName
}

// decides reports whether sure is the route of a request for the path.
func (k *recalled) decides(r *Request) bool {
	return len(k.sets) == 0 || k.keys != nil && !r.hasAny(k.keys)
}

const (
	recalls       = 64
	longestRecall = 256 // bytes of a path
	recallTurns   = 256 // paths that find another in their place, to one that takes it
)

// keep keeps what an escaped path leads to at its place, if it is one to keep.
func (h *boundHost) keep(place *atomic.Pointer[recalled], path string) {
	if len(path) > longestRecall || strings.Contains(path, "%") || escaped(path) != path {
		return
	}
	one := &recalled{path: strings.Clone(path), sureAt: int32(len(h.bound))}
	sets := slices.Collect(h.index.sets(path))
	for _, c := range sets {
		for _, i := range c.list {
			if i < one.sureAt && h.index.matches[i].takes(path) {
				one.sure, one.sureAt = h.bound[i], i
			}
		}
	}
	for _, c := range sets {
		if c.before(one.sureAt) {
			one.sets = append(one.sets, c)
		}
	}
	one.keys = keysOf(one.sets, one.sureAt)
	place.Store(one)
}

// fewKeys is how many headers there may be of which it takes less to see that a request has
// none than to look among routes.
const fewKeys = 2

// keysOf returns the keys of sets.
func keysOf(sets []*candidates, before int32) []*HeaderName {
	var keys []*HeaderName
	for _, c := range sets {
		if len(c.list) > 0 && c.list[0] < before {
			return nil
		}
		for i := range c.keyed {
			if k := &c.keyed[i]; k.first < before {
				if k.header.source != sourceHeader || len(keys) == fewKeys {
					return nil
				}
				keys = append(keys, k.header.name)
			}
		}
	}
	return keys
}

// takes reports whether a match takes every request for a path that has its literal: even
// one that is neither CONNECT nor gRPC and has nothing but the path.
func (m *routeMatch) takes(path string) bool {
	return len(m.headers)+len(m.query)+len(m.cookies) == 0 && m.fraction == nil && m.conditions(&Request{Path: path}, path)
}

// before reports whether a route of the set comes before a place.
func (c *candidates) before(place int32) bool {
	if len(c.list) > 0 && c.list[0] < place {
		return true
	}
	return slices.ContainsFunc(c.keyed, func(k keyedCandidates) bool { return k.first < place })
}

// placeOf returns where a path is kept if it is.
func (k *recall) placeOf(path string) *atomic.Pointer[recalled] {
	// Of the bytes of a path, the last ones differ most among methods of one service.
	n := uint(len(path))
	place := n * 31
	if n > 0 {
		place += uint(path[n-1]) * 7
	}
	if n >= 10 {
		place += uint(path[n-6])*5 + uint(path[n-10])*3
	}
	return &k[place%recalls]
}
