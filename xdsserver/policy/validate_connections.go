package policy

import (
	"math"
	"net/netip"
	"time"
)

func (v *validator) connections(p path, s *Service) {
	c := s.Connections
	http2 := s.Protocol == GRPC || s.Protocol == HTTP2
	if !http2 {
		if c.MaxConcurrentStreams != nil {
			v.nameErrorf(p.field("maxConcurrentStreams"), `"maxConcurrentStreams" is for the protocols grpc and http2: a connection of HTTP/1.1 carries one call at a time`)
		}
		if c.ConnectionKeepalive != nil {
			v.nameErrorf(p.field("connectionKeepalive"), `"connectionKeepalive" is for the protocols grpc and http2; see "tcpKeepalive"`)
		}
	}
	v.between(p.field("maxConnections"), c.MaxConnections, 1, math.MaxUint32)
	v.between(p.field("maxConcurrentStreams"), c.MaxConcurrentStreams, 1, math.MaxInt32)
	v.between(p.field("maxRequestsPerConnection"), c.MaxRequestsPerConnection, 1, math.MaxUint32)
	v.between(p.field("maxResponseHeadersKb"), c.MaxResponseHeadersKb, 1, 8192)
	v.positive(p.field("maxConnectionDuration"), c.MaxConnectionDuration)
	if c.IdleTimeout != nil && *c.IdleTimeout < 0 {
		v.errorf(p.field("idleTimeout"), "%s: it must not be less than zero", *c.IdleTimeout)
	}
	if k := c.TCPKeepalive; k != nil {
		q := p.field("tcpKeepalive")
		v.between(q.field("keepaliveProbes"), k.KeepaliveProbes, 1, math.MaxInt32)
		v.seconds(q.field("keepaliveTime"), k.KeepaliveTime)
		v.seconds(q.field("keepaliveInterval"), k.KeepaliveInterval)
	}
	if k := c.ConnectionKeepalive; k != nil {
		q := p.field("connectionKeepalive")
		if k.Timeout == nil && !v.incomplete[q] { // a program's, not a file's
			v.missingf(q, "connectionKeepalive has no timeout")
		}
		v.atLeast(q.field("interval"), k.Interval, time.Millisecond)
		v.atLeast(q.field("timeout"), k.Timeout, time.Millisecond)
	}
	if c.SourceAddress != "" {
		if ip, err := netip.ParseAddr(c.SourceAddress); err != nil || ip.Zone() != "" {
			v.errorf(p.field("sourceAddress"), "%q is not an IP address", shorten(c.SourceAddress))
		}
	}
}

func (v *validator) between(p path, n *uint32, least, most uint32) {
	if n != nil && (*n < least || *n > most) {
		v.errorf(p, "%d: it must be %d to %d", *n, least, most)
	}
}

func (v *validator) atLeast(p path, d *time.Duration, least time.Duration) {
	if d != nil && *d < least {
		v.errorf(p, "%s: it must be at least %s", *d, least)
	}
}

func (v *validator) seconds(p path, d *time.Duration) {
	if d != nil && (*d < time.Second || *d%time.Second != 0 || *d > math.MaxInt32*time.Second) {
		v.errorf(p, "%s: it must be whole seconds, at least 1s", *d)
	}
}
