// Package balancer keeps the clusters of a mesh and picks an endpoint for each
// call, in the same way for gRPC and HTTP.
//
// A [Cluster] is a named set of endpoints with one policy. It is told its [Config]
// and, where endpoints come from EDS, its [Assignment]; it resolves DNS names
// itself. An [Endpoint] is one address with what was learned about it, such as the
// calls in flight, and stays the same across updates. A [View] is one consumer's
// picture of a cluster, a gRPC channel's or an HTTP client's: it has a [Link] to
// each endpoint, made by the protocol's [Connector], follows which of them work,
// and picks.
//
//	Config, Assignment, DNS answers ──> Cluster ──snapshot──> View ──picker──> Pick
//	                                                 Conn ──state──┘
//
// # Picking
//
// A pick chooses a priority, then a locality where localities are weighted, then an
// endpoint by the cluster's policy. Load goes to the first priority as long as
// enough of it is available and spills to the next in proportion to what is missing
// (Envoy's priority levels, overprovisioning factor and degraded endpoints). An
// endpoint is available unless its source, active health checks or outlier detection
// call it unhealthy or its connection fails. When fewer are available than the panic threshold and no other priority
// can stand in, health is ignored. However the shares fall, a call does not fail
// while there is an endpoint it may go to. Further attempts of a call may leave the
// priorities that it has tried ([Apart]).
//
// Under ring_hash and maglev the hash of the call ([PickInfo]) chooses the priority and,
// in one table over all its localities, the endpoint. The tables are those of Envoy, and
// the same for gRPC and HTTP; they stand over what is healthy, connected
// or not. A call whose endpoint cannot be reached goes to the next in the table. A gRPC
// connection is made when a call's hash first asks for it, and the call waits.
//
// Where a policy bounds the load, a key whose endpoint has too much to do goes to
// another, by Envoy's algorithm.
//
// [Subsets] divide a cluster by the labels of its endpoints. Each subset that calls ask
// for ([Criteria]) has a tree of its own, with its own priorities, localities and panic.
// [ZoneAware] has calls stay in the process's own locality, by where its endpoints and
// the process's peers ([Local]) are. An [Override] names the endpoint of a session, and
// comes before all of these.
//
// # Health
//
// What a source says of an endpoint is in its [EndpointConfig]; what was found out beside it
// is on the [Endpoint], for all views of the cluster, and outlives updates. [HealthCheck]s
// probe endpoints by timers that belong to the Cluster, with the probers that
// [ClusterOptions] names. [OutlierDetection] goes by what [Link.Done] is told: a call
// adds to counters of the endpoint; failures in a row eject at once, rates with the next
// sweep. A change makes a snapshot of the same members and new classes, which the views
// pick by. An endpoint that its source takes away goes at once, whatever its checks say.
//
// # Breakers
//
// An endpoint, and a cluster, may have a breaker ([resilience.Breaker]), which also learns
// from [Link.Done]. What a failure is, what an open one does to priorities and panic, and how
// probes are found, is said where it is kept (breaker.go); [Endpoint.Breaker],
// [Cluster.Breaker] and [Cluster.Limits] show them.
//
// # Load
//
// peak_ewma and client_side_weighted_round_robin go by what calls and endpoints tell of
// latency and load: [Link.Answered] and [Link.ReportLoad], which a protocol's adapter
// uses where [Link.WantsLatency] and [Link.WantsLoad] say so, and else spares.
//
// A cluster may be made of others ([Cluster.Compose]). Its view has a view of each that
// is needed, divides the calls among them by what they have available, and has theirs
// pick.
//
// The picker is an immutable tree behind an atomic pointer: a pick takes no lock and
// allocates nothing. Every update makes a new one; a burst of updates makes one.
//
// # Connections
//
// [Endpoint.Dial] makes the connections of both protocols as [Connection] says. Where
// that counts connections, a link has a pool of them: a pick takes a stream of the oldest
// connection that has one free, a further one is opened when there is none (gRFC A105),
// and a call waits its turn where there may be no more. The limit of streams is policy's,
// because grpc-go tells a balancer nothing of the one that a server has set: where a
// server takes fewer, calls queue in grpc-go as they do without a pool.
//
// These have no effect, because neither library lets them be set for a connection:
//
//   - for gRPC, initial windows, the size of the header table, HTTP/2 pings and the size
//     of a header: grpc-go has them for a whole channel, as dial options, which stay the
//     program's (grpc.WithKeepaliveParams, WithInitialWindowSize, WithMaxHeaderListSize);
//   - the number of headers, and buffers of a connection
//     (per_connection_buffer_limit_bytes): both libraries have their own;
//   - HTTP/2 windows above 4 MiB, which net/http has no more of;
//   - socket options, and connections ahead of need (preconnect_policy): a gRPC channel
//     connects to all of its endpoints anyway.
//
// All but those of the first kind are warned about when the cluster is decoded.
package balancer
