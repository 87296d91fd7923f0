package grpclb

import (
	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
)

// Watcher watches the attempts of a call, one at a time. The zero value is ready, and one
// that serves call after call allocates nothing for the later ones.
type Watcher struct {
	call Call           // nil while there is nothing to watch
	link *balancer.Link // nil if loads that answers report are of no use
	done func(gbalancer.DoneInfo)
}

// Idle reports whether grpc is finished with all that was watched.
func (w *Watcher) Idle() bool { return w.call == nil }

// watch returns a function for PickResult.Done, which grpc calls once.
func (w *Watcher) watch(c Call, l *balancer.Link) func(gbalancer.DoneInfo) {
	if w.done == nil {
		w.begin()
	}
	if w.call = c; l.WantsLoad() {
		w.link = l
	}
	return w.done
}

func (w *Watcher) begin() {
	w.done = func(info gbalancer.DoneInfo) {
		call := w.call
		w.call = nil
		if w.link != nil {
			reportLoad(w.link, info.Trailer)
			w.link = nil
		}
		// Whatever its error, an attempt whose answer had begun is not tried again. grpc leaves
		// out the error of one whose answer came before its request was sent.
		if !info.BytesReceived || len(info.Trailer) > 0 && TrailersOnly(info.Trailer) {
			call.Failed(info)
		}
	}
}

// TrailersOnly reports whether a trailer is the one block of headers of an answer without
// any message, where the content type is.
func TrailersOnly(trailer metadata.MD) bool { return len(trailer["content-type"]) > 0 }
