package mesh

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/weft-mesh/weft/balancer"
)

// openView opens the transport's connections to a cluster that it has not met.
func (t *transport) openView(c *balancer.Cluster) *balancer.View {
	t.opening.Lock()
	defer t.opening.Unlock()
	if v, ok := t.views.Load(c); ok {
		return v.(*balancer.View)
	}
	t.views.Range(func(known, _ any) bool {
		if known.(*balancer.Cluster).Closed() { // and its views with it
			t.views.Delete(known)
		}
		return true
	})
	v := c.View(connector{transport: t, cluster: c}, balancer.ViewOptions{OnDemand: true})
	t.views.Store(c, v)
	return v
}

// connector makes a connection pool for each endpoint of a cluster.
type connector struct {
	transport *transport
	cluster   *balancer.Cluster
}

func (k connector) NewConn(e *balancer.Endpoint, report func(balancer.State, error)) balancer.Conn {
	base := k.transport.base
	cfg := k.cluster.Config()
	c := &endpointConn{
		owner:    k.transport,
		endpoint: e,
		report:   report,
		dial:     base.DialContext,
		timeout:  cfg.ConnectTimeout,
		alpn:     []string{"http/1.1"},
	}
	if c.dial == nil {
		c.dial = new(net.Dialer).DialContext
	}
	if c.timeout == 0 {
		c.timeout = balancer.DefaultConnectTimeout
	}
	tr := base.Clone()
	tr.Proxy = nil
	tr.DialContext = c.dialPlainOrPolicy
	tr.DialTLSContext = nil
	if s := e.Socket(); s.TLS != nil || s.Err != nil {
		tr.DialTLSContext = c.dialPlainOrPolicy // policy's TLS stands in for the URL's
	}
	if tr.MaxIdleConnsPerHost == 0 {
		tr.MaxIdleConnsPerHost = tr.MaxIdleConns
		if tr.MaxIdleConns == 0 {
			tr.MaxIdleConnsPerHost = 1 << 16 // base has no limit
		}
	}
	if cfg.Protocol == balancer.ProtocolHTTP2 {
		c.alpn = []string{"h2"}
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP2(true)
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	c.transport = tr
	k.transport.conns.Store(c, struct{}{})
	return c
}

// endpointConn is the connection pool of one endpoint: an http.Transport that can
// dial nothing else.
type endpointConn struct {
	owner     *transport
	endpoint  *balancer.Endpoint
	transport *http.Transport
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	timeout   time.Duration // of connecting, TLS included
	alpn      []string
	report    func(balancer.State, error)
	closed    atomic.Bool
}

// connectError is a connection that could not be made: nothing was sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// dialPlainOrPolicy connects to the endpoint, whatever the address, and secures the
// connection if policy asks for it.
func (c *endpointConn) dialPlainOrPolicy(ctx context.Context, _, _ string) (net.Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.connect(dialing)
	if err != nil {
		if ctx.Err() == nil { // not because nobody wants the connection any more
			c.report(balancer.TransientFailure, err)
		}
		return nil, &connectError{err}
	}
	c.report(balancer.Ready, nil)
	return conn, nil
}

func (c *endpointConn) connect(ctx context.Context) (net.Conn, error) {
	socket := c.endpoint.Socket()
	if socket.Err != nil {
		return nil, socket.Err
	}
	conn, err := c.dial(ctx, "tcp", c.endpoint.Address())
	if err != nil || socket.TLS == nil {
		return conn, err
	}
	secured, err := socket.TLS.Handshake(ctx, conn, c.endpoint.Hostname(), c.alpn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if s, ok := secured.(*tls.Conn); ok && c.alpn[0] == "h2" && s.ConnectionState().NegotiatedProtocol != "h2" {
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
	c.transport.CloseIdleConnections()
}

// released is called when a request is done with the endpoint.
func (c *endpointConn) released() {
	if c.closed.Load() {
		c.transport.CloseIdleConnections()
	}
}
