// Package extproc has a server decide on calls and change their headers: Envoy's
// external processing filter (envoy.extensions.filters.http.ext_proc.v3, gRFC A93), for
// clients of both protocols. It stands apart, and is brought along like a program's own,
// because a program that does not ask for it need not carry its protocol:
//
//	m, err := mesh.New(mesh.WithFilter(extproc.Kind()))
//
// # What the server sees and says
//
// Each call has one stream to the server (envoy.service.ext_proc.v3.ExternalProcessor),
// opened at its first event and ended with the call, or when no event is left to send. By
// processing_mode, the server gets the request's header, the response's header and the
// response's trailer, and may change each of them or, at the headers, answer the call
// itself (immediate_response). Mutations are subject to mutation_rules, as in Envoy: by
// default x-envoy- headers stay as they are. Host and names that begin with a colon are
// sent and never changed (gRFC A93), nor are content-length and transfer-encoding. The
// server gets no metadata of the call but what the events hold.
//
// Bodies are not sent: filters see no messages. A body mode other than NONE refuses the
// configuration. A mode_override that asks for one fails as a server that is gone does.
//
// A route is not looked for again: clear_route_cache has no effect (gRFC A93). A header
// that the server changes still counts for what comes after the filter, such as hashes.
//
// # When the server fails
//
// Without an answer in message_timeout, 200 ms by default, with which connecting counts,
// or with an error, a call fails: under HTTP with 504 or status_on_error (500), under
// gRPC with UNAVAILABLE. With failure_mode_allow it goes on without the server. An answer
// to a trailer comes too late to fail a call, whose body the caller has: without
// failure_mode_allow, the trailer is dropped then. A stream that the server ends
// with OK leaves the rest of the call alone.
//
// With observability_mode, calls wait only until an event is sent, and are not changed.
// The stream then stays for deferred_close_timeout, 5 s by default, behind the call's end.
//
// # Where the server is
//
// grpc_service names it as gRFC A102 has it: see package resolver/grpcservice. One that
// is not allowed refuses the configuration. http_service is not supported.
//
// Routes override what ExtProcOverrides has, each field from the most specific level that
// sets it, and turn the filter off, as in Envoy. Accepted and not acted on, with a
// warning: metadata, grpc_initial_metadata, modifiers and spans.
package extproc
