// Package policy is what people say about their mesh, and its compiler to xDS.
//
// Three types carry it:
//
//   - [Policy] is the model: plain Go values for services, their endpoints and
//     subsets, and routes. It is the centre. YAML is one way to write it down,
//     and a program may build one by hand.
//   - [Resources] is what it compiles to: xDS v3 resources, encoded once, each
//     with a version that is a hash of its bytes, so that equal policy gives
//     equal bytes and equal versions in every process and after every restart.
//   - [Errors] is what is wrong with a policy: everything at once, in the order
//     of the file, each with its place and, where a name was mistyped, with the
//     nearest name that exists.
//
// Data passes one way:
//
//	file ── Parse, Load, Watch ──▶ Policy ── Compile ──▶ Resources
//	          strict decoding,       validation,
//	          positions kept         nothing else can fail
//
// # What a service becomes
//
// A service orders with a subset v2 compiles to the names that a client walks
// through when it dials xds:///orders:
//
//	Listener orders               an ApiListener: HTTP connection manager, routes by RDS
//	RouteConfiguration orders     one virtual host for every domain; the routes in order
//	Cluster orders, orders|v2     how to balance and connect; endpoints by EDS, or by DNS
//	ClusterLoadAssignment         of the same name as its cluster, grouped by locality
//
// Every choice of encoding follows one rule: stock gRPC clients and Envoy read
// the same resource, and each finds the form that it understands. Where they
// differ, the comment beside the code says which form was taken and why.
//
// # Reading strictly
//
// Nothing in a policy is ignored. A field that the model does not know, a value
// of the wrong type and a section that is designed but not built (identity,
// authorization) are errors: a policy that loads is a policy that is in force.
// Raw xDS resources stand beside the short form for what it does not say; they
// are checked against Envoy's own field rules and may not share a name with a
// resource that the short form makes.
//
// The JSON Schema of the format, for editors, is [Schema].
package policy
