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

// remember returns the recall, which is made for the first request.
func (h *boundHost) remember() *recall {
	h.recall.CompareAndSwap(nil, new(recall))
	return h.recall.Load()
}

// among returns the route of a request for a path that is kept, or nil.
func (h *boundHost) among(known *recalled, r *Request, path string) *Route {
	best := known.sureAt
	for _, c := range known.sets {
		best = h.index.first(c, best, r, path)
	}
	return h.at(best)
}

// search returns the route of a request for a path that is not kept at its place, which it may
// then be; nil if there is none.
func (h *boundHost) search(r *Request, path string, place *atomic.Pointer[recalled]) *Route {
	if r.Unescaped {
		path = r.escape() // not kept if that changes it: the place is then of no account
	}
	best := h.index.find(r, path)
	if place.Load() == nil || rand.Uint32()%recallTurns == 0 {
		h.keep(place, path)
	}
	return h.at(best)
}

// at returns the route at a place, or nil.
func (h *boundHost) at(place int32) *Route {
	if int(place) == len(h.bound) {
		return nil
	}
	return h.bound[place]
}

func withoutParams(path string) string {
	path, _, _ = strings.Cut(path, ";")
	return path
}
