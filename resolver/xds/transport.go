package xds

import "context"

// The methods of the aggregated discovery service, as [Transport.NewStream]
// takes them.
const (
	DeltaMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	SotWMethod  = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
)

// TransportBuilder makes transports. Package grpctransport has the one for gRPC;
// tests have theirs.
type TransportBuilder interface {
	// Build returns the transport to a server, without waiting for a connection.
	// It is called again, with backoff, if it fails.
	Build(ServerConfig) (Transport, error)
}

// Transport is a way to one server.
type Transport interface {
	// NewStream opens a bidirectional stream. It returns when the stream is
	// connected, because the time for a resource to arrive starts with the request
	// for it (gRFC A57), and fails when no connection can be had. The stream ends
	// with ctx.
	NewStream(ctx context.Context, method string) (Stream, error)
	// Close ends all streams and frees what the transport holds.
	Close()
}

// Stream carries serialized messages. One goroutine sends while another receives.
// Both calls return when the stream's context ends.
type Stream interface {
	// Send sends a message; it may block while the server does not read. The
	// message belongs to the stream from then on. If it fails, Recv returns the
	// reason.
	Send([]byte) error
	// Recv returns the next message, which belongs to the caller, or the error that
	// ended the stream: a gRPC status error with code UNIMPLEMENTED for a method
	// that the server does not have.
	Recv() ([]byte, error)
}
