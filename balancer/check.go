package balancer

import (
	"context"
	"net"
	"time"

	"github.com/weft-mesh/weft/internal/match"
)

// HealthCheck is one active health check of a cluster's endpoints
// (envoy.config.core.v3.HealthCheck). With several, an endpoint must pass all. There are no
// defaults here: the compiler writes them.
//
// A new endpoint is out until its first check, which one success passes whatever the
// thresholds; a cluster is not Settled before all of its first endpoints had theirs. One
// that was in use before it was to be checked stays in until a check says otherwise.
type HealthCheck struct {
	// Timeout bounds a probe, connecting included. Above 0.
	Timeout time.Duration

	// Interval is the time between two probes. The others take its place: UnhealthyInterval
	// after a failure, UnhealthyEdgeInterval and HealthyEdgeInterval after a failure or
	// success that has not yet changed what is thought of the endpoint. All above 0.
	Interval, UnhealthyInterval, UnhealthyEdgeInterval, HealthyEdgeInterval time.Duration
	// NoTrafficInterval takes the place of all of these until the cluster gets its first
	// call, NoTrafficHealthyInterval after a success.
	NoTrafficInterval, NoTrafficHealthyInterval time.Duration
	// A random part of InitialJitter goes before the first probe, and of IntervalJitter and
	// IntervalJitterPercent of the interval before each other.
	InitialJitter, IntervalJitter time.Duration
	IntervalJitterPercent         uint32

	// So many failures in a row take an endpoint out, and successes in. An answer that
	// says that the endpoint is unwell takes it out at once. At least 1.
	UnhealthyThreshold, HealthyThreshold uint32

	// Reconnect makes a new connection for each probe.
	Reconnect bool

	// SocketLabels, unless nil, choose the Socket of the checks in place of the endpoint's
	// labels (transport_socket_match_criteria).
	SocketLabels map[string]string
	// ALPN, unless empty, is what TLS offers in place of the check's protocol.
	ALPN []string

	// One of these is set.
	HTTP *HTTPCheck
	GRPC *GRPCCheck
	TCP  *TCPCheck
}

// HTTPCheck sends a request (envoy.config.core.v3.HealthCheck.HttpHealthCheck).
type HTTPCheck struct {
	// Host is the request's host, where the endpoint has no Check.Hostname. Empty is the
	// cluster's name, or the endpoint's address where that is no host.
	Host         string
	Method, Path string
	HTTP2        bool
	Headers      []CheckHeader
	// WithoutHeaders are not sent.
	WithoutHeaders []string
	// Send is the request's body.
	Send []byte

	// Expected are the statuses that pass; Retriable those that count towards
	// UnhealthyThreshold; others take the endpoint out at once.
	Expected, Retriable []StatusRange
	// Receive are what the body must have, one after the other, within its first
	// MaxBody bytes.
	Receive [][]byte
	MaxBody int64
	// Service, unless nil, is what x-envoy-upstream-healthchecked-cluster must be.
	Service *match.String
}

// GRPCCheck asks grpc.health.v1.Health (envoy.config.core.v3.HealthCheck.GrpcHealthCheck).
type GRPCCheck struct {
	// Service is what is asked for; empty for the server as a whole.
	Service string
	// Authority is as HTTPCheck.Host.
	Authority string
	Metadata  []CheckHeader
}

// TCPCheck connects (envoy.config.core.v3.HealthCheck.TcpHealthCheck).
type TCPCheck struct {
	// Receive are what must come back, one after the other, for Send. Without any,
	// a connection is enough and nothing is sent.
	Send    []byte
	Receive [][]byte
}

// CheckHeader is a header of a probe.
type CheckHeader struct {
	Name, Value string
	// Append adds the value to those there are; else it takes their place.
	Append bool
}

// StatusRange are the HTTP statuses from Start to before End.
type StatusRange struct{ Start, End int }

// EndpointCheck is what a source says of how to check an endpoint
// (envoy.config.endpoint.v3.Endpoint.HealthCheckConfig).
type EndpointCheck struct {
	// Address is the "host:port" to check; empty is the endpoint's own. An empty host
	// is the endpoint's, an empty port too.
	Host, Port string
	// Hostname takes the place of the check's own host.
	Hostname string
	// Disabled endpoints are not checked, and count as passing.
	Disabled bool
}

// CheckTarget is an endpoint to be probed.
type CheckTarget struct {
	Check *HealthCheck
	// Host is the authority to name.
	Host string
	// Secure says that the connection is TLS.
	Secure bool
	// Dial connects to the endpoint as policy says and offers alpn, if it is TLS. It may be
	// called from any goroutine.
	Dial func(ctx context.Context, alpn ...string) (net.Conn, error)
}

// Prober probes one endpoint, once at a time. Package balancer/healthcheck has
// those of the protocols.
type Prober interface {
	// Probe returns when ctx ends at the latest.
	Probe(ctx context.Context) Verdict
	// Close closes what is kept from one probe to the next.
	Close()
}

// Verdict is what a probe found.
type Verdict int

// The verdicts.
const (
	Passed Verdict = iota
	// PassedDegraded: the endpoint asks to be spared (x-envoy-degraded).
	PassedDegraded
	// Refused: the endpoint says that it is unwell, and is out at once.
	Refused
	// RefusedUncounted is Refused, and the endpoint says that it is not to count in its
	// priority's share of healthy ones (x-envoy-immediate-health-check-fail).
	RefusedUncounted
	// RefusedForNow: the endpoint says so, in a way that policy takes for passing.
	RefusedForNow
	// Unreachable: there was no answer, or none in time.
	Unreachable
)
