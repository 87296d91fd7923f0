package balancer

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// Via is how an endpoint is reached beyond its address. It is immutable.
type Via struct {
	// Addresses are further ones of the same endpoint, in order of preference
	// (envoy.config.endpoint.v3.Endpoint.additional_addresses, gRFC A61).
	Addresses []string
	// Proxy is the "host:port" of an HTTP proxy to ask for a tunnel, where the
	// endpoint's Socket goes through proxies (metadata
	// envoy.http11_proxy_transport_socket.proxy_address, gRFC A86).
	Proxy string
}

func (v *Via) equal(o *Via) bool {
	return v == o || v != nil && o != nil && v.Proxy == o.Proxy && slices.Equal(v.Addresses, o.Addresses)
}

// addresses are where to connect to, in order of preference.
func (f *facts) addresses() []string {
	if f.via == nil || len(f.via.Addresses) == 0 {
		return []string{f.address}
	}
	return append([]string{f.address}, f.via.Addresses...)
}

// others adds the addresses of all members but the first to via: where a name is one
// endpoint, they are ways to it (RFC 8305).
func (s *snapshot) others(via *Via) *Via {
	if len(s.members) == 1 {
		return via
	}
	all := &Via{}
	if via != nil {
		*all = *via
	}
	for _, m := range s.members[1:] {
		all.Addresses = append(all.Addresses, m.endpoint.Address())
	}
	return all
}

// proxyOf is the proxy between here and an endpoint; empty for none.
func (s *Socket) proxyOf(via *Via) string {
	switch {
	case !s.Proxied:
		return ""
	case via != nil && via.Proxy != "":
		return via.Proxy
	default:
		return s.DefaultProxy
	}
}

// dialThrough has an HTTP proxy connect to an address (RFC 9110 section 9.3.6).
func dialThrough(ctx context.Context, base DialFunc, proxy, address string) (net.Conn, error) {
	conn, err := base(ctx, "tcp", proxy)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = askTunnel(conn, address)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline is on the connection
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("proxy %s: %w", proxy, err)
	}
	return conn, nil
}

// maxTunnelAnswer bounds the header of a proxy's answer, in bytes.
const maxTunnelAnswer = 16 << 10

func askTunnel(conn net.Conn, address string) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address); err != nil {
		return err
	}
	// Byte by byte: what follows the header is the endpoint's, who may speak first.
	var header strings.Builder
	var one [1]byte
	for !strings.HasSuffix(header.String(), "\r\n\r\n") {
		if header.Len() == maxTunnelAnswer {
			return fmt.Errorf("the answer's header is longer than %d bytes", maxTunnelAnswer)
		}
		if _, err := io.ReadFull(conn, one[:]); err != nil {
			return err
		}
		header.WriteByte(one[0])
	}
	status, _, _ := strings.Cut(header.String(), "\r\n")
	version, code, _ := strings.Cut(status, " ")
	if !strings.HasPrefix(version, "HTTP/1.") || len(code) < 3 || code[0] != '2' {
		return fmt.Errorf("it does not connect to %s: %.200q", address, status)
	}
	return nil
}
