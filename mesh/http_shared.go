package mesh

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sharedLines are the HTTP/2 connections of a pool, as lines are those of HTTP/1.1. A request
// takes the first that has a stream for it. If none has, one further connection is made for all
// that wait. Idle connections are closed by net/http.
//
// An http.Transport sends a request again that a server refused. Here that is policy's to say:
// only where it says nothing of retries is it done as there. What never got as far as a stream
// goes over another line in any case.
type sharedLines struct {
	pool *pool
	all  atomic.Pointer[[]*sharedLine] // never nil; the list is not changed

	mu     sync.Mutex
	making *making // the connection that is being made, if any
}

// sharedLine is a connection.
type sharedLine struct {
	*http.ClientConn
	of   *sharedLines
	wire *wire
	// How many requests have the line, whose responses have not ended; and whether it is closed
	// when none has.
	users   atomic.Int64
	retired atomic.Bool
}

// making is a connection that is being made.
type making struct {
	done chan struct{}
	err  error // if done
}

func newSharedLines(p *pool) *sharedLines {
	ls := &sharedLines{pool: p}
	ls.all.Store(new([]*sharedLine))
	return ls
}

// maxMoves bounds how often a request is given another connection because the last had just
// become unusable.
const maxMoves = 8

// roundTrip sends a request over a line.
func (ls *sharedLines) roundTrip(x *exchange, req *http.Request) (*http.Response, error) {
	refused := 0
	for moves := 0; ; {
		l, err := ls.take(req)
		if err != nil {
			closeUnsent(req)
			return nil, err
		}
		var out *http.Request
		var sole *soleRequest
		if x.call.Policy() != nil {
			sole = x.soleRequest(req, req)
		}
		if sole != nil {
			out = &sole.Request
		} else {
			out = closingOnce(req)
		}
		resp, err := l.RoundTrip(out)
		if err == nil {
			if sole != nil {
				sole.body.settle(resp)
			}
			l.follow(x, resp)
			return resp, nil
		}
		l.leave()
		if sole != nil {
			sole.body.end()
		} else {
			closeUnsent(out)
		}
		switch {
		case err.Error() == unusable && moves < maxMoves:
			moves++
		case x.call.Policy() == nil && refuses(err) && refused < maxRefusals:
			if refused++; !pauseRefused(req.Context(), refused) {
				return nil, err
			}
		default:
			return nil, refusal(err)
		}
		again, failed := rewind(req)
		if failed != nil {
			return nil, refusal(err)
		}
		req = again
	}
}

// How often a request that a server refused is sent again where policy says nothing of
// retries: as http.Transport does it.
const maxRefusals = 6

// pauseRefused waits before a request is sent for the n-th time again; false if its context ends.
func pauseRefused(ctx context.Context, n int) bool {
	if n == 1 {
		return true
	}
	backoff := float64(uint(1) << (n - 2))
	timer := time.NewTimer(time.Duration(float64(time.Second) * backoff * (1 + 0.1*rand.Float64())))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// take returns a line that has a stream for a request.
func (ls *sharedLines) take(req *http.Request) (*sharedLine, error) {
	ctx := req.Context()
	if ctx.Done() != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(hostPort(req))
	}
	for reused := true; ; reused = false {
		for _, l := range *ls.all.Load() {
			if !l.reserve() {
				continue
			}
			if trace != nil && trace.GotConn != nil {
				trace.GotConn(httptrace.GotConnInfo{Conn: l.wire, Reused: reused})
			}
			return l, nil
		}
		if err := ls.await(req); err != nil {
			return nil, err
		}
	}
}

// await waits for a connection to be made.
func (ls *sharedLines) await(req *http.Request) error {
	leave, err := ls.pool.owner.pend()
	if err != nil {
		return err
	}
	defer leave()
	ctx := req.Context()
	m := ls.open(ctx)
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-req.Cancel: //nolint:staticcheck // http.Client sets it for its Timeout
		return errRequestCanceled
	}
}

// open has a connection made, if none is being made.
func (ls *sharedLines) open(ctx context.Context) *making {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.making == nil {
		ls.making = &making{done: make(chan struct{})}
		go ls.make(context.WithoutCancel(ctx), ls.making)
	}
	return ls.making
}

func (ls *sharedLines) make(ctx context.Context, m *making) {
	l := &sharedLine{of: ls}
	dialed := &dialing{shared: true, made: func(w *wire) { l.wire, w.gone = w, l.forget }}
	cc, err := ls.pool.NewClientConn(context.WithValue(ctx, dialingKey{}, dialed), "http", anyAddress)
	l.ClientConn, m.err = cc, err
	ls.mu.Lock()
	defer close(m.done)
	defer ls.mu.Unlock()
	ls.making = nil
	if err == nil {
		list := append(slices.Clip(*ls.all.Load()), l)
		ls.all.Store(&list)
		if l.wire.closed.Load() {
			ls.remove(l)
		}
		if ls.pool.owner.closed.Load() {
			time.AfterFunc(time.Second, ls.closeIdle) // who waits has it first
		}
	}
}

// reserve takes the line for a request if it has a stream for it.
func (l *sharedLine) reserve() bool {
	l.users.Add(1)
	if l.retired.Load() || l.Reserve() != nil {
		l.leave()
		return false
	}
	return true
}

// leave ends a request's hold on the line.
func (l *sharedLine) leave() {
	if l.users.Add(-1) == 0 && l.retired.Load() {
		_ = l.Close()
	}
}

// forget drops a line whose connection is closed.
func (l *sharedLine) forget() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.of.remove(l)
}

// remove takes a line out of the list. The caller holds ls.mu.
func (ls *sharedLines) remove(l *sharedLine) {
	list := *ls.all.Load()
	if i := slices.Index(list, l); i >= 0 {
		list = slices.Concat(list[:i], list[i+1:])
		ls.all.Store(&list)
	}
}

// closeIdle closes the lines that no request uses.
func (ls *sharedLines) closeIdle() {
	for _, l := range *ls.all.Load() {
		if l.users.Load() > 0 {
			continue
		}
		l.users.Add(1)
		l.retired.Store(true) // who reserves it meanwhile has it until the end of the response
		l.forget()
		l.leave()
	}
}

// follow arranges for the line to be left with the end of a response.
func (l *sharedLine) follow(x *exchange, resp *http.Response) {
	if resp.Body == http.NoBody {
		l.leave()
		return
	}
	lend(x, resp, l)
}

// How net/http says that a connection takes no more requests, and that a server went away
// before it has looked at one. None of it can be told by errors.Is; TestRefusedStreams fails
// if it changes.
const (
	unusable = "http2: client conn not usable"
	leaving  = "http2: Transport received Server's graceful shutdown GOAWAY"
)

// refuses reports whether a server says that it has not looked at a request, or perhaps that it
// thinks badly of the connection.
func refuses(err error) bool {
	return errors.As(refusal(err), new(*refusedStreamError)) && !strings.HasPrefix(err.Error(), goneAway) ||
		strings.HasPrefix(err.Error(), "stream error: ") && strings.HasSuffix(err.Error(), "; PROTOCOL_ERROR; received from peer")
}
