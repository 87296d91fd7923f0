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

// recalled is a path and the sets of candidates that it leads to.
type recalled struct {
	path string
	sets []*candidates
}

const (
	recalls       = 64
	longestRecall = 256 // bytes of a path
)

// recalled returns what is kept of the request's path, after it has been kept if there is
// room for it; nil if it is not.
func (x *routeIndex) recalled(r *Request, path string) *recalled {
	if !r.GRPC || path == "" || len(path) > longestRecall {
		return nil
	}
	kept := x.recall.Load()
	if kept == nil {
		x.recall.CompareAndSwap(nil, new(recall))
		kept = x.recall.Load()
	}
	place := &kept[placeOf(path)]
	one := place.Load()
	if one == nil {
		one = &recalled{strings.Clone(path), slices.Collect(x.sets(path))}
		place.Store(one)
	}
	if one.path != path {
		return nil
	}
	return one
}

// placeOf spreads paths over the places by a few of their bytes: methods of one service
// differ at the end.
func placeOf(path string) uint {
	n := uint(len(path))
	h := n*31 + uint(path[n-1])
	h = h*31 + uint(path[n*3/4])
	h = h*31 + uint(path[n/2])
	return h % recalls
}
