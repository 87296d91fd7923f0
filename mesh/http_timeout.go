package mesh

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"

	"github.com/weft-mesh/weft/mesh/internal/call"
)

// limits is what policy allows an HTTP call beyond a deadline.
type limits struct {
	ctx  context.Context
	idle *call.Bound // nil for none
}

// limited returns the request within what policy allows the call, and what of that is not
// a deadline; nil for nothing.
func (x *exchange) limited(req *http.Request) (*http.Request, *limits) {
	ctx := req.Context()
	whole, sinceSent := x.call.Timeout(), x.call.TimeoutSinceSent()
	late := sinceSent > 0 && uploads(req)
	if late {
		whole = x.call.StreamDuration()
	}
	if whole > 0 {
		within, cancel := context.WithTimeout(ctx, whole)
		x.stopping(cancel)
		ctx = within
	}
	if late {
		var b *call.Bound
		ctx, b = x.call.TimeoutOnceSent(ctx, sinceSent)
		ctx = tellSent(ctx, b.Sent)
		x.stopping(b.Stop)
	}
	ctx, idle := x.call.Idle(ctx)
	if ctx == req.Context() {
		return req, nil
	}
	out := req.WithContext(ctx)
	if idle == nil && !late {
		return out, nil
	}
	if idle != nil {
		x.stopping(idle.Stop)
		moving(out, idle)
	}
	return out, &limits{ctx, idle}
}

// answered returns what the application gets of a call within l.
func (l *limits) answered(resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		if why := call.Exceeded(l.ctx); why != nil {
			err = why
		}
		return resp, err
	}
	l.idle.Progress()
	if more(resp) {
		resp.Body = &boundBody{ReadCloser: resp.Body, bound: l.idle, ctx: l.ctx}
	}
	return resp, nil
}

// uploads reports whether it may take a while to send the request. Envoy counts a route's
// timeout, and that of an attempt, from the end of the request; of one that is short that
// is when it begins.
func uploads(req *http.Request) bool {
	const short = 64 << 10
	return req.Body != nil && req.Body != http.NoBody && (req.ContentLength <= 0 || req.ContentLength > short)
}

// tellSent has sent called when a request within ctx has gone out.
func tellSent(ctx context.Context, sent func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			sent()
		}
	}})
}

// bound bounds an attempt that sends the request within ctx.
func (x *exchange) bound(ctx context.Context, req *http.Request) (context.Context, *call.Bound) {
	ctx, b := x.call.Bound(ctx, !uploads(req))
	if b.WaitsForSent() {
		ctx = tellSent(ctx, b.Sent)
	}
	return ctx, b
}

// moving has b know of what goes out of the body of a request, which is changed.
func moving(req *http.Request, b *call.Bound) {
	if req.Body == nil || req.Body == http.NoBody {
		return
	}
	req.Body = &movingBody{req.Body, b}
	if get := req.GetBody; get != nil {
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := get()
			if err != nil {
				return nil, err
			}
			return &movingBody{body, b}, nil
		}
	}
}

// movingBody is the body of a request that has to go out bit by bit.
type movingBody struct {
	io.ReadCloser
	bound *call.Bound
}

func (b *movingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bound.Progress()
	return n, err
}
