// Package extproc has a server decide on calls and change their headers and bodies: Envoy's
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
// processing_mode, the server gets the request's header and body, the response's header, body
// and trailer, and may change each of them or answer the call itself
// (immediate_response): once a response has begun, that breaks it off, and at the trailer it
// is the status of a gRPC call, with its headers as the trailer, and nothing to HTTP. A gRPC
// client's response that is a trailer alone (Trailers-Only) is a header to the server, with
// end_of_stream, by response_header_mode (gRFC A93). Mutations are subject to mutation_rules, as in Envoy: by
// default x-envoy- headers stay as they are. Host and names that begin with a colon are
// sent and never changed (gRFC A93), nor are content-length and transfer-encoding. The
// server gets no metadata of the call but what the events hold.
//
// # Bodies
//
// Of HTTP, request_body_mode and response_body_mode are those of Envoy. STREAMED sends
// pieces as they come, and each goes on when it is answered; the server may have several
// before it answers. BUFFERED sends the whole body before the header goes on, which the
// answer may change too; one of more than 1 MiB ends the call, a request with 413 and a
// response with 500. BUFFERED_PARTIAL sends the beginning of such a body, and the rest goes
// on unseen. In FULL_DUPLEX_STREAMED what goes on is what the server sends, when it likes;
// bodies go there before their header is answered. Messages of gRPC are sent one by one in
// the mode GRPC, and what goes on is what the server sends, as many or as few (gRFC A93).
// A call to whose protocol the mode does not apply fails, with failure_mode_allow too: one
// route's calls may be of both, and what was to be seen must not go by unseen.
//
// A header may be answered with CONTINUE_AND_REPLACE, which puts a body in place of any
// other (HTTP only), unless that is being sent to the server already. The length of a body that the server changed always fits it: Envoy has
// the server set content-length. What the server sends ahead of the application's first
// message of a gRPC stream has no type yet and fails the call, and a stream's header is to
// be answered before its messages are sent. Messages must be protobuf.
//
// A body passes once per call: retries send again what it was made. Of each, at most 1 MiB
// and one more piece are kept on the way there, and on the way back; then, nobody reads on
// before they went.
//
// The server ends a body early by end_of_stream, leaves the rest unseen by
// request_drain_requests or request_drain_responses, or by ending its stream once it has
// answered all that it has. Ended in the middle of a body of which it has pieces that are
// lost, it fails the call, with failure_mode_allow too; elsewhere that has pieces that were
// not answered go on as they were.
//
// A route is not looked for again: clear_route_cache has no effect (gRFC A93). A header
// that the server changes still counts for what comes after the filter, such as hashes.
//
// # When the server fails
//
// Without an answer in message_timeout, 200 ms by default, with which connecting counts,
// or with an error, a call fails. Bodies of FULL_DUPLEX_STREAMED and GRPC, and what comes
// with them, have as long as the call. It fails: under HTTP with 504 or status_on_error (500), under
// gRPC with UNAVAILABLE. With failure_mode_allow it goes on without the server. An answer
// to a trailer comes too late to fail an HTTP call, whose body the caller has: without
// failure_mode_allow, the trailer is dropped then. A stream that the server ends
// with OK leaves the rest of the call alone.
//
// With observability_mode, calls wait only until an event is sent, and are not changed.
// Of bodies, those of STREAMED and GRPC are sent then, as in Envoy.
// The stream then stays for deferred_close_timeout, 5 s by default, behind the call's end.
//
// # Where the server is
//
// grpc_service names it as gRFC A102 has it: see package resolver/grpcservice. One that
// is not allowed refuses the configuration. http_service is not supported.
//
// Routes override what ExtProcOverrides has, each field from the most specific level that
// sets it, and turn the filter off, as in Envoy. Accepted and not acted on, with a
// warning: metadata, grpc_initial_metadata, modifiers, spans, allow_content_length_header
// and request_trailer_mode: a request's trailer goes by unseen. A mode_override without an
// answer and a streamed_immediate_response are none that the server was asked for.
package extproc
