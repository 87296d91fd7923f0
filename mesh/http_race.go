package mesh

import (
	"context"
	"net/http"
	"sync"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resilience"
)

// httpRacer is one attempt of a hedged HTTP request.
type httpRacer struct {
	exchange
	req   *http.Request // as it is sent, within the call's context
	view  *balancer.View
	out   *http.Request
	bound *call.Bound
	stop  context.CancelFunc
	sent  func() // says that Send has returned
	resp  *http.Response
	err   error
}

// race sends the request as several attempts, perhaps at the same time. Once it is answered
// the application may change the request and reuse the memory of its body, whatever is left
// of attempts: they have headers of their own, and a body that can be had again is waited
// for. One that cannot is read until it is closed.
func (x *exchange) race(view *balancer.View, req *http.Request) (*http.Response, error) {
	var sending sync.WaitGroup
	if _, streamed := req.Body.(*replayReader); !streamed {
		defer sending.Wait()
	}
	req = apartFrom(req)
	until, stop := untilCanceled(req)
	defer stop()
	late := uploads(req)
	winner := x.call.Race(until, late, func(n int, gone func()) call.Racer {
		w := &httpRacer{exchange: exchange{call: x.call.Fork()}, req: req, view: view, sent: sending.Done}
		sending.Add(1)
		ctx, stop := context.WithCancel(req.Context())
		ctx, w.bound = x.bound(ctx, req)
		if late {
			ctx = tellSent(ctx, gone)
		}
		w.stop = stop
		w.out = x.number(ctx, req, n)
		if n > 1 { // the first has the request's body
			if out, err := renewed(w.out); err != nil {
				w.err, w.out.Body = err, nil
			} else {
				w.out = out
			}
		}
		return w
	})
	if winner == nil {
		return nil, until.Err()
	}
	w := winner.(*httpRacer)
	if w.err != nil {
		defer w.Drop()
		if why := call.TimedOut(w.out.Context()); why != nil {
			return nil, why
		}
		return nil, w.err
	}
	x.call.Adopt(&w.call)
	x.conn = w.conn
	x.stopping(w.stop)
	w.end(balancer.Outcome{})
	return x.settle(w.out.Context(), w.bound, w.resp, nil)
}

// apartFrom returns a copy of req that the application does not change.
func apartFrom(req *http.Request) *http.Request {
	r, u := *req, *req.URL
	r.URL = &u
	r.Header = req.Header.Clone()
	return &r
}

// Send implements call.Attempt.
func (w *httpRacer) Send() resilience.Result {
	defer w.sent()
	if w.err != nil { // the body cannot be had again
		w.call.Commit()
		return resilience.Result{Kind: resilience.Refused}
	}
	w.resp, w.err = w.try(w.view, w.out) //nolint:bodyclose // Drop does, or the application
	hold(w.out)
	return w.result(w.req, w.out, w.resp, w.err)
}

// Drop implements call.Attempt. It does not wait for what is left of an answer: another
// attempt may have the call's.
func (w *httpRacer) Drop() {
	w.call.Done(lost(w.out.Context(), w.resp, w.err))
	if w.resp == nil {
		w.over()
		return
	}
	go func() {
		drain(w.resp)
		w.over()
	}()
}

// over ends an attempt that is not the call's.
func (w *httpRacer) over() {
	w.end(balancer.Outcome{})
	w.bound.Stop()
	w.stop()
}

// Cancel implements call.Racer.
func (w *httpRacer) Cancel() {
	w.stop()
	abandon(w.out)
}
