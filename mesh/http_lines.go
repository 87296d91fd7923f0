package mesh

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lines are the HTTP/1.1 connections of a pool. An http.Transport finds out for each request
// where it goes and who has a connection there, and has to be able to send it elsewhere again;
// here all of that is decided already. So connections are made by the pool's http.Transport
// and kept here, each an http.ClientConn, which costs a call less than going by the transport.
//
// What they do is what an http.Transport does. The line that was used last is used first. A
// request that finds none has one made, and takes that or any other that is free earlier;
// the one that is made serves others then. Lines are closed when they were idle for
// IdleConnTimeout, and when more are idle than MaxIdleConnsPerHost and MaxIdleConns allow.
type lines struct {
	pool *pool
	max  int           // idle ones; 0 for any number
	rest time.Duration // how long they are kept; 0 for ever

	wary atomic.Int32 // so many requests get contexts of their own, see within

	mu      sync.Mutex
	idle    []*line    // in the order in which they became that
	waiting []*lineFor // in the order in which they came
	closing bool       // those that become idle, until the next request
	sweep   *time.Timer
}

// line is a connection. It has one owner at a time: lines, or a request.
type line struct {
	*http.ClientConn
	of    *lines
	wire  *wire
	since time.Time // when it became idle, if that matters
	used  bool      // the server may have closed it: it was put
}

// lineFor is a request that waits for a line.
type lineFor struct {
	got  chan lineOrError // of one
	wait connWait         // ends when it waits no more
}

type lineOrError struct {
	line *line
	err  error
}

func newLines(p *pool) *lines {
	ls := &lines{pool: p, rest: p.IdleConnTimeout, max: p.MaxIdleConnsPerHost}
	if n := p.MaxIdleConns; n > 0 && (ls.max == 0 || n < ls.max) {
		ls.max = n
	}
	return ls
}

// roundTrip sends a request over a line, and again over another if the server had closed the
// first before it saw the request, as far as can be told, and that is safe: see
// [http.Transport].
func (ls *lines) roundTrip(x *exchange, req *http.Request) (*http.Response, error) {
	for {
		ctx := req.Context()
		l, err := ls.take(ctx, req)
		if err != nil {
			closeUnsent(req)
			return nil, err
		}
		reused, sent, got := l.used, l.wire.sent.Load(), l.wire.got.Load()
		out, cancel := ls.within(ctx, closingOnce(req))
		resp, err := l.RoundTrip(out)
		if err == nil {
			l.follow(x, resp, cancel)
			return resp, nil
		}
		l.leave()
		ls.failed(ctx, cancel)
		closeUnsent(out)
		unsent, unanswered := l.wire.sent.Load() == sent, l.wire.got.Load() == got
		if !reused || !unanswered || !unsent && !replayable(req) || ctx.Err() != nil || !l.wire.closed.Load() || isTimeout(err) {
			return nil, plainly(err)
		}
		again, failed := rewind(req)
		if failed != nil {
			return nil, plainly(err)
		}
		req = again
	}
}

// A ClientConn of Go 1.26 that fails a request of HTTP/1.1 leaves behind, in what the request's
// context holds, a context that is never canceled. Where that one lives for long and connections
// fail all the time, memory would be lost: so after a failure requests get a context in between
// for a while, which costs more than the rest of this.

const waryFor = 1000 // requests

func (ls *lines) within(ctx context.Context, req *http.Request) (*http.Request, context.CancelFunc) {
	switch {
	case ctx.Done() == nil:
		if req.Cancel == nil { //nolint:staticcheck // which has net/http start a goroutine for as long
			return req, nil
		}
	case ls.wary.Load() <= 0:
		return req, nil
	default:
		ls.wary.Add(-1)
	}
	own, cancel := context.WithCancel(ctx)
	return req.WithContext(own), cancel
}

func (ls *lines) failed(ctx context.Context, cancel context.CancelFunc) {
	if cancel != nil {
		cancel()
	}
	if ctx.Done() != nil && ctx.Err() == nil {
		ls.wary.Store(waryFor)
	}
}

// replayable is what [http.Transport] calls a request that may be sent twice.
func replayable(req *http.Request) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error) //nolint:errorlint // net/http's own
	return ok && t.Timeout()
}

// plainly is the error of an [http.ClientConn] as an [http.Transport] has it.
func plainly(err error) error {
	if strings.HasPrefix(err.Error(), "net/http: Transport failed to read from server: ") {
		if e, ok := err.(interface{ Unwrap() error }); ok {
			return e.Unwrap()
		}
	}
	return err
}

// take returns a line for a request.
func (ls *lines) take(ctx context.Context, req *http.Request) (*line, error) {
	if ctx.Done() != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(hostPort(req))
	}
	ls.mu.Lock()
	ls.closing = false
	l := ls.pop()
	if l == nil {
		w := &lineFor{got: make(chan lineOrError, 1), wait: connWait{done: make(chan struct{})}}
		ls.waiting = append(ls.waiting, w)
		ls.mu.Unlock()
		go ls.open(ctx, w)
		var err error
		if l, err = ls.await(ctx, req, w); err != nil {
			return nil, err
		}
	} else {
		ls.mu.Unlock()
	}
	if trace != nil && trace.GotConn != nil {
		info := httptrace.GotConnInfo{Conn: l.wire, Reused: l.used, WasIdle: l.used}
		if !l.since.IsZero() {
			info.IdleTime = time.Since(l.since)
		}
		trace.GotConn(info)
	}
	return l, nil
}

