package mesh

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

// openView opens the transport's connections to a cluster that it has not met.
func (t *transport) openView(c *balancer.Cluster) *balancer.View {
	t.opening.Lock()
	defer t.opening.Unlock()
	views := clusterViews{byCluster: map[*balancer.Cluster]*balancer.View{}}
	if known := t.views.Load(); known != nil {
		if v := known.byCluster[c]; v != nil {
			return v
		}
		for k, v := range known.byCluster {
			if !k.Closed() { // and its views with it
				views.add(k, v)
			}
		}
	}
	v := c.View(connector{transport: t}, balancer.ViewOptions{OnDemand: true})
	views.add(c, v)
	t.views.Store(&views)
	return v
}

func (v *clusterViews) add(c *balancer.Cluster, view *balancer.View) {
	if n := len(v.byCluster); n < fewViews {
		v.few[n] = clusterView{c, view}
	}
	v.byCluster[c] = view
}

// connector makes a connection pool for each endpoint of a cluster.
type connector struct {
	transport *transport
}

// NewConn makes no transport yet: a view has a Conn for every endpoint, of which a
// client may use few.
func (k connector) NewConn(e *balancer.Endpoint, report func(balancer.State, error)) balancer.Conn {
	c := &endpointConn{owner: k.transport, endpoint: e, report: report}
	k.transport.conns.Store(c, struct{}{})
	return c
}

// endpointConn is the connection pool of one endpoint: an http.Transport that can
// dial nothing else.
type endpointConn struct {
	owner    *transport
	endpoint *balancer.Endpoint
	report   func(balancer.State, error)
	closed   atomic.Bool
	open     atomic.Int64 // connections, those that are being made included

	pool atomic.Pointer[pool] // nil before the first request
}

// pool is a clone of the base transport and what it dials with.
type pool struct {
	*http.Transport
	dial    balancer.DialFunc
	alpn    []string
	http2   bool          // is what is spoken, whatever TLS says
	settles bool          // TLS says what is spoken
	aims    bool          // requests are changed: see aim
	settled atomic.Bool   // and last said HTTP/2
	vacant  chan struct{} // of one: told when the last connection was closed
	owner   *endpointConn
	lines   *lines       // of HTTP/1.1; nil where net/http keeps the connections
	shared  *sharedLines // and of HTTP/2
}

func (c *endpointConn) loaded() *pool {
	if p := c.pool.Load(); p != nil {
		return p
	}
	return c.load()
}

func (c *endpointConn) load() *pool {
	c.pool.CompareAndSwap(nil, c.newPool())
	return c.pool.Load()
}

func (c *endpointConn) newPool() *pool {
	base := c.owner.base
	cfg := c.endpoint.Cluster().Config()
	p := &pool{
		Transport: base.Clone(),
		dial:      base.DialContext,
		alpn:      []string{"http/1.1"},
		vacant:    make(chan struct{}, 1),
		owner:     c,
	}
	if p.dial == nil {
		p.dial = new(net.Dialer).DialContext
	}
	dial := func(ctx context.Context, _, asked string) (net.Conn, error) {
		conn, err := c.connect(ctx, p, asked)
		if d, _ := ctx.Value(dialingKey{}).(*dialing); d != nil && err == nil {
			w := &wire{Conn: conn}
			d.made(w)
			if s, ok := conn.(*tls.Conn); ok {
				return secureWire{w, s}, nil
			}
			return w, nil
		}
		return conn, err
	}
	p.Proxy = nil
	p.DialContext = dial
	p.DialTLSContext = nil
	if s := c.endpoint.Socket(); s.TLS != nil || s.Err != nil {
		p.DialTLSContext = dial // policy's TLS stands in for the URL's
	}
	if p.MaxIdleConnsPerHost == 0 {
		p.MaxIdleConnsPerHost = cmp.Or(p.MaxIdleConns, 1<<16)
	}
	tune(p.Transport, c.endpoint.Connection())
	if c.endpoint.Pooled() {
		isolate(p.Transport, c.endpoint.Connection())
	}
	p.settle(c.endpoint)
	p.aims = p.settles || c.endpoint.Pooled()
	if cfg.Protocol == balancer.ProtocolHTTP2 {
		p.http2, p.alpn = true, []string{"h2"}
		p.Protocols = new(http.Protocols)
		p.Protocols.SetHTTP2(true)
		p.Protocols.SetUnencryptedHTTP2(true)
	}
	switch {
	case p.aims || c.endpoint.OriginalDst() != nil || p.MaxConnsPerHost > 0:
	case p.http2:
		p.shared = newSharedLines(p)
	case p.speaksHTTP1():
		p.lines = newLines(p)
	}
	return p
}

