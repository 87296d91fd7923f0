package resolver

import (
	"cmp"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/balancer"
)

var (
	commonHTTPFields = fieldNames("idle_timeout", "max_connection_duration", "max_requests_per_connection", "max_response_headers_kb")
	http2Fields      = fieldNames("max_concurrent_streams", "initial_stream_window_size", "initial_connection_window_size",
		"connection_keepalive", "hpack_table_size")
	pingFields = fieldNames("interval", "timeout")

	// Of HTTP/1.1 these are as net/http does of its own accord.
	http1Fields = fieldNames("enable_trailers")
)

// legacyHTTP reads the options that stand in the cluster itself where it has no
// HttpProtocolOptions, which would take their place.
func (p *path) legacyHTTP(m *clusterv3.Cluster, c *balancer.Config) error {
	if n := m.GetMaxRequestsPerConnection(); n != nil {
		c.Connection.MaxRequests = n.GetValue()
	}
	if err := p.to("common_http_protocol_options").commonHTTP(m.GetCommonHttpProtocolOptions(), &c.Connection); err != nil {
		return err
	}
	return p.to("http2_protocol_options").http2(m.GetHttp2ProtocolOptions(), &c.Connection)
}

// commonHTTP reads what is the same for all versions of HTTP.
func (p *path) commonHTTP(m *corev3.HttpProtocolOptions, to *balancer.Connection) error {
	if m == nil {
		return nil
	}
	p.warnUnread(m, commonHTTPFields)
	idle, err := p.duration("idle_timeout", m.GetIdleTimeout())
	if err != nil {
		return err
	}
	if to.IdleTimeout = idle.d; idle.set && idle.d == 0 {
		to.IdleTimeout = -1
	}
	age, err := p.duration("max_connection_duration", m.GetMaxConnectionDuration())
	if err != nil {
		return err
	}
	to.MaxDuration = age.d
	to.MaxRequests = cmp.Or(m.GetMaxRequestsPerConnection().GetValue(), to.MaxRequests)
	if kb := m.GetMaxResponseHeadersKb(); kb != nil {
		if kb.GetValue() == 0 || kb.GetValue() > 8192 {
			return p.to("max_response_headers_kb").errorf("must be 1 to 8192")
		}
		to.MaxResponseHeaderBytes = int64(kb.GetValue()) << 10
	}
	return nil
}

func (p *path) http2(m *corev3.Http2ProtocolOptions, to *balancer.Connection) error {
	if m == nil {
		return nil
	}
	p.warnUnread(m, http2Fields)
	for _, f := range []struct {
		field      string
		m          *wrapperspb.UInt32Value
		least      uint32
		to         *int
		pastLimits bool
	}{
		{"initial_stream_window_size", m.GetInitialStreamWindowSize(), 65535, &to.HTTP2.StreamWindow, false},
		{"initial_connection_window_size", m.GetInitialConnectionWindowSize(), 65535, &to.HTTP2.ConnectionWindow, false},
		{"hpack_table_size", m.GetHpackTableSize(), 0, &to.HTTP2.HeaderTableSize, true},
	} {
		v := f.m.GetValue()
		if f.m != nil && (v < f.least || v > math.MaxInt32 && !f.pastLimits) {
			return p.to(f.field).errorf("must be %d to %d", f.least, math.MaxInt32)
		}
		*f.to = int(min(v, math.MaxInt32))
	}
	if n := m.GetMaxConcurrentStreams(); n != nil {
		if n.GetValue() == 0 || n.GetValue() > math.MaxInt32 {
			return p.to("max_concurrent_streams").errorf("must be 1 to %d", math.MaxInt32)
		}
		to.MaxStreams = n.GetValue()
	}
	return p.to("connection_keepalive").ping(m.GetConnectionKeepalive(), to)
}

func (p *path) ping(m *corev3.KeepaliveSettings, to *balancer.Connection) error {
	if m == nil {
		return nil
	}
	p.warnUnread(m, pingFields)
	for _, f := range []struct {
		field string
		m     *durationpb.Duration
		to    *time.Duration
	}{
		{"interval", m.GetInterval(), &to.HTTP2.PingInterval},
		{"timeout", m.GetTimeout(), &to.HTTP2.PingTimeout},
	} {
		d, err := p.duration(f.field, f.m)
		if err != nil {
			return err
		}
		if f.m != nil && d.d < time.Millisecond {
			return p.to(f.field).errorf("must be at least 1ms")
		}
		*f.to = d.d
	}
	if to.HTTP2.PingTimeout == 0 {
		return p.to("timeout").errorf("is required")
	}
	return nil
}
