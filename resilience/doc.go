// Package resilience is what happens around an attempt, for gRPC and HTTP alike:
// retries and what bounds them, hedges, deadlines, limits. It knows no protocol
// and, but for breakers, no clock: whoever makes the attempts tells it how each went, and
// when.
//
//   - A [Policy] is what a route says: which results are retried ([Conditions]), how
//     often and after what [Backoff], and when a further attempt is sent though
//     none has failed ([Hedge]).
//   - [Limits] count what is in flight to a cluster, for all that use it, and refuse
//     what is over Envoy's thresholds. Retries have a [Budget] there; a [Throttle] stops
//     them where most calls fail.
//   - [Faults] are what goes wrong on purpose, before there is an attempt; a [Pace] is how
//     fast a response may go.
//   - A [Bucket] gives tokens at a rate, to calls that are limited to one.
//   - A [Gradient] finds by latency how many calls there may be at a time, an [Admission]
//     keeps back a share of them while most fail, and a [Shed] bounds what a server works
//     on. They are asked once a call, before there is an attempt.
//   - A [Breaker] stops calls to an endpoint, or a cluster, that mostly fails. It is asked
//     where an endpoint is picked, by package balancer.
//   - [Attempts] is the state of one call. Its Next says whether to send an attempt,
//     to wait, or that the call has its result.
//
// # What happens when
//
// The rows are what the parts do to one another; the names are those of the cases in
// TestInteractions, here in simulated time and in package mesh through the door, by gRPC,
// HTTP/1.1 and h2c. "Retriable" is a result that the policy names. A row that does not say
// otherwise holds for requests of which something may have been sent and for those of
// which nothing was: what sets them apart is only which conditions name them.
//
//	deadline
//	  no-time-for-backoff     the backoff ends after the deadline: the failure is the result
//	                          at once, and no retry is sent (gRPC and Envoy wait, and then
//	                          say that time is up)
//	  no-time-for-attempt     it ends before, but what is left is less than any attempt takes:
//	                          the same
//	  no-time-for-hedge       a hedge that cannot end in time is not sent; what is in flight
//	                          goes on
//	  no-time-for-pushback    the server asks to wait beyond the deadline: its answer is the
//	                          result at once
//	  per-try-beyond-deadline a per-try timeout that ends after the deadline never ends
//	                          anything
//	  upload                  a route's timeout (HTTP), and that of an attempt, whether it ends
//	                          the attempt or has another stand in for it, count from the
//	                          end of the request (Envoy). If an attempt ends before that, the
//	                          timeout counts from there
//	  idle                    idle_timeout ends the call, and no attempt is sent after it: it is
//	                          the caller's time, not an attempt's
//	per-try timeout
//	  per-try                 an attempt that timed out is cancelled, and is retried under the
//	                          tokens of resets and deadline-exceeded
//	  per-try-not-named       not named: the timeout is the result
//	  per-try-in-hedge        under hedge_on_per_try_timeout the attempt goes on, and another
//	                          is sent after the backoff; the first good answer of either wins
//	  per-try-late-failure    an attempt that fails after its stand-in was admitted is dropped:
//	                          it is not retried a second time
//	  per-try-all-fail        the last to fail decides
//	  per-try-no-budget       there is no budget for the stand-in: the attempt goes on alone
//	hedges by time
//	  hedge-wins, hedge-loses the first good answer ends the call, and the others are cancelled
//	  hedge-fatal             so does the first that is not retriable
//	  hedge-failure-advances  a retriable failure has the next hedge sent at once, and
//	                          those after it at their distance from it
//	  hedge-exhausted         all have failed: the last to fail is the result; there are no
//	                          retries beyond
//	  hedge-no-budget         over the budget, the hedge is not sent, nor any after it; what
//	                          is in flight decides
//	  hedge-budget-in-flight  the budget runs out while a hedge is in flight, and one of the
//	                          attempts fails: the other decides
//	  hedge-throttled         the same for the throttle
//	  hedge-pushback          the next hedge is sent when the server asked, and those after at
//	                          their distance from it
//	  hedge-pushback-never    no more are sent; those in flight decide
//	pushback
//	  pushback                it takes the place of the backoff, which begins anew after it
//	  pushback-never          the answer is the result
//	  pushback-in-backoff     the answer of an attempt in flight asks for time while a retry
//	                          is due already: that one is sent when it was due
//	  reset-header            a header that says when a rate limit ends takes the place of the
//	                          backoff; one that asks for too long does not
//	budget
//	  budget                  as many retries wait or are in flight as may be: the failure is
//	                          the result
//	  budget-returned         a retry's place is free when its attempt has ended, however it did
//	  throttled               tokens at half or less: the failure is the result
//	  throttle-of-others      calls of routes without a retry policy, and such as theirs does not
//	                          name, count too: what succeeds earns, and a server that asks
//	                          not to be retried costs (gRFC A6; TestRetryThrottling in mesh)
//	  transparent             what grpc sends again by itself, as no server has looked at it,
//	                          is no attempt: it has no number, and costs no token
//	                          (TestTransparentRetries in mesh)
//	filters, which calls pass once, before there is an attempt
//	  fault-delay             a delay is time of the caller's: his deadline ends it, and no
//	                          attempt is made. A route's timeout counts from the start for gRPC
//	                          (gRFC A31), and after the delay for HTTP (Envoy)
//	  rate-limit              a call takes from a limit once, whatever number of attempts it has;
//	                          one that is refused makes none, and is not retried
//	                          (TestRateLimitInteractions in mesh)
//	the request
//	  committed               it is too long to be kept: the attempt in flight decides
//	  commit-in-backoff       the same with nothing in flight: the retry that is due is sent,
//	                          as what was kept can be, and is the last
//	  partial                 the answer had begun: it is the result, whatever becomes of it
//	the caller
//	  cancel                  cancelled in flight: that is the result, never retried
//	  cancel-in-backoff       nothing more is sent, the retry's place is free
//	  cancel-in-pick          an attempt that still waited for an endpoint: the same
//	no endpoint
//	  refused                 a limit, a drop or a missing route refuse the attempt: the
//	                          result, never retried (Envoy's overflow; gRFC A32)
//	  refused-hedge           the same for a hedge while another is in flight: it was not sent,
//	                          and the other decides
//	  breaker-only-endpoint   the breaker of the only endpoint is open, or the cluster's: the
//	                          same as refused, at once. A retry of a breaker's refusal would
//	                          be refused too, and is not made
//	  breaker-in-backoff      it opens while a retry is due: that is refused, and the refusal
//	                          is the result
//	  breaker-hedge           it opens, and a hedge is due: the same as refused-hedge
//	  breaker-elsewhere       the breaker of one endpoint is open and another's is not: every
//	                          attempt goes there, which costs neither a try nor a backoff
//	                          (balancer; TestBreakerInteractions in mesh)
//	  breaker-probe           the attempt is the probe, and fails: retried like any other
//	  breaker-probe-cancelled the probe is cancelled, or loses a race: another call is the
//	                          probe
//	  moved-past              a connection that cannot be made is no attempt while another
//	                          endpoint has not been asked: no server saw a request, so that
//	                          it has no number and no place among the retries, and no policy
//	                          is needed. Outlier detection and breakers learn of it, once. To
//	                          Envoy it is an attempt, of connect-failure
//	  queued                  over max_connections an HTTP/1.1 request waits for a connection
//	                          in its attempt: per-try and call deadlines hold; over
//	                          max_pending_requests it is refused
//	  unreachable             no endpoint accepts a connection: retried under connect-failure
//	                          and what names resets
//	  tried-all               every endpoint has been tried: previous_hosts gives way
//	                          (mesh/internal/call)
//	  omitted                 so do omit_host_metadata and omit_canary_hosts
//	  left-priorities         previous_priorities has attempts leave the priorities of those
//	                          before them, until there is no other with an endpoint available:
//	                          then all count again. gRPC connects to the other ones when this is
//	                          first asked for, and the attempt waits for that
//	                          (TestPreviousPriorities in mesh)
//
// # What breakers cost
//
// An open breaker fails calls that would have succeeded: those between the recovery of what
// is behind it and the first probe that succeeds after that. While another endpoint is closed
// its calls go there, so that this shows only once all have failed. A recovery is found out
// after half an open time on average, and what the probe takes; where n endpoints are open,
// which each have their own time, after an n-th of that. In chaos runs with outages
// (TestChaos in mesh: none of five backends for 0.4 s of each 1.5 s), of 100 calls made
// between outages 99.3 succeed with retries and hedges alone; 98.2 with breakers of endpoints
// that are open for 50 ms at a time; and with one of the cluster besides 98.0, 97.6 and 91.2
// where that is open for 5, 20 and 100 ms. In return, calls made during an outage fail at
// once, and cost 0.6 attempts with the first, and 0.4 with both, in place of 3.6.
//
// A probe is one call of a client, so that a short open time costs a server little: have it
// be as long as calls may fail for in vain after a recovery, and not as long as outages
// last. The default of 30 s is for endpoints, among several. Nothing is sent to an open
// endpoint because all are, as panic has it of endpoints that are ejected: who wants that
// has outlier detection in place of breakers. A refusal is not retried, as an overflow is
// not (Envoy).
//
// # What is not done
//
//   - num_retries has no cap. That of gRPC, five attempts in all (gRFC A6), is for a service
//     config that a name server may have written; under xDS a policy that means more is
//     taken at its word, as by Envoy, and budgets and throttling bound it.
//   - gRPC streams are tried again and not hedged: what an application gets of a stream
//     (Context, Trailer, and what sends return) is that of one attempt from the start, and
//     there is no one of which it could be before one wins.
//   - A message that was encoded beforehand (grpc.PreparedMsg) commits a stream: it does not
//     say how large it is, so that what is kept could not be bounded.
//   - HedgePolicy.initial_requests and additional_request_chance, which Envoy has not
//     implemented either, are accepted with a warning. So is retry_options_predicates, of
//     which Envoy itself has none: Envoy Mobile's have a phone use another network interface.
//   - net/http sends a request again itself that does no harm and whose idle HTTP/1.1
//     connection turned out to be dead, once for each such connection, which adds to policy's
//     attempts. One whose HTTP/2 stream was refused it sends again only where there is no
//     policy; under one that is a refused-stream, whether the server said so by
//     REFUSED_STREAM or by a GOAWAY that does not cover the stream. Of a request without
//     a body net/http does not say whether the stream was refused or reset with
//     PROTOCOL_ERROR, which is then taken for the same. A TLS connection of which ALPN
//     has yet to say that it is of HTTP/2, the first of its endpoint, is left to net/http.
//   - http.Request.Cancel, which is deprecated, ends an attempt and a backoff, and nothing
//     else: not the wait for a first table, nor a filter's. A request's context ends all.
//   - Requests bear no x-envoy-* headers by themselves, as if Envoy's suppress_envoy_headers
//     were set: not x-envoy-expected-rq-timeout-ms, which Envoy sends by default, and
//     x-envoy-attempt-count only where policy has attempts counted.
package resilience
