// Package resolver turns resources into tables: it says, for every call of a target,
// by which route it goes and to which cluster.
//
// Three types matter to a reader. A [Resolver] keeps what a mesh's targets need up to
// date. A [Target] is a name that a program calls. A [Table] is the compiled,
// immutable form of a target's policy, whose Route finds the [Route] for a
// [Request], without a lock and without allocating.
//
// # How a change comes to a call
//
//	Source ──watch──> mailbox ──> the resolver's goroutine ──> Table ──atomic store──> Target
//	  │ xds.Client or Static           │ endpoints change
//	  └ decodes with Types             └──────────────> balancer.Cluster, and nothing else
//
// A [Source] decodes resources by [Types] on its own goroutine: an error there is a
// NACK that names the field, and the last good resource stays. What is decoded is a
// plain, immutable value in which everything that does not depend on a target is
// compiled already: regular expressions, header names, the index of routes. The
// resolver's one goroutine follows the names from listener to route configuration
// to clusters to endpoints. Its mailbox keeps only the newest state of a resource,
// so that a burst of updates is one.
//
// # Make before break
//
// A table is published when every cluster that it refers to is ready: its resource
// and its endpoints came, or cannot be had. Until then the table before it stays, and
// so do the clusters that only the old one needs, even when the control plane has
// deleted them. A newer update takes the place of a table that still waits. A table
// that would send calls to a cluster which does not exist, and that the old one does
// not need, is held back for up to 15 s: mostly policy has moved on already. A
// cluster that no table refers to any more is closed a while later, for the calls
// that the last one routed.
//
// When a listener or route configuration is deleted, the target's next table stands
// for the error, and every call gets it. When the source cannot be reached, what
// there is stays in use; a target without a table waits, and [Target.Await] says for
// what.
//
// Where calls name their cluster themselves (cluster_header), the first call that names
// one has it watched, and waits; when it is ready, the target's next table has it, for
// as long as calls use it. What calls may ask for is bounded, see [Target.Demand].
//
// # Two ways to a route configuration
//
// A gRPC client's target names an API listener, which has its route configuration in
// itself or names one (gRFC A27). A control plane that takes the program for a
// sidecar has no such listener: it sends one for each port of the machine, and route
// configurations that are named after the port, with a virtual host for each
// service. A target may name such a route configuration directly; the virtual host
// is found by the authority, as a sidecar would. See [TargetName].
//
// # Servers
//
// The listener of a server (gRFC A36) has a connection manager in a filter chain. Its
// target's table has no clusters: its routes say what filters a request passes that came
// in, see [Route.Inbound]. As connections are not looked at, a listener whose chains
// match them or secure them stands for an error.
//
// # What changes a call
//
// A [Route] sends a call to a cluster, with a [Change] beside it if policy changes
// headers, path or host, or gives the [Answer] itself. The headers that each level of
// a route configuration changes are one flat list per cluster, in order, made when the
// resource is decoded. Where gRPC differs:
//
//   - Headers that are gRPC's own (grpc-*, content-type, te, user-agent) and binary
//     ones (-bin) are left alone, and so are those whose new value is not printable ASCII.
//     The header of a response is changed, its trailer is not.
//   - The path is rewritten, which stock gRPC clients do not do (gRFC A28). The
//     authority is rewritten by host_rewrite_literal and auto_host_rewrite only, and only
//     if the control plane is trusted (gRFCs A81, A111); a policy that the program has in
//     itself is. The other rewrites of hosts are not for gRPC.
//   - A direct response is a status; a redirect fails the call.
//
// A header's value may ask for what a client in the process can tell: %REQ(x)%,
// %PROTOCOL%, %ROUTE_NAME%, %UPSTREAM_CLUSTER%, and in responses
// %RESP(x)% and %RESPONSE_CODE%; there %REQ(x)% is the request as it was sent. A header
// with any other command is left as it is, with a warning, which is what Envoy does
// where there is no downstream connection to tell about; a path or host with one fails
// the route. x-envoy-original-path and, for HTTP, x-envoy-original-host keep what was
// rewritten.
//
// # Filters
//
// A listener's HTTP filters, and what routes say of them, are read with the resources
// that they stand in, by the kinds of [TypesConfig].Filters; see package filter. A table
// makes the filters of each route once. Levels of a route configuration that say nothing
// of filters share those of the level above. What is overridden is found by the filter's
// name; the most specific level that names a filter says whether it is disabled. A filter
// whose overrides do not fit, or whose configuration was to be discovered and cannot be had,
// fails the route's calls: they must not go without. A route that answers itself does so
// behind its filters.
//
// # What is not acted on
//
// Fields that are set and not acted on are [Warnings], unless leaving them out could
// weaken security or send a call to a place where it must not go. Such a field
// refuses the resource; or, if the resource would take good policy along with it,
// fails just the route, cluster or connection that has it, with [ErrUnsupported].
//
// Semantics are Envoy's (https://www.envoyproxy.io/docs/envoy/latest/api-v3/api), and
// for gRPC calls those of gRFCs A27, A28, A31, A39 and A52 where they differ.
package resolver
