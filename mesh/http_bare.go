package mesh

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// bareRequest follows a request without a body, which net/http can always send again. It
// asks for a connection each time, and says so.
type bareRequest struct {
	*http.Request // what net/http was given
	trace         httptrace.ClientTrace
	conns         int         // that net/http got for it
	sent          atomic.Bool // its headers are
}

func newBareRequest() *bareRequest {
	b := &bareRequest{}
	b.trace.GotConn, b.trace.WroteHeaders = b.gotConn, b.wroteHeaders
	return b
}

func (b *bareRequest) gotConn(httptrace.GotConnInfo) {
	b.conns++
	if b.sent.Load() {
		// What RoundTrip was given, before it is looked at for the next time.
		*b.Request = *b.WithContext(endedContext{b.Context()})
	}
}

func (b *bareRequest) wroteHeaders() { b.sent.Store(true) }

// over reports whether net/http tells no more of the request: it was sent once, and that was
// told.
func (b *bareRequest) over() bool { return b.conns == 1 && b.sent.Load() }

// onceBare sends a request without a body once.
func (x *exchange) onceBare(p *pool, req *http.Request) (*http.Response, error) {
	b := x.bare
	switch traced := httptrace.ContextClientTrace(req.Context()) != nil; {
	case traced: // what it tells becomes one with b's
		b = newBareRequest()
	case b == nil || !b.over():
		b = newBareRequest()
		x.bare = b
	}
	b.conns = 0
	b.sent.Store(false)
	b.Request = req.WithContext(httptrace.WithClientTrace(req.Context(), &b.trace))
	resp, err := p.RoundTrip(b.Request)
	b.Request = nil
	if err == nil || !b.sent.Load() {
		return resp, err
	}
	if errors.Is(err, errSentAgain) || errors.As(err, new(*connectError)) || errors.As(err, new(*crowdedError)) {
		// A connection is what it needed to be sent again.
		return nil, &refusedStreamError{"REFUSED_STREAM or GOAWAY"}
	}
	return nil, refusal(err)
}

var errSentAgain = errors.New("weft: net/http would send the request again")

var closedChannel = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// endedContext keeps a request from being sent.
type endedContext struct{ context.Context }

func (endedContext) Done() <-chan struct{} { return closedChannel }
func (endedContext) Err() error            { return errSentAgain }
