package balancer

import (
	"time"

	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/security"
)

// Config is what policy says of one cluster: how its endpoints are found, how a
// call picks one, and how a connection to it is made. It is the plain form of
// envoy.config.cluster.v3.Cluster; whoever hands it over must not change it
// afterwards.
type Config struct {
	// Name is the cluster's name, unique within a mesh.
	Name string

	// Discovery says where the endpoints come from.
	Discovery Discovery

	// EDSName is the name to ask EDS for. Only for DiscoverEDS; empty means Name.
	EDSName string

	// Static holds the endpoints of DiscoverStatic, and the host names to resolve
	// (as Address "host:port") of DiscoverStrictDNS and DiscoverLogicalDNS. Of the
	// last only the first endpoint counts.
	Static *Assignment

	// DNS tunes the DNS kinds.
	DNS DNS

	// OriginalDst tunes DiscoverOriginalDst, for which it must be set; nil for others.
	OriginalDst *OriginalDst

	// Clusters are the clusters of DiscoverAggregate by name, the preferred first. What
	// they are, Compose says.
	Clusters []string

	// Policy picks an endpoint within a locality.
	Policy Policy

	// LocalityWeighted makes localities of one priority share the load by their
	// weights (envoy LocalityWeightedLbConfig, gRFC A52's wrr_locality). When
	// false, the endpoints of all localities of a priority stand in one list.
	LocalityWeighted bool

	// Subsets divides the endpoints by their labels. Nil does not, and calls go to any
	// of them whatever they ask for.
	Subsets *Subsets

	// ZoneAware keeps calls in the process's own locality. Nil means DefaultZoneAware
	// where the process knows its peers, as in Envoy, and else that localities have no
	// say. Where gRPC would weigh localities of its own accord, what is set here wins,
	// and what is not does not.
	ZoneAware *ZoneAware

	// OverrideHealth are the endpoints that an Override may keep to. Zero means those of
	// unknown health, healthy and degraded ones (common_lb_config.override_host_status),
	// for gRPC without the last (gRFC A55).
	OverrideHealth HealthSet

	// OverrideHeaders are headers in which a call may name its endpoint, for whoever
	// makes an Override of them: the first that is set counts, and those after it
	// (envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost).
	OverrideHeaders []HeaderKey

	// LegacyPolicy says that the policy came from the cluster's lb_policy enum, not
	// from load_balancing_policy. gRPC then weighs localities whatever
	// LocalityWeighted says (gRFC A27), as Envoy does not.
	LegacyPolicy bool

	// PanicThreshold is the percentage (0..100) of available endpoints under which
	// health is ignored and all are used (envoy healthy_panic_threshold). The
	// compiler writes Envoy's default, 50; 0 switches panic mode off.
	PanicThreshold float64

	// ConnectTimeout bounds one connection attempt, TLS included. Zero means
	// DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Connection is how connections are made, and for how long they are used.
	Connection Connection

	// Protocol is what an HTTP client speaks to the endpoints. gRPC always speaks HTTP/2.
	Protocol Protocol

	// OutlierDetection takes endpoints out for what became of calls. Nil takes out none.
	OutlierDetection *OutlierDetection

	// EndpointBreaker is for a breaker of each endpoint, ClusterBreaker for one for all
	// calls of the cluster, of which an aggregate has none. Nil for none.
	EndpointBreaker, ClusterBreaker *resilience.BreakerConfig

	// HealthChecks are the active health checks of the endpoints.
	HealthChecks []HealthCheck
	// IgnoreUnchecked leaves endpoints that have not been checked yet out where the
	// share of a priority's healthy ones is told (envoy ignore_new_hosts_until_first_hc).
	IgnoreUnchecked bool

	// Limits bound what is in flight. Nil means resilience.DefaultLimits.
	Limits *resilience.LimitsConfig

	// Sockets are tried in order against an endpoint's socket labels; the first
	// match says how to secure the connection (envoy transport_socket_matches,
	// then transport_socket as an entry that matches everything). None matching
	// means plaintext: no policy asked for more.
	Sockets []Socket
}

// DefaultConnectTimeout is Envoy's connect_timeout where policy says nothing.
const DefaultConnectTimeout = 5 * time.Second

// Discovery says where a cluster's endpoints come from
// (envoy.config.cluster.v3.Cluster.DiscoveryType).
type Discovery int

