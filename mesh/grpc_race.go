package mesh

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/internal/message"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resilience"
)

// racer is one attempt of a hedged unary RPC. What grpc fills in is its own, so that attempts
// do not write to the same place; the winner's is handed over.
type racer struct {
	rpc
	ended
	invocation
	parent context.Context // the call's
	stop   context.CancelFunc
	bound  *call.Bound
	sent   func() // says that Send has returned
	err    error

	header, trailer metadata.MD
	peer            peer.Peer
}

// race makes the attempts, several at a time. It waits for those that it cancels, because
// they may have yet to marshal the request, which is the application's again then.
func (r *rpc) race(in invocation) error {
	var sending sync.WaitGroup
	defer sending.Wait()
	winner := r.call.Race(r.Context, false, func(n int, _ func()) call.Racer {
		sending.Add(1)
		w := r.racer(in, n)
		w.sent = sending.Done
		return w
	})
	if winner == nil {
		return contextError(r.Context)
	}
	w := winner.(*racer)
	w.handOver(in)
	w.Drop()
	return w.explain(w.err)
}

// racer returns the n-th attempt.
func (r *rpc) racer(in invocation, n int) *racer {
	w := &racer{rpc: rpc{call: r.call.Fork(), changed: r.changed}, invocation: in, parent: r.Context}
	ctx, stop := context.WithCancel(r.Context)
	bounded, bound := r.call.Bound(ctx, true)
	w.lb.Init(w, &w.call.Attempt)
	w.stop, w.bound = stop, bound
	w.Context = r.number(bounded, n)
	w.reply = message.New(in.reply)
	w.opts = make([]grpc.CallOption, len(in.opts))
	for i, o := range in.opts {
		switch o.(type) {
		case grpc.HeaderCallOption:
			o = grpc.Header(&w.header)
		case grpc.TrailerCallOption:
			o = grpc.Trailer(&w.trailer)
		case grpc.PeerCallOption:
			o = grpc.Peer(&w.peer)
		}
		w.opts[i] = o
	}
	return w
}

// Pick is of a grpclb.Caller.
func (w *racer) Pick(v *balancer.View) (*balancer.Link, string, error) {
	w.ended = ended{}
	return w.rpc.Pick(v)
}

// Failed takes what grpc knows of the attempt.
func (w *racer) Failed(info gbalancer.DoneInfo) { w.saw(info) }

// Send implements call.Attempt.
func (w *racer) Send() resilience.Result {
	defer w.sent()
	w.err = w.try(w)
	result := w.result(w.parent, w.err, &w.ended)
	if result.Kind == resilience.TimedOut {
		w.err = timedOut(w.Context)
	}
	return result
}

// Drop implements call.Attempt.
func (w *racer) Drop() {
	w.end(w.outcome(w.err))
	w.bound.Stop()
	w.stop()
}

// Cancel implements call.Racer.
func (w *racer) Cancel() { w.stop() }

// handOver gives the caller what the attempt was given.
func (w *racer) handOver(to invocation) {
	if w.err == nil {
		message.Give(to.reply, w.reply)
	}
	for _, o := range to.opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = w.header.Copy()
		case grpc.TrailerCallOption:
			*o.TrailerAddr = w.trailer.Copy()
		case grpc.PeerCallOption:
			*o.PeerAddr = w.peer
		}
	}
}
