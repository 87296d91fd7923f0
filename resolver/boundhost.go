package resolver

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
)

// boundHost is a virtual host with its routes as a table has them.
type boundHost struct {
	*virtualHost
	bound        []*Route
	ignoreParams bool                   // the route configuration's
	recall       atomic.Pointer[recall] // nil before the first request
}

// route returns the first route that matches a request, or nil. The request's path is escaped
// if it was not.
func (h *boundHost) route(r *Request) *Route {
	path := r.Path
	if h.ignoreParams {
		path = withoutParams(r.escape())
	}
	kept := h.recall.Load()
	if kept == nil {
		h.recall.CompareAndSwap(nil, new(recall))
		kept = h.recall.Load()
	}
	place := kept.placeOf(path)
	known := place.Load()
	if known == nil || known.path != path {
		return h.search(r, path, place)
	}
	r.Unescaped = false // Path is the same escaped
	best := known.sureAt
	for _, c := range known.sets {
		best = h.index.first(c, best, r, path)
	}
	if best == known.sureAt {
		return known.sure
	}
	return h.bound[best]
}

// search is route for a path that is not kept at its place, which it may then be.
func (h *boundHost) search(r *Request, path string, place *atomic.Pointer[recalled]) *Route {
	if r.Unescaped {
		path = r.escape() // not kept if that changes it: the place is then of no account
	}
	best := h.index.find(r, path)
	if place.Load() == nil || rand.Uint32()%recallTurns == 0 {
		h.keep(place, path)
	}
	if int(best) == len(h.bound) {
		return nil
	}
	return h.bound[best]
}

func withoutParams(path string) string {
	path, _, _ = strings.Cut(path, ";")
	return path
}