// connectError is a connection that could not be made: nothing was sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// connect connects to the endpoint, and secures the connection if policy asks for it.
// asked is where the request's URL would have it connect.
func (c *endpointConn) connect(ctx context.Context, p *pool, asked string) (net.Conn, error) {
	if d, _ := ctx.Value(dialingKey{}).(*dialing); d == nil || !d.shared {
		leave, err := c.pend()
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	count, err := c.countConnection(ctx, p, c.endpoint.Cluster().Limits())
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, c.endpoint.ConnectTimeout())
	defer cancel()
	original := c.endpoint.OriginalDst() != nil
	if !original {
		asked = c.endpoint.Address()
	}
	conn, err := c.dial(dialing, p, asked, count)
	if err != nil {
		if ctx.Err() == nil && !original { // not because nobody wants the connection any more
			c.report(balancer.TransientFailure, err)
		}
		count.release()
		return nil, &connectError{err}
	}
	c.report(balancer.Ready, nil)
	return conn, nil
}

// pend counts a request that waits for a connection, until leave is called.
func (c *endpointConn) pend() (leave func(), err error) {
	cluster := c.endpoint.Cluster()
	if !cluster.Limits().Acquire(resilience.Pending, resilience.PriorityDefault) {
		return nil, cluster.Limits().Exceeded(cluster.Name(), resilience.Pending, resilience.PriorityDefault)
	}
	return func() { cluster.Limits().Release(resilience.Pending, resilience.PriorityDefault) }, nil
}

func (c *endpointConn) dial(ctx context.Context, p *pool, address string, count *connCount) (net.Conn, error) {
	socket := c.endpoint.Socket()
	conn, err := c.endpoint.Dial(ctx, address, p.dial)
	if err != nil {
		return nil, err
	}
	conn = &countedConn{Conn: conn, count: count}
	if socket.TLS == nil {
		return conn, nil
	}
	secured, err := socket.TLS.Handshake(ctx, conn, c.endpoint.Hostname(), p.alpn) // closes conn on errors
	if err != nil {
		return nil, err
	}
	if s, ok := secured.(*tls.Conn); ok && p.settles {
		if err := checkSettled(s.ConnectionState().NegotiatedProtocol); err != nil {
			secured.Close()
			return nil, err
		}
		p.settled.Store(s.ConnectionState().NegotiatedProtocol == "h2")
		return secured, nil
	}
	if s, ok := secured.(*tls.Conn); ok && p.http2 && s.ConnectionState().NegotiatedProtocol != "h2" {
		// A server that agrees on another name for it ("istio-h2"), or on none. The
		// http.Transport of an https URL would fall back to HTTP/1.1, which is not
		// what policy says, if it saw that.
		return struct{ net.Conn }{secured}, nil
	}
	return secured, nil
}

// Connect does nothing: a request that needs a connection makes it.
func (c *endpointConn) Connect() {}

// Close drops the idle connections, and released drops those that requests still
// used.
func (c *endpointConn) Close() {
	c.closed.Store(true)
	c.owner.conns.Delete(c)
	c.closeIdle()
}

// released is called when a request is done with the endpoint. One that picked it just
// before Close has made the transport keep connections again.
func (c *endpointConn) released() {
	if c.closed.Load() {
		c.leave()
	}
}

func (c *endpointConn) leave() {
	c.closeIdle()
	// An HTTP/2 connection forgets a stream a moment after the response has ended,
	// and is not idle until then.
	time.AfterFunc(time.Second, c.closeIdle)
}

func (c *endpointConn) closeIdle() {
	if p := c.pool.Load(); p != nil {
		p.CloseIdleConnections()
		switch {
		case p.lines != nil:
			p.lines.closeIdle()
		case p.shared != nil:
			p.shared.closeIdle()
		}
	}
}
