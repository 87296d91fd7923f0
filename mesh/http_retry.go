package mesh

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resilience"
)

// httpTries makes the attempts of an HTTP request one after another.
type httpTries struct {
	x     *exchange
	view  *balancer.View
	req   *http.Request // as it is sent, within the call's context
	out   *http.Request // the attempt's
	bound *call.Bound
	resp  *http.Response
	err   error
}

// attempts sends a request whose policy may have it sent several times.
func (x *exchange) attempts(view *balancer.View, req *http.Request) (*http.Response, error) {
	if needsGuard(req) {
		var kept *replay
		x.call.Track(nil)
		req, kept = replayed(&x.call, req)
		defer kept.finish()
	}
	if x.call.Policy().Hedge != nil && x.call.Retriable() {
		return x.race(view, req)
	}
	ctx, bound := x.bound(req.Context(), req)
	return x.inTurn(view, req, x.number(ctx, req, 1), bound)
}

// inTurn sends a request in attempts one after another, of which out is the first, within
// bound.
func (x *exchange) inTurn(view *balancer.View, req, out *http.Request, bound *call.Bound) (*http.Response, error) {
	began := x.sampler.Clock()
	resp, err := x.try(view, out)
	hold(out)
	if err != nil || !x.call.Passes(resp.StatusCode, resp.Header, began) {
		return x.again(httpTries{x, view, req, out, bound, resp, err}, began)
	}
	if bound == nil {
		return resp, nil
	}
	return x.settle(out.Context(), bound, resp, nil)
}

// again makes the attempts that follow the first, if any do, which began at the time of
// sampler.Clock and came to what first says.
func (x *exchange) again(first httpTries, began time.Duration) (*http.Response, error) {
	if x.call.Policy() == nil {
		return first.resp, first.err
	}
	result := x.result(first.req, first.out, first.resp, first.err)
	if !x.call.Again(&result, began) {
		return x.settle(first.out.Context(), first.bound, first.resp, first.err)
	}
	t := new(first)
	x.call.Track(t)
	until, stop := untilCanceled(t.req)
	defer stop()
	if x.call.Retry(until, t, &result) == nil {
		return nil, until.Err()
	}
	return x.settle(t.out.Context(), t.bound, t.resp, t.err)
}

// settle makes the result of an attempt the exchange's.
func (x *exchange) settle(ctx context.Context, bound *call.Bound, resp *http.Response, err error) (*http.Response, error) {
	if bound == nil {
		return resp, err
	}
	if err != nil {
		defer bound.Stop()
		if why := call.TimedOut(ctx); why != nil {
			return nil, why
		}
		return nil, err
	}
	bound.Answered()
	x.stopping(bound.Stop)
	if bound.Bounds() && more(resp) {
		resp.Body = &boundBody{ReadCloser: resp.Body, bound: bound, ctx: ctx}
	}
	return resp, nil
}

// stopping has stop called when the exchange ends.
func (x *exchange) stopping(stop func()) {
	if cancel := x.cancel; cancel != nil {
		x.cancel = func() { stop(); cancel() }
		return
	}
	x.cancel = stop
}

// more reports whether there is a body yet to come.
func more(resp *http.Response) bool {
	_, upgraded := resp.Body.(io.Writer)
	return !upgraded && resp.Body != http.NoBody
}

// boundBody is the body of a response of which something has to come now and then.
type boundBody struct {
	io.ReadCloser
	bound *call.Bound
	ctx   context.Context // the attempt's
}

func (b *boundBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if why := cmp.Or(call.TimedOut(b.ctx), call.Exceeded(b.ctx)); err != nil && !errors.Is(err, io.EOF) && why != nil {
		err = why
	}
	b.bound.Progress()
	return n, err
}

// number returns the request as the n-th attempt sends it within ctx, which may be the
// request's own. Its body is the request's.
func (x *exchange) number(ctx context.Context, req *http.Request, n int) *http.Request {
	count, _ := x.call.CountsAttempts()
	if !count && ctx == req.Context() {
		return req
	}
	r := req.WithContext(ctx)
	if count {
		if r.Header = maps.Clone(req.Header); r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set(attemptCount.Canonical, strconv.Itoa(n))
	}
	return r
}

