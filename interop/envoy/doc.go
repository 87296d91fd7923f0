// Package envoy holds Weft to what a real Envoy does.
//
// Its tests give both the same resources, from one xdsserver on loopback, and the same
// requests: Envoy has a listener which plain clients of net/http and grpc-go call, Weft
// is called through mesh.HTTPClient and mesh.Dial. Backends answer with all that they saw
// of a request, so that what is compared is the backend that was asked, the request as it
// came there, and the answer as it came to the caller. Policies and requests are made up
// at random; a failure prints the seed with which WEFT_SEED replays it.
//
// WEFT_ENVOY names the Envoy, which must be of version 1.40. Without it the tests are
// skipped; `.ci/oracle` installs one and runs them.
//
// # What is compared
//
// Virtual hosts; every kind of path, header, query and cookie match; clusters and
// weighted clusters; header changes at all four levels with all actions; header mutation
// filters with overrides at all four levels, of requests, their queries, responses and
// the trailers of gRPC; clusters named by headers; rewrites of path, also by URI templates,
// and host; redirects; direct responses; hash policies and the endpoints to which ring_hash
// and maglev lead, with weights, localities, priorities, hostnames, keys of endpoints, and
// endpoints of which EDS says that they are ill; subsets with all selectors and fallbacks.
// Sessions by cookies and headers, their own and the other's, of endpoints that are well,
// ill and gone, strict or not. Of policies that draw lots, shares are compared: of
// weighted clusters, localities and endpoints, of priorities in all states of health, of
// the clusters of an aggregate while their endpoints fall ill and get well, and of zones,
// by where callers and endpoints are. Bounded load sends the same requests elsewhere.
// Copies of mirrored calls are compared as they came. Of rate limits, which requests pass
// buckets that do not fill, what services are asked and what becomes of their answers; of servers
// too, to which calls come from several addresses. Endpoints fail in a row, and outlier detection ejects the same ones. What a proxy adds
// of its own is left out of the comparison, in normalise_test.go and nowhere else.
//
// Faults, of which policy and requests have all calls or none, delay and abort the same ones
// at all four levels, and shares of them where policy says so; delays, and responses that go
// slowly, take as long.
//
// Of retries, what comes of each attempt is scripted (script_test.go), and played by
// backends that speak HTTP by hand: answers, statuses of gRPC with and without headers, streams
// and connections that are lost before and after headers, silence. Compared are how
// many attempts the backends saw, the body and the number that each had, and what the
// caller got, from which attempt; of previous_priorities, to which priorities they went. Under limits, calls come one after another and stay, and
// what is compared is which of them come through, wait and are refused: of an aggregate, by
// its own limits of retries and by its clusters' limits of all else. So it is under adaptive
// concurrency, whose limit grows and shrinks in both as far; and of calls of which many fail, admission control refuses the same share.
//
// Of external processing, bodies in all modes of HTTP, on clients and servers, which a server
// leaves alone, replaces, clears, answers, fails and asks for: what it was told, what came to
// the backend, and what to the caller.
//
// # Where they differ
//
// These are known, and the generators make up nothing that meets them.
//
//   - Several values of one header are matched one by one, as in Envoy. Of gRPC calls they
//     are matched as one, joined with commas (gRFC A28). Envoy joins what it keeps
//     inline (accept, cookie, content-type and some more) when it receives it; Weft has
//     them as the application gave them.
//   - A call that no route is for ends in mesh.ErrNoRoute, for gRPC with the status
//     UNAVAILABLE (gRFC A28); Envoy answers 404, which gRPC takes for UNIMPLEMENTED.
//     So does one whose header names a cluster that is not there (cluster_header); Envoy
//     answers it 503.
//   - Headers of gRPC's own are not changed, and a gRPC call's host is rewritten by
//     host_rewrite_literal and auto_host_rewrite alone (gRFCs A81, A111), without
//     x-envoy-original-host and x-forwarded-host. One whose new value the protocol cannot
//     carry in Go (gRPC: other than printable ASCII; HTTP: control characters) is left as it
//     is; Envoy sends it.
//   - A gRPC call that policy answers gets a status, and no headers. A redirect fails it.
//   - A policy with a command in a header's value that Envoy does not know is refused by
//     Envoy. Weft leaves that header as it is, with a warning.
//   - A host that a rewrite takes from the request and that is none (it has a space or a
//     slash) is left as it was; a path that does not begin with a slash fails the call.
//     Envoy sends either as it is.
//   - net/http writes a backslash in a path, as any byte that may not stand there, with a
//     percent sign.
//   - In a redirect %REQ(:path)% is the path that was asked for, and in any answer of
//     policy %RESPONSE_CODE% is its status. In Envoy the former may be rewritten already,
//     and the latter is 0.
//   - ring_hash and maglev: gRPC always goes by the weights of localities, and several values
//     of a header are hashed as one (gRFC A42). Calls may go to degraded endpoints as under
//     any other policy; Envoy's tables leave these out and their share of the calls fails.
//     Under use_hostname_for_hashing an endpoint without a hostname has its address for a
//     key, not nothing. A priority whose localities have no weight is balanced without.
//   - A session's cookie that Weft gave a gRPC call names the cluster too (gRFC A60), which
//     Envoy does not understand. gRPC knows three statuses of override_host_status, and
//     keeps to a draining endpoint only if it has a connection to it (gRFC A55).
//   - A cluster of an aggregate divides its part of the calls by its own panic, and among
//     its degraded endpoints as if it were alone (gRFC A75). Envoy has all priorities of
//     the aggregate in one list: degraded endpoints of one cluster get nothing while
//     healthy ones of another can stand in, and in panic of all each cluster gets its
//     share of the calls by how many endpoints it has.
//   - Zone-aware balancing takes callers to be spread evenly over the localities while
//     nothing is known of them; Envoy balances without zones then.
//   - In panic calls go to draining endpoints only if there are no others.
//   - Where a filter changes query parameters, those that it leaves alone stay as they
//     were escaped. Envoy decodes them, and what another level gave them, and does not
//     escape them again. Names that would break the query are escaped, too.
//   - %REQ(:path)% does not have the question mark of an empty query.
//   - In what a mirror policy changes of a copy's headers %REQ(:path)% is the path that was
//     asked for, in Envoy the rewritten one; and remove_on_match is warned about. The first
//     copy for a cluster that a header names is not made unless Weft has that cluster by
//     cluster_header already: it asks for such clusters when they are named.
//   - Of a route with cluster_header %UPSTREAM_CLUSTER% is empty.
//   - Clients' calls come from no address: remote_address, masked_remote_address and
//     remote_address_match make no descriptor of them. A local limit for each connection is
//     one for all of a client's calls, and on servers one for each address and
//     configuration, where Envoy has one for each connection.
//   - Of a local limit a request that counts for no hits (hits_addend of 0) takes nothing, and
//     passes. Envoy refuses it whatever there is left.
//   - A descriptor in shadow_mode that has no tokens left refuses nothing, and the other limits
//     go on. Envoy asks no more of them, so that a shadow opens what they hold; and tells of it.
//   - Calls to a server come from where their connections do. Envoy, unless it is told to
//     use_remote_address, believes x-forwarded-for.
//   - A rate limit service that answers without a code has failed. Headers that frame a
//     message are not added for it. By envoy_grpc it cannot be asked, and always fails.
//   - A gRPC call that is aborted by HTTP status 431 gets INTERNAL, by gRPC's table of today;
//     Envoy has UNKNOWN. What is no status of gRPC is UNKNOWN, where Envoy sends the number;
//     and OK without a message is said to callers that wait for one in other words.
//   - A response that a fault slows down is read from the backend as slowly. Envoy reads up
//     to a buffer's length ahead, so that a route's timeout may end there before the
//     response has gone to the caller.
//   - A direct response with status 204 has no body. Envoy sends it one.
//   - An attempt of gRPC that is lost or takes too long has a status, by which it is
//     retried: most often UNAVAILABLE and DEADLINE_EXCEEDED (gRFC A44). Envoy goes by the tokens of
//     resets alone. A call whose answer begins with headers, and is no bare status, is
//     not tried again whatever the headers say (gRFC A6); Envoy goes by them. Nor does Weft
//     see an HTTP status in the place of an answer, but what grpc-go makes of it.
//   - A gRPC call is not bounded by a route's timeout (gRFC A31).
//   - grpc-go itself sends again what a server says it did not look at (REFUSED_STREAM,
//     GOAWAY), as net/http does where there is no retry policy, and net/http idempotent
//     requests for which an HTTP/1.1 connection that was used before is lost before any
//     answer: no policy sees those attempts.
//   - A stream that a GOAWAY does not cover was refused (RFC 9113, section 6.8), and is
//     retried under refused-stream. Envoy lets it go on until its connection ends, which
//     is a reset.
//   - Of what a retry budget is a share of, an attempt that failed is one until its retry is
//     admitted. In Envoy one whose answer is a bare status of gRPC's no longer is.
//   - The retry budget of an aggregate is a share of the calls to it. Envoy counts these among
//     the calls of its clusters alone, so that the budget there is its minimum.
//   - In a client a call that a filter keeps back fails as one over any other limit does, in
//     Envoy with an answer.
//   - A call moves on to another endpoint when one accepts no connection, whatever its
//     policy, and that is no attempt. In Envoy it is one, and only connect-failure has it
//     tried elsewhere.
//   - A body that can be had again (http.Request.GetBody) is sent again however long it is.
//   - External processing: a body whose length is known has it in content-length, also if the
//     server changed it and does not say how long it is now. Envoy fails that call, and in most
//     modes drops the length.
//   - External processing: what Envoy does at a body depends on how much of it has come when
//     its header is answered: whether STREAMED responses can still get other headers or another
//     status, and whether what is too large to be BUFFERED ends a call whose mode_override asks
//     for that, or for less. In Weft a header goes on when it is answered, and a body is buffered
//     as the answer says.
//   - External processing: under response_header_mode SKIP a response that is too large to be
//     BUFFERED is answered with 500; Envoy breaks it off. The server is not told the header of the
//     answer to a request that is too large, 413.
package envoy