// The kinds of discovery.
const (
	DiscoverEDS Discovery = iota
	DiscoverStatic
	// DiscoverStrictDNS makes every address a name resolves to an endpoint.
	DiscoverStrictDNS
	// DiscoverLogicalDNS has one name, whose addresses are not endpoints to balance
	// over but ways to reach one. To HTTP it shows one endpoint, whose Address is
	// the first of the newest answer; connections to earlier answers stay in use
	// (Envoy's logical DNS). To gRPC all addresses of the answer are endpoints in
	// one locality under pick_first, whatever Policy says (gRFC A37).
	DiscoverLogicalDNS
	// DiscoverOriginalDst has one endpoint, which is the address that the caller named
	// (Envoy's ORIGINAL_DST).
	DiscoverOriginalDst
	// DiscoverAggregate has no endpoints but those of other clusters
	// (envoy.extensions.clusters.aggregate.v3.ClusterConfig, gRFCs A37 and A75).
	DiscoverAggregate
)

// DNS tunes how a cluster's host names are resolved.
type DNS struct {
	// RefreshRate is the time between two look-ups. Zero means 5 s, Envoy's default.
	RefreshRate time.Duration
	// RespectTTL uses the answer's time to live in place of RefreshRate.
	RespectTTL bool
	// FailureBase and FailureMax bound the exponential backoff after a failed
	// look-up. Zero FailureBase means RefreshRate; zero FailureMax ten times the base.
	FailureBase, FailureMax time.Duration
	// Family limits the addresses that are used.
	Family AddressFamily
}

// AddressFamily limits which addresses of a DNS answer are used
// (envoy dns_lookup_family).
type AddressFamily int

// The address families. FamilyAuto prefers IPv6 and falls back to IPv4;
// FamilyV4Preferred the other way round; FamilyAll uses both.
const (
	FamilyAuto AddressFamily = iota
	FamilyV4Only
	FamilyV6Only
	FamilyV4Preferred
	FamilyAll
)

// Protocol is the wire protocol of an HTTP client's connections.
type Protocol uint8

// The protocols. ProtocolHTTP2 without TLS is h2c with prior knowledge.
const (
	ProtocolHTTP1 Protocol = iota
	ProtocolHTTP2
	// ProtocolAuto lets TLS negotiate it by ALPN; without TLS it is HTTP/1.1.
	ProtocolAuto
)

// Policy names a load balancing policy and carries its parameters.
// The zero value is round_robin.
type Policy struct {
	Kind PolicyKind
	// ChoiceCount is how many endpoints least_request compares. 0 means 2; at least 2.
	ChoiceCount int
	// ActiveRequestBias is the exponent of least_request's weighting when weights
	// differ: weight / (active+1)^bias. Negative means unset (1.0).
	ActiveRequestBias float64
	// FullScan has least_request compare all endpoints in place of ChoiceCount, where their
	// weights are the same (envoy LeastRequest.FULL_SCAN).
	FullScan bool
	// Shuffle makes pick_first try the endpoints in random order (gRFC A62), those of
	// greater weight rather earlier (gRFC A113).
	Shuffle bool
	// MinRingSize and MaxRingSize bound the points on ring_hash's ring. 0 means
	// DefaultMinRingSize and MaxRingSize, which they do not exceed; the first is not
	// greater than the second.
	MinRingSize, MaxRingSize uint64
	// TableSize is the number of slots of maglev's table, a prime of at most
	// MaxMaglevTableSize. 0 means DefaultMaglevTableSize.
	TableSize uint64
	// HashBalanceFactor bounds what an endpoint has in flight under ring_hash and maglev,
	// in percent of its share of the cluster's calls in flight, at least 100. Keys of an
	// endpoint that has more go to others for that long. Zero does not bound it.
	HashBalanceFactor uint32
	// HashHostname has ring_hash and maglev place an endpoint by its host name, if it
	// has one, not by its address. What its label hash_key says counts more.
	HashHostname bool
	// SlowStart is for RoundRobin, LeastRequest and ClientSideWeightedRoundRobin.
	SlowStart SlowStart
	// EWMA has the parameters of PeakEWMA, and Load those of
	// ClientSideWeightedRoundRobin.
	EWMA EWMA
	Load LoadWeights
	// RandomSubset leaves out endpoints before any policy picks.
	RandomSubset RandomSubset
}

