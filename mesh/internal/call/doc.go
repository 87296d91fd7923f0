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
// Where policy may have a call sent several times, the adapter makes [Attempt]s, and
// [Call.Retry] (one after another), [Call.Race] (several at a time) or a [Series] say
// which and when, by package resilience.
//
// Every refusal is an [Error]: it tells errors.Is which sentinel it is, gRPC
// which status, and a person what to look at.
package call