// pop takes the line that became idle last.
func (ls *lines) pop() *line {
	n := len(ls.idle)
	if n == 0 {
		return nil
	}
	l := ls.idle[n-1]
	ls.idle[n-1] = nil
	ls.idle = ls.idle[:n-1]
	return l
}

// await waits for a line within a request's context.
func (ls *lines) await(ctx context.Context, req *http.Request, w *lineFor) (*line, error) {
	var err error
	select {
	case got := <-w.got:
		return got.line, got.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-req.Cancel: //nolint:staticcheck // http.Client sets it for its Timeout
		err = errRequestCanceled
	}
	if !ls.leaves(w) {
		if got := <-w.got; got.line != nil { // just now
			got.line.put()
		}
	}
	w.wait.end()
	return nil, err
}

// leaves reports whether w is still among those that wait, which it then is no more.
func (ls *lines) leaves(w *lineFor) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	i := slices.Index(ls.waiting, w)
	if i >= 0 {
		ls.waiting = slices.Delete(ls.waiting, i, i+1)
	}
	return i >= 0
}

// open makes a line, for a request that waits or for any other. It outlasts the request, unless
// there may be no further connection.
func (ls *lines) open(ctx context.Context, w *lineFor) {
	ctx = context.WithValue(context.WithoutCancel(ctx), connWaitKey{}, &w.wait)
	l := &line{of: ls}
	dialed := &dialing{made: func(w *wire) { l.wire, w.gone = w, func() { ls.forget(l) } }}
	cc, err := ls.pool.NewClientConn(context.WithValue(ctx, dialingKey{}, dialed), "http", anyAddress)
	switch waits := ls.leaves(w); {
	case waits && err != nil:
		w.got <- lineOrError{err: err}
	case err != nil: // and nobody wants to know
	case waits:
		l.ClientConn = cc
		w.got <- lineOrError{line: l}
	default:
		l.ClientConn = cc
		l.put()
	}
}

// put gives the line to the request that has waited longest, or keeps it.
func (l *line) put() {
	ls := l.of
	l.used = true // it may be old by then
	ls.mu.Lock()
	if len(ls.waiting) > 0 && !l.wire.closed.Load() {
		w := ls.waiting[0]
		ls.waiting = slices.Delete(ls.waiting, 0, 1)
		ls.mu.Unlock()
		w.got <- lineOrError{line: l}
		w.wait.end()
		return
	}
	keep := !ls.closing && !ls.pool.owner.closed.Load() && !l.wire.closed.Load() && (ls.max == 0 || len(ls.idle) < ls.max)
	if keep {
		if ls.rest > 0 {
			l.since = time.Now()
			if ls.sweep == nil {
				ls.sweep = time.AfterFunc(ls.rest, ls.closeRested)
			}
		}
		ls.idle = append(ls.idle, l)
	}
	ls.mu.Unlock()
	if !keep {
		_ = l.Close()
	}
}

// leave ends a request's hold on the line, which is kept if it can serve another.
func (l *line) leave() {
	if l.Available() > 0 {
		l.put()
	} else {
		_ = l.Close()
	}
}

// closeRested closes the lines that were idle for long enough.
func (ls *lines) closeRested() {
	ls.mu.Lock()
	n := 0
	for n < len(ls.idle) && time.Since(ls.idle[n].since) >= ls.rest {
		n++
	}
	rested := slices.Clone(ls.idle[:n])
	ls.idle = slices.Delete(ls.idle, 0, n)
	if ls.sweep = nil; len(ls.idle) > 0 {
		ls.sweep = time.AfterFunc(ls.rest-time.Since(ls.idle[0].since), ls.closeRested)
	}
	ls.mu.Unlock()
	for _, l := range rested {
		_ = l.Close()
	}
}

// closeIdle closes the lines that no request uses, and those that are in use when they are no
// more, unless there is another request until then.
func (ls *lines) closeIdle() {
	ls.mu.Lock()
	ls.closing = true
	idle := ls.idle
	ls.idle = nil
	if ls.sweep != nil {
		ls.sweep.Stop()
		ls.sweep = nil
	}
	ls.mu.Unlock()
	for _, l := range idle {
		_ = l.Close()
	}
}

// forget drops a line whose connection is closed.
func (ls *lines) forget(l *line) {
	ls.mu.Lock()
	if i := slices.Index(ls.idle, l); i >= 0 {
		ls.idle = slices.Delete(ls.idle, i, i+1)
	}
	ls.mu.Unlock()
}

// follow arranges for the line to be left, and the request's context to be let go of, with the
// end of a response.
func (l *line) follow(x *exchange, resp *http.Response, cancel context.CancelFunc) {
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols: // the connection is the caller's
	case resp.Body == http.NoBody:
		l.leave()
	default:
		b := lend(x, resp, l)
		b.cancel = cancel
		return
	}
	if cancel != nil {
		cancel()
	}
}

// speaksHTTP1 reports whether requests of an http URL go by HTTP/1.1: base may say that they go
// by HTTP/2.
func (p *pool) speaksHTTP1() bool {
	return p.Protocols == nil || p.Protocols.HTTP1() && !p.Protocols.UnencryptedHTTP2()
}
