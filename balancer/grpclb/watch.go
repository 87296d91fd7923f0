package grpclb

import (
	"sync"

	gbalancer "google.golang.org/grpc/balancer"

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
		w = new(watcher)
		w.done = w.finished
	}
	if w.call = c; l.WantsLoad() {
		w.link = l
	}
	return w.done
}

func (w *watcher) finished(info gbalancer.DoneInfo) {
	call, link := w.call, w.link
	w.call, w.link = nil, nil
	watchers.Put(w)
	if link != nil {
		reportLoad(link, info.ServerLoad)
	}
	call.Finished(info)
}