// The sizes of hash tables, as Envoy has them.
const (
	DefaultMinRingSize     = 1024
	MaxRingSize            = 8 << 20
	DefaultMaglevTableSize = 65537
	MaxMaglevTableSize     = 5000011
)

// PolicyKind is a load balancing policy.
type PolicyKind int

// The policies.
const (
	RoundRobin PolicyKind = iota // weighted when endpoint weights differ
	Random                       // weighted when endpoint weights differ
	LeastRequest
	PickFirst
	// RingHash and Maglev pick by the hash of a call (PickInfo.Hash), always the same
	// endpoint for the same hash and endpoints. They weigh endpoints and, where
	// localities are weighted, those, in one table over all of a priority.
	RingHash
	Maglev
	// PeakEWMA goes by how long answers take: see EWMA.
	PeakEWMA
	// ClientSideWeightedRoundRobin goes by the loads that endpoints report: see
	// LoadWeights.
	ClientSideWeightedRoundRobin
)

// Socket is one way to secure a connection, for the endpoints whose socket labels
// contain every pair of Match. An empty Match fits every endpoint.
type Socket struct {
	Name  string
	Match map[string]string
	// TLS is nil for plaintext (envoy raw_buffer). Connections are made anew when
	// it is another *ClientTLS than before: hand over the same one for as long as
	// policy says the same.
	TLS *security.ClientTLS
	// Proxied says that connections go through the HTTP proxy that an endpoint names
	// (Via.Proxy), or else through DefaultProxy, a "host:port", if there is one
	// (envoy Http11ProxyUpstreamTransport, gRFC A86).
	Proxied      bool
	DefaultProxy string
	// Err is set when policy asks for a security that cannot be had. A connection
	// is then refused with it: never plaintext instead.
	Err error
}

// Assignment is a set of endpoints
// (envoy.config.endpoint.v3.ClusterLoadAssignment without protos).
type Assignment struct {
	Localities []LocalityEndpoints
	// Overprovisioning is the factor, in percent, by which a priority's health is
	// multiplied before load spills to the next. Zero means 140, Envoy's default.
	Overprovisioning uint32
	// Drops are shares of calls to refuse, by category, in order.
	Drops []Drop
}

// Drop refuses a share of the calls (envoy drop_overloads).
type Drop struct {
	Category string
	// PerMillion is 0..1,000,000.
	PerMillion uint32
}

// LocalityEndpoints are the endpoints of one locality in one priority.
type LocalityEndpoints struct {
	Locality Locality
	// Weight is the locality's share within its priority. Zero gets no load where
	// localities are weighted.
	Weight uint32
	// Priority counts from 0, the one preferred, to 127. Priorities that have no
	// endpoints are passed over. Localities beyond 127 are ignored with a warning
	// (the field's own limit in envoy LocalityLbEndpoints).
	Priority  uint32
	Endpoints []EndpointConfig
}

// Locality is where endpoints run (envoy.config.core.v3.Locality).
type Locality struct{ Region, Zone, SubZone string }

// EndpointConfig is one endpoint as a source describes it.
type EndpointConfig struct {
	// Address is "host:port"; host is an IP except in the DNS kinds.
	Address string
	// Hostname is what the endpoint calls itself, for host rewriting; may be empty.
	Hostname string
	// Weight is relative to the other endpoints of the locality. Zero means 1.
	Weight uint32
	Health Health
	// SocketLabels choose the cluster's Socket
	// (endpoint metadata envoy.transport_socket_match).
	SocketLabels map[string]string
	// Via is how else the endpoint is reached; nil for nothing but the address.
	Via *Via
	// Labels are the endpoint's metadata under envoy.lb, for subsets and for people.
	Labels map[string]Value
	// Check says how active health checks reach the endpoint.
	Check EndpointCheck
}

// Health is what the source of an endpoint says of it
// (envoy.config.core.v3.HealthStatus).
type Health int32

// The health statuses. Draining endpoints get no new calls; degraded ones only
// when healthy ones are not enough.
const (
	HealthUnknown Health = iota // counts as healthy
	Healthy
	Unhealthy
	Draining
	Timeout // counts as unhealthy
	Degraded
)

// String names the status as Envoy does, in lower case.
func (h Health) String() string {
	if h < 0 || h > Degraded {
		return "unknown"
	}
	return [...]string{"unknown", "healthy", "unhealthy", "draining", "timeout", "degraded"}[h]
}
