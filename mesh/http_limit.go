package mesh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"

	"github.com/weft-mesh/weft/resilience"
)

// connCount is a place among the connections of a cluster. A connection pool serves calls
// of every priority, so that connections, and requests that wait for one, are counted at
// default priority.
type connCount struct {
	limits *resilience.Limits
	of     *endpointConn
	vacant chan<- struct{}
	once   sync.Once
}

// crowdedError refuses a connection because there are as many as there may be. Who asked
// for it can wait for one (wait).
type crowdedError struct{ error }

func (e *crowdedError) Unwrap() error { return e.error }

// countConnection counts a connection that is about to be made. An endpoint gets its first
// one whatever the limit (Envoy). Over it the request waits if it came to wait.
func (c *endpointConn) countConnection(ctx context.Context, pl *pool, limits *resilience.Limits) (*connCount, error) {
	const r, p = resilience.Connections, resilience.PriorityDefault
	count := &connCount{limits: limits, of: c, vacant: pl.vacant}
	waits, _ := ctx.Value(connWaitKey{}).(*connWait)
	for {
		if c.open.Add(1) == 1 {
			limits.Add(r, p)
			return count, nil
		}
		if limits.Acquire(r, p) {
			return count, nil
		}
		c.open.Add(-1)
		if waits == nil || waits.over() {
			return nil, &crowdedError{limits.Exceeded(c.endpoint.Cluster().Name(), r, p)}
		}
		if limits.AwaitConnection(p, waits.done, pl.vacant) {
			c.open.Add(1)
			return count, nil
		}
	}
}

func (n *connCount) release() {
	n.once.Do(func() {
		if n.of.open.Add(-1) == 0 {
			select {
			case n.vacant <- struct{}{}: // whoever waits may have the first one
			default:
			}
		}
		n.limits.ReleaseConnection(resilience.PriorityDefault)
	})
}

// connWait is a request that waits for a connection, found by connWaitKey in the context
// of the dial that it asked for, which net/http does not cancel with it.
type connWait struct {
	done chan struct{} // closed when it has a connection, or wants none any more
	once sync.Once
}

type connWaitKey struct{}

func (w *connWait) end() { w.once.Do(func() { close(w.done) }) }

func (w *connWait) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// wait sends a request again that failed with err, if that is because there are as many
// connections as policy allows, all in use: it waits for one of the endpoint's to be free, or
// for a new one, as long as the request's context lasts. net/http hands free ones to those
// that wait in the order in which they came. Only a request that was refused a connection
// comes to wait, so that others need not be followed. It returns the request that was sent
// last.
func (x *exchange) wait(req *http.Request, err error) (*http.Request, *http.Response, error) {
	if !errors.As(err, new(*crowdedError)) || !x.conn.awaited() {
		return req, nil, err
	}
	again, failed := rewind(req)
	if failed != nil {
		return req, nil, err
	}
	w := &connWait{done: make(chan struct{})}
	defer w.end()
	ctx := context.WithValue(again.Context(), connWaitKey{}, w)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { w.end() }})
	resp, err := x.roundTrip(again.WithContext(ctx))
	return again, resp, err
}

// roundTrip sends a request over a connection of x.conn, as policy has it tried again or not.
func (x *exchange) roundTrip(req *http.Request) (*http.Response, error) {
	if x.call.Watched() {
		req = x.watched(req)
	}
	p := x.conn.loaded()
	switch kept := req.URL.Scheme == "http"; { // else net/http has TLS of its own
	case kept && p.lines != nil:
		return p.lines.roundTrip(x, req)
	case kept && p.shared != nil:
		return p.shared.roundTrip(x, req)
	case p.http2 || p.aims:
		return x.once(p, req)
	}
	return p.RoundTrip(req)
}

// awaited reports whether a connection is free once a request has ended. One of HTTP/2
// takes many, and net/http forgets it when it is full.
func (c *endpointConn) awaited() bool {
	p := c.pool.Load()
	return p != nil && !p.settles && !p.http2
}

// countedConn is a connection that has a place.
type countedConn struct {
	net.Conn
	count *connCount
}

func (c *countedConn) Close() error {
	c.count.release()
	return c.Conn.Close()
}

// CloseWrite ends what is sent; of an upgraded connection, that may be asked for.
func (c *countedConn) CloseWrite() error { return closeWrite(c.Conn) }

// ReadFrom lets the connection send a file as it can.
func (c *countedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// SyscallConn shows the connection's socket to who looks for it.
func (c *countedConn) SyscallConn() (syscall.RawConn, error) {
	return rawConn(c.Conn)
}

func rawConn(c net.Conn) (syscall.RawConn, error) {
	if s, ok := c.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