// Attempt implements call.Sender.
func (t *httpTries) Attempt(n int) call.Attempt {
	var ctx context.Context
	ctx, t.bound = t.x.bound(t.req.Context(), t.req)
	t.out = t.x.number(ctx, t.req, n)
	return t
}

// Send implements call.Attempt.
func (t *httpTries) Send() resilience.Result {
	out, err := renewed(t.out)
	if err != nil {
		t.err = err
		return resilience.Result{Kind: resilience.Refused}
	}
	t.out = out
	t.x.tried = nil                        // a backoff has passed
	t.resp, t.err = t.x.try(t.view, t.out) //nolint:bodyclose // Drop does, or the application
	hold(t.out)
	return t.x.result(t.req, t.out, t.resp, t.err)
}

// Drop implements call.Attempt.
func (t *httpTries) Drop() {
	abandon(t.out)
	t.x.drop(t.out.Context(), t.resp, t.err)
	t.bound.Stop()
}

// drop lets go of a response that is not the call's, and reports the outcome.
func (x *exchange) drop(ctx context.Context, resp *http.Response, err error) {
	if resp != nil {
		drain(resp)
	}
	x.call.Done(lost(ctx, resp, err))
	if x.conn != nil {
		x.conn.released()
	}
}

// lost is the outcome of an attempt within ctx that is not the call's.
func lost(ctx context.Context, resp *http.Response, err error) balancer.Outcome {
	switch {
	case resp != nil:
		return balancer.Outcome{Code: resp.StatusCode}
	case call.TimedOut(ctx) != nil:
		return balancer.Outcome{Err: context.DeadlineExceeded}
	default:
		return unanswered(ctx, err)
	}
}

// How much of a body that nobody wants is read, and for how long, so that its connection
// can be used again.
const (
	maxDrain  = 64 << 10
	drainTime = 50 * time.Millisecond
)

// drain does not wait for the request to have gone out, as closing an answer of HTTP/2 does:
// its body may have nothing to send before the call is answered.
func drain(resp *http.Response) {
	body := resp.Body
	timer := time.AfterFunc(drainTime, func() { _ = body.Close() })
	_, _ = io.CopyN(io.Discard, body, maxDrain)
	timer.Stop()
	if sent := resp.Request.Body; sent != nil && sent != http.NoBody {
		go body.Close()
		return
	}
	_ = body.Close()
}

// result is what came of an attempt that sent req as out.
func (x *exchange) result(req, out *http.Request, resp *http.Response, err error) resilience.Result {
	if err != nil {
		return x.failure(req.Context(), out.Context(), err)
	}
	upgraded := resp.StatusCode == http.StatusSwitchingProtocols // the request is over
	return resilience.Result{Status: resp.StatusCode, Headers: responseHeaders(resp.Header), Partial: upgraded}
}

// failure is the result of an attempt within ctx of a call within parent.
func (x *exchange) failure(parent, ctx context.Context, err error) resilience.Result {
	switch {
	case call.TimedOut(ctx) != nil:
		return resilience.Result{Kind: resilience.TimedOut}
	case parent.Err() != nil || ctx.Err() != nil:
		return resilience.Result{Kind: resilience.Canceled}
	case errors.As(err, new(bodyError)):
		return resilience.Result{Kind: resilience.Canceled}
	case errors.As(err, new(*call.Error)):
		return x.call.Unsent(err)
	case errors.Is(err, errBodySent):
		return resilience.Result{Kind: resilience.Refused}
	case errors.As(err, new(*connectError)):
		return resilience.Result{Kind: resilience.ConnectFailed, NotSent: true}
	}
	if errors.As(err, new(*refusedStreamError)) {
		return resilience.Result{Kind: resilience.RefusedStream}
	}
	return resilience.Result{Kind: resilience.Reset}
}

// responseHeaders shows retry conditions an answer.
type responseHeaders http.Header

func (h responseHeaders) Values(name string) []string { return http.Header(h).Values(name) }

func (h responseHeaders) Header(name string) (string, bool) {
	values := h[name]
	if len(values) == 0 {
		return "", false
	}
	return strings.Join(values, ","), true
}
