package policy

import "time"

// Service is a set of endpoints that do the same work, and how to call them. It
// compiles to one envoy.config.cluster.v3.Cluster, and one more for each subset.
type Service struct {
	// Protocol is what the endpoints speak. Empty means http.
	Protocol Protocol `policy:"protocol"`

	// Endpoints are the addresses of the service. An empty list is a service
	// that is scaled to zero: calls to it fail. Not together with discover.
	Endpoints []*Endpoint `policy:"endpoints"`

	// Discover finds the endpoints elsewhere. Not together with endpoints.
	Discover *Discover `policy:"discover"`

	// Failover makes the service of others, in place of endpoints or discover: the first
	// is preferred, and the next take over as far as those before lack endpoints that
	// work. Each keeps its own way to balance, and its protocol. The names are those of
	// services (orders), subsets (orders/v1), and raw Cluster resources.
	Failover []string `policy:"failover"`

	// Subsets are named parts of the service. A subset holds the endpoints whose
	// labels contain all of the subset's labels. Routes name it like a
	// service, as v2 in the service's own routes and as orders/v2 elsewhere.
	Subsets map[string]Labels `policy:"subsets"`

	// Balance says how a call picks an endpoint.
	Balance *Balance `policy:"balance"`

	// Limits bound what is in flight to the service at once, per client.
	Limits *Limits `policy:"limits"`

	// OutlierDetection ejects endpoints that fail.
	OutlierDetection *OutlierDetection `policy:"outlierDetection"`

	// Breaker stops calls to endpoints that fail, or to all of them.
	Breaker *Breakers `policy:"breaker"`

	// Connections says how connections are made, and for how long they are used.
	Connections *Connections `policy:"connections"`

	// HealthChecks ask endpoints how they are. Those that do not pass get no calls.
	HealthChecks []*HealthCheck `policy:"healthChecks"`

	// Session keeps the calls of a session at one endpoint: calls to the service's own
	// name, wherever its routes send them.
	Session *Session `policy:"session"`

	// Fault has calls to the service's own name fail on purpose, wherever its routes send
	// them, unless those have a fault of their own.
	Fault *Fault `policy:"fault"`

	// RateLimit bounds how many calls are made to the service's own name, wherever its
	// routes send them, unless those have a limit of their own.
	RateLimit *RateLimit `policy:"rateLimit"`

	// ConnectTimeout bounds one attempt to connect, TLS included, such as 250ms.
	// It is greater than zero. Not given means 5s, Envoy's default.
	ConnectTimeout *time.Duration `policy:"connectTimeout"`
}

// Protocol is what a service's endpoints speak.
type Protocol string

// The protocols. HTTP2 without TLS is HTTP/2 with prior knowledge (h2c), and so
// is GRPC, which also makes a route's timeout one that gRPC clients obey.
const (
	HTTP  Protocol = "http"
	HTTP2 Protocol = "http2"
	GRPC  Protocol = "grpc"
)

func (Protocol) values() []string { return []string{string(GRPC), string(HTTP), string(HTTP2)} }

// Labels are names and values that describe an endpoint, such as version: v2.
type Labels map[string]string

// Endpoint is one address of a service. A plain string "host:port" is an endpoint
// with nothing but an address.
type Endpoint struct {
	// Address is host:port. The host is an IP address, IPv6 in brackets; a host
	// name belongs in the service's discover.
	Address string `policy:"address,required"`

	// Region is the first part of the endpoint's locality.
	Region string `policy:"region"`
	// Zone is the second part of the endpoint's locality.
	Zone string `policy:"zone"`
	// SubZone is the third part of the endpoint's locality.
	SubZone string `policy:"subZone"`

	// Priority is 0 for the endpoints preferred; 1 and so on take over as those
	// before fail. The priorities in use have no gap.
	Priority uint32 `policy:"priority"`

	// Weight is the endpoint's share of the calls relative to the other
	// endpoints, at least 1. Not given means 1.
	Weight *uint32 `policy:"weight"`

	// Labels describe the endpoint; subsets select by them.
	Labels Labels `policy:"labels"`

	// Health is what is known of the endpoint's health. Empty means unknown,
	// which counts as healthy.
	Health Health `policy:"health"`

	// HealthCheckPort is where health checks connect to. Not given means the port of
	// the address.
	HealthCheckPort *uint32 `policy:"healthCheckPort"`
}

// Health is a status of envoy.config.core.v3.HealthStatus.
type Health string

// The statuses. A draining endpoint gets no new calls; a degraded one only when
// the healthy ones are not enough; timeout counts as unhealthy.
const (
	HealthUnknown   Health = "unknown"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
	HealthDraining  Health = "draining"
	HealthTimeout   Health = "timeout"
	HealthDegraded  Health = "degraded"
)

func (Health) values() []string {
	return []string{string(HealthUnknown), string(HealthHealthy), string(HealthUnhealthy),
		string(HealthDraining), string(HealthTimeout), string(HealthDegraded)}
}

// Discover finds a service's endpoints.
type Discover struct {
	// DNS is the host:port whose host is looked up, by each client for itself.
	DNS string `policy:"dns,required"`

	// Mode is strict, which makes every address of the answer an endpoint, or
	// logical, which makes the name one endpoint with several addresses. Empty
	// means strict. Stock gRPC clients know logical only (gRFC A37).
	Mode DNSMode `policy:"mode"`

	// Refresh is the time between two look-ups, at least 1s. Not given means as
	// long as the answer says it lives.
	Refresh *time.Duration `policy:"refresh"`
}

// DNSMode is what the addresses of a DNS answer mean.
type DNSMode string

// The modes: envoy.config.cluster.v3.Cluster's STRICT_DNS and LOGICAL_DNS.
const (
	DNSStrict  DNSMode = "strict"
	DNSLogical DNSMode = "logical"
)

func (DNSMode) values() []string { return []string{string(DNSStrict), string(DNSLogical)} }

// enum is a part of the model with a fixed set of values.
type enum interface{ values() []string }
