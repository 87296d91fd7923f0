package policy

import "time"

// Connections is how connections to a service's endpoints are made, and for how long
// they are used, by one client. What is not given is the client's own.
type Connections struct {
	// MaxConnections is how many connections there may be to one endpoint, at least 1.
	// gRPC clients have one where it is not given, and with more open a further one when
	// all streams of those that there are are in use (gRFC A105). Others open as many as
	// they need where it is not given.
	MaxConnections *uint32 `policy:"maxConnections"`

	// MaxConcurrentStreams is how many calls use a connection at a time, at least 1. For
	// the protocols grpc and http2. Give it where the endpoints have a limit: a client
	// with several connections takes it for 100.
	MaxConcurrentStreams *uint32 `policy:"maxConcurrentStreams"`

	// MaxRequestsPerConnection is how many calls a connection carries in its life, at
	// least 1.
	MaxRequestsPerConnection *uint32 `policy:"maxRequestsPerConnection"`

	// MaxConnectionDuration is how old a connection gets, greater than zero.
	MaxConnectionDuration *time.Duration `policy:"maxConnectionDuration"`

	// IdleTimeout ends connections that have had no call for so long; 0s never does.
	IdleTimeout *time.Duration `policy:"idleTimeout"`

	// MaxResponseHeadersKb is the size of an HTTP response's header in KiB, 1 to 8192.
	MaxResponseHeadersKb *uint32 `policy:"maxResponseHeadersKb"`

	// TCPKeepalive has TCP probe whether the peer is there.
	TCPKeepalive *TCPKeepalive `policy:"tcpKeepalive"`

	// ConnectionKeepalive has HTTP/2 probe whether the peer is there. For the protocols
	// grpc and http2; Go's gRPC clients have it as an option of their own only.
	ConnectionKeepalive *ConnectionKeepalive `policy:"connectionKeepalive"`

	// SourceAddress is the IP address that connections come from.
	SourceAddress string `policy:"sourceAddress"`
}

// TCPKeepalive is envoy.config.core.v3.TcpKeepalive. What is not given is the operating
// system's.
type TCPKeepalive struct {
	// KeepaliveProbes is how many probes go unanswered before the connection is given
	// up, at least 1.
	KeepaliveProbes *uint32 `policy:"keepaliveProbes"`
	// KeepaliveTime is how long a connection is silent before the first probe, whole
	// seconds.
	KeepaliveTime *time.Duration `policy:"keepaliveTime"`
	// KeepaliveInterval is the time between two probes, whole seconds.
	KeepaliveInterval *time.Duration `policy:"keepaliveInterval"`
}

// ConnectionKeepalive is envoy.config.core.v3.KeepaliveSettings.
type ConnectionKeepalive struct {
	// Interval is the time between two pings, at least 1ms. Not given, none is sent
	// of its own accord.
	Interval *time.Duration `policy:"interval"`
	// Timeout is how long the answer to a ping may take, at least 1ms.
	Timeout *time.Duration `policy:"timeout,required"`
}
