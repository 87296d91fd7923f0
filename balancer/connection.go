package balancer

import (
	"net"
	"time"
)

// Connection is how a cluster's connections are made and for how long they are used:
// the plain form of what envoy.config.cluster.v3.Cluster says of it in
// upstream_connection_options, upstream_bind_config, per_host_thresholds and the HTTP
// protocol options. The zero value leaves everything to grpc-go and net/http.
//
// Endpoints take changes of it over as they go, but for the fields that say that they
// make connections anew.
type Connection struct {
	// MaxPerEndpoint bounds the connections to one endpoint of one gRPC channel or HTTP
	// transport (circuit_breakers.per_host_thresholds.max_connections, gRFC A105). A
	// further one is opened when every stream of those that there are is in use; a call
	// that finds none free and may open none waits its turn. Fewer than there are
	// closes none that is in use. Zero is one for gRPC, and no bound for HTTP.
	MaxPerEndpoint uint32

	// MaxStreams is how many calls use one HTTP/2 connection at a time
	// (http2_protocol_options.max_concurrent_streams). Zero is 100 where connections
	// are counted: neither library tells what limit a server has set, and this is the
	// least that RFC 9113 asks of one. A gRPC channel with one connection to an
	// endpoint sends all calls to it whatever this says, as without a policy.
	MaxStreams uint32

	// MaxRequests is how many calls a connection carries in its life, after which it
	// ends as its last call does (common_http_protocol_options.max_requests_per_connection).
	// Zero is no limit.
	MaxRequests uint32

	// MaxDuration is how old a connection gets before calls go to a new one
	// (common_http_protocol_options.max_connection_duration). The old one ends with its
	// last call; gRPC keeps it in use until the new one is connected. Zero is no limit.
	MaxDuration time.Duration

	// IdleTimeout ends HTTP connections without a request
	// (common_http_protocol_options.idle_timeout), and those beyond the first of a gRPC
	// channel to an endpoint: the first stays for as long as the channel does not
	// become idle (grpc.WithIdleTimeout). Zero is what the HTTP transport says, and a
	// minute for connections beyond the first; below zero is never. Changing it makes
	// connections anew.
	IdleTimeout time.Duration

	// KeepAlive, where HasKeepAlive is set, is how TCP probes connections
	// (upstream_connection_options.tcp_keepalive). A negative duration or count in it
	// is the operating system's.
	KeepAlive    net.KeepAliveConfig
	HasKeepAlive bool

	// Source4 and Source6 are the local "ip:port" of connections to an address of their
	// family (upstream_bind_config). Empty, and port 0, let the system choose.
	Source4, Source6 string

	// FirstFamily and FirstFamilyCount order the addresses of an endpoint that has
	// several: so many of the family, then one of the other and so on in turn
	// (happy_eyeballs_config, RFC 8305 section 4). Zero is the family of the
	// endpoint's first address, and one.
	FirstFamily      IPFamily
	FirstFamilyCount uint32

	// HTTP2 is for HTTP clients.
	HTTP2 HTTP2

	// MaxResponseHeaderBytes bounds the header of an HTTP response
	// (common_http_protocol_options.max_response_headers_kb). Zero is the HTTP
	// transport's. Changing it makes connections anew.
	MaxResponseHeaderBytes int64
}

// HTTP2 tunes the HTTP/2 connections of HTTP clients
// (envoy.config.core.v3.Http2ProtocolOptions). grpc-go has these settings for a whole
// channel, as dial options, and not for an endpoint. Zero values are net/http's.
// Changing one makes connections anew.
type HTTP2 struct {
	// PingInterval is how long nothing has to come before a ping asks whether the
	// connection works, and PingTimeout how long its answer may take
	// (connection_keepalive; Envoy pings also a busy connection).
	PingInterval, PingTimeout time.Duration
	// StreamWindow and ConnectionWindow are the bytes that a server may send ahead.
	StreamWindow, ConnectionWindow int
	// HeaderTableSize is the size in bytes of the table that compresses headers.
	HeaderTableSize int
}

// IPFamily is a version of IP.
type IPFamily int

// The families; AnyIP has no preference.
const (
	AnyIP IPFamily = iota
	IPv4
	IPv6
)

// The limits where policy gives none.
const (
	defaultMaxStreams = 100
	// unboundStreams is what control planes write for no limit; more calls than that do
	// not share a connection.
	unboundStreams = 1 << 16

	defaultSpareIdle = time.Minute
)

// connectionForm is what of a Connection cannot be changed under an endpoint.
type connectionForm struct {
	pooledGRPC, pooledHTTP bool
	idleTimeout            time.Duration
	http2                  HTTP2
	maxResponseHeaderBytes int64
}

func (c *Connection) form(p Protocol) connectionForm {
	return connectionForm{c.pooled(true, p), c.pooled(false, p), c.IdleTimeout, c.HTTP2, c.MaxResponseHeaderBytes}
}

// pooled reports whether connections are counted: policy bounds their number, or what
// one carries, or its age.
func (c *Connection) pooled(grpc bool, p Protocol) bool {
	if c.MaxRequests > 0 || c.MaxDuration > 0 {
		return true
	}
	if grpc {
		return c.MaxPerEndpoint > 1
	}
	return c.MaxPerEndpoint > 0 || p == ProtocolHTTP2 && c.MaxStreams > 0 && c.MaxStreams < unboundStreams
}

// Pooled reports whether a Conn of an HTTP client is to be one connection, because
// policy counts them, and not as many as its requests need.
func (e *Endpoint) Pooled() bool { return e.form.pooledHTTP }

// Connection returns what policy says now of connections to the endpoint. It must not
// be changed.
func (e *Endpoint) Connection() *Connection { return e.cluster.connection.Load() }
