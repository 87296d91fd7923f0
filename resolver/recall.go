package resolver

import (
	"slices"
	"strings"
	"sync/atomic"
)

// recall keeps what the paths of gRPC calls lead to in a routeIndex. A client calls a few
// methods, again and again, and need not ask a map and two trees each time. What depends on
// more of a request than its path is not kept, nor are paths of HTTP requests, of which
// there may be as many as there are requests.
//
// It is filled by the first paths that come and then stays as it is: callers cannot make it
// grow, nor have it work in vain by calling more methods than it holds.
type recall [recalls]atomic.Pointer[recalled]

// recalled is what a path leads to.
type recalled struct {
	path string
	// sure is the first route that takes every gRPC call of the path that none before it
	// takes; the number of routes if there is none.
	sure int32
	sets []*candidates // those with a route before it, which more than the path decides on
}

const (
	recalls       = 64
	longestRecall = 256 // bytes of a path
)

// recalled returns what is kept of the request's path, after it has been kept if there is
// room for it; nil if it is not.
func (x *routeIndex) recalled(r *Request, path string) *recalled {
	if !r.GRPC || path == "" {
		return nil
	}
	if kept := x.recall.Load(); kept != nil {
		if one := kept[placeOf(path)].Load(); one != nil {
			if one.path == path {
				return one
			}
			return nil
		}
	}
	return x.keep(path)
}

// keep keeps what a path leads to, unless it is too long.
func (x *routeIndex) keep(path string) *recalled {
	if len(path) > longestRecall {
		return nil
	}
	one := &recalled{path: strings.Clone(path), sure: int32(len(x.matches))}
	sets := slices.Collect(x.sets(path))
	for _, c := range sets {
		for _, i := range c.list {
			if i < one.sure && x.matches[i].takes(path) {
				one.sure = i
			}
		}
	}
	for _, c := range sets {
		if c.before(one.sure) {
			one.sets = append(one.sets, c)
		}
	}
	x.recall.CompareAndSwap(nil, new(recall))
	x.recall.Load()[placeOf(path)].CompareAndSwap(nil, one)
	return one
}

// takes reports whether a match takes every gRPC call of a path that has its literal.
func (m *routeMatch) takes(path string) bool {
	if m.connect || m.fraction != nil || len(m.headers)+len(m.query)+len(m.cookies) > 0 {
		return false
	}
	return m.conditions(&Request{GRPC: true, Path: path}, path)
}

// before reports whether a route of the set comes before a place.
func (c *candidates) before(place int32) bool {
	if len(c.list) > 0 && c.list[0] < place {
		return true
	}
	return slices.ContainsFunc(c.keyed, func(k keyedCandidates) bool { return k.first < place })
}

// placeOf spreads paths, which are not empty, over the places by their length and a few of
// their last bytes, in which methods of one service differ.
func placeOf(path string) uint {
	n := uint(len(path))
	h := n*31 + uint(path[n-1])*7
	if n >= 10 {
		h += uint(path[n-6])*5 + uint(path[n-10])*3
	}
	return h % recalls
}
