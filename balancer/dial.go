package balancer

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"
)

// DialFunc makes a TCP connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Dial connects to the endpoint as policy says, whatever protocol is going to be
// spoken: to the first of its addresses that answers, from the source address and
// through the proxy that it has, with TCP probing the connection. It does not begin
// TLS, and refuses a connection of which policy asks a security that cannot be had.
// An address other than the endpoint's is where it stands for what callers name
// (OriginalDst), and the only one then.
//
// base makes the TCP connections, unless policy has a source address, of which base
// could not know. A nil base has TCP probe with the operating system's times, as
// grpc-go does.
func (e *Endpoint) Dial(ctx context.Context, address string, base DialFunc) (net.Conn, error) {
	if e.socket.Err != nil {
		return nil, e.socket.Err
	}
	policy, facts := e.Connection(), e.facts.Load()
	if base == nil || policy.Source4 != "" || policy.Source6 != "" {
		base = policy.dial
	}
	addresses := []string{address}
	if address == facts.address {
		addresses = policy.order(facts.addresses())
	}
	conn, err := race(ctx, addresses, func(ctx context.Context, address string) (net.Conn, error) {
		proxy := e.socket.proxyOf(facts.via)
		if proxy == "" {
			return base(ctx, "tcp", address)
		}
		return dialThrough(ctx, base, proxy, address)
	})
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && policy.HasKeepAlive {
		if err := policy.keepAlive(tcp); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// ConnectTimeout bounds one attempt to connect to the endpoint, Dial and TLS together.
func (e *Endpoint) ConnectTimeout() time.Duration {
	if c := e.cluster.Config(); c != nil {
		return cmp.Or(c.ConnectTimeout, DefaultConnectTimeout)
	}
	return DefaultConnectTimeout
}

// dial is a DialFunc.
func (c *Connection) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}}
	if to, err := netip.ParseAddrPort(address); err == nil {
		source := c.Source6
		if to.Addr().Unmap().Is4() {
			source = c.Source4
		}
		if source != "" {
			local, err := netip.ParseAddrPort(source)
			if err != nil {
				return nil, err
			}
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		}
	}
	return d.DialContext(ctx, network, address)
}

func (c *Connection) keepAlive(conn *net.TCPConn) error {
	if !c.KeepAlive.Enable {
		return conn.SetKeepAlive(false)
	}
	return conn.SetKeepAliveConfig(c.KeepAlive)
}
