// Package xdsserver is a control plane: it serves what a policy compiled to, over
// xDS v3, to Weft's own client, to gRPC clients of every language and to Envoy.
//
// Three types carry it:
//
//   - [Server] takes resources with Apply and serves them: the aggregated discovery
//     service and the separate ones of Listener, RouteConfiguration, Cluster,
//     ClusterLoadAssignment, Secret and TypedExtensionConfig (aggregated only), each as state of the world and incremental.
//   - [github.com/weft-mesh/weft/xdsserver/policy.Resources] is what it serves.
//   - [Client] tells who is connected, what they want, and what they accepted or
//     rejected.
//
// The program is xdsserver/cmd/xdsserver; a server in a process of one's own is
//
//	server := xdsserver.New(xdsserver.Options{})
//	err := server.Apply(resources)
//	err = server.Serve(listener)
//
// # A change's way
//
//	Apply ─▶ store: encode what is new, compare, mark who wants it ─▶ stream wakes
//	                                                                      │
//	client ◀─ spliced response ◀─ cut to size ◀─ order ◀─ compare with what it has
//
// A resource is encoded when it appears, once. A response is a few bytes that belong
// to the stream (version, type, nonce, removed names) followed by the resources'
// shared buffers. A stream has no queue: it knows which names may have changed,
// and compares what it told the client with the newest set when it is able to
// send. A slow client therefore gets the newest state, holds up nobody, and costs
// no memory while it is slow.
//
// # The protocol
//
// What the xDS protocol leaves to servers is decided thus:
//
//   - Order: Secret, TypedExtensionConfig, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, and
//     then what is gone, so that a route never leads to what the client has not
//     or no longer (make before break).
//   - A client that connects is told of what is gone only after it acknowledged what
//     there is, or after a second: its routes may still lead there.
//   - Versions come from content, so that a restart of the server with the same
//     policy changes none, and a client that reconnects with
//     initial_resource_versions is sent only what differs.
//   - A name that does not exist is answered at once in the incremental protocol,
//     and remembered: when it comes into being, the client is told. Before the first
//     Apply nothing is known not to exist, and clients wait.
//   - A rejected response is logged once and not sent again; what the client
//     rejected is sent again when its content changes.
//   - Listeners and clusters may be subscribed to as a whole by an empty list in the
//     first request; every type by "*".
//   - State of the world means all listeners and clusters in each response, and of
//     the other types only what changed.
package xdsserver
