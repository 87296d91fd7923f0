package grpclb

import (
	"sync"

	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
)

// watcher is a PickResult.Done that is used again, so that watching a call allocates
// nothing.
type watcher struct {
	call Call
	link *balancer.Link // nil if loads that answers report are of no use
	done func(gbalancer.DoneInfo)
}

var watchers sync.Pool

// watch returns a function for PickResult.Done, which grpc calls once.
func watch(c Call, l *balancer.Link) func(gbalancer.DoneInfo) {
	w, ok := watchers.Get().(*watcher)
	if !ok {
		w = newWatcher()
	}
	if w.call = c; l.WantsLoad() {
		w.link = l
	}
	return w.done
}

func newWatcher() *watcher {
	w := new(watcher)
	w.done = func(info gbalancer.DoneInfo) {
		call, link := w.call, w.link
		w.call, w.link = nil, nil
		watchers.Put(w)
		if link != nil {
			reportLoad(link, info.ServerLoad)
		}
		if mayHaveFailed(info) {
			call.Failed(info)
		}
	}
	return w
}

// mayHaveFailed is false for attempts that succeeded, and for those whose answer had begun,
// which nothing has tried again. grpc leaves out the error of one whose answer came before
// its request was sent.
func mayHaveFailed(info gbalancer.DoneInfo) bool {
	return !info.BytesReceived || len(info.Trailer) > 0 && TrailersOnly(info.Trailer)
}

// TrailersOnly reports whether a trailer is the one block of headers of an answer without
// any message, where the content type is.
func TrailersOnly(trailer metadata.MD) bool { return len(trailer["content-type"]) > 0 }
