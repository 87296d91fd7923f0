// Package call is the way of one call through a target's policy, for gRPC and
// HTTP alike: a feature that is written here works in both.
//
// The adapters in package mesh fill in a [Call]'s request, then
//
//	Route  waits for the target's first table and finds route and cluster
//	Pick   chooses an endpoint among the connections of the adapter's own view
//	Done   reports, once, how the attempt on that endpoint ended
//
// For a call that came in to a server there is no endpoint: there is Accept, which
// finds the route, and Admit, which has it pass the filters.
//
// Every refusal is an [Error]: it tells errors.Is which sentinel it is, gRPC
// which status, and a person what to look at.
package call
