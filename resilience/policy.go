package resilience

import "time"

// Policy is what policy says of the attempts of a route's calls. It is immutable but
// for what Latency learns.
type Policy struct {
	Retry Retry
	// Hedge is nil for none.
	Hedge *Hedge
	// Latency is what attempts of the route take: of use to hedge by a quantile, and not
	// to start what cannot end in time. May be nil.
	Latency *Latency
}

// Cuts reports whether policy may end an attempt that is under way, and not the call with
// it. Nil does not.
func (p *Policy) Cuts() bool {
	return p != nil && (p.Hedge != nil || p.Retry.PerTryTimeout > 0 || p.Retry.PerTryIdleTimeout > 0)
}

// Retry says when and how often a call is tried again
// (envoy.config.route.v3.RetryPolicy; gRFC A44).
type Retry struct {
	// Retries is how many attempts may follow the first (num_retries; Envoy's default
	// of 1 is the compiler's to write).
	Retries int
	// On are the results that are retried.
	On Conditions
	// Backoff is what passes before a retry.
	Backoff Backoff
	// RateLimited takes its place where an answer says when to come back; may be nil.
	RateLimited *RateLimitedBackoff
	// PerTryTimeout bounds each attempt, from the end of its request (Envoy) until its
	// answer begins. Zero means no bound. One that is longer than the call's whole timeout
	// never ends first.
	PerTryTimeout time.Duration
	// PerTryIdleTimeout bounds the time in which nothing comes of an attempt,
	// while its answer is awaited and while it is read. The answer of a unary RPC comes
	// whole. Zero means no bound.
	PerTryIdleTimeout time.Duration
	// PreviousHosts has a retry go to an endpoint that the call has not tried, as
	// long as there is one (envoy.retry_host_predicates.previous_hosts). Envoy
	// draws host_selection_retry_max_attempts times and then takes what it got.
	PreviousHosts bool
	// UpdateFrequency, unless 0, has further attempts leave the priorities that others went
	// to: each time there were so many, those of all of them count as if nothing in them were
	// available, as long as another has an endpoint
	// (envoy.extensions.retry.priority.previous_priorities).
	UpdateFrequency int
	// BufferLimit is how many bytes of a request are kept to be sent again. Zero
	// means DefaultBufferLimit.
	BufferLimit int64
}

// DefaultBufferLimit is how much of a call's request is kept to be sent again where
// policy does not say: grpc-go's limit, 256 KiB.
const DefaultBufferLimit = 256 << 10

// Hedge sends a further attempt while others have not been answered. The first answer
// that is not to be retried ends the call, and the other attempts are cancelled.
type Hedge struct {
	// OnPerTryTimeout sends one, after the backoff, when an attempt has taken as long as
	// PerTryTimeout, and lets that attempt go on
	// (envoy.config.route.v3.HedgePolicy.hedge_on_per_try_timeout).
	OnPerTryTimeout bool
	// Delay sends one each time so long after the last (gRFC A6, hedgingDelay). With
	// Quantile it is what counts until enough is known. Zero means not by time.
	Delay time.Duration
	// Quantile, 0 to 1, sends one when the last has taken longer than this share of
	// attempts do. Zero means not by quantile.
	Quantile float64
}

// byTime reports whether hedges are sent at times, not on timeouts. The retries of such
// a call are its hedges: one that fails has the next sent at once (gRFC A6).
func (h *Hedge) byTime() bool { return h != nil && (h.Delay > 0 || h.Quantile > 0) }

// after is how long after the last attempt the next hedge is sent; false for not at all.
func (h *Hedge) after(l *Latency) (time.Duration, bool) {
	if h.Quantile > 0 {
		if d, ok := l.Quantile(h.Quantile); ok {
			return d, true
		}
	}
	return h.Delay, h.Delay > 0
}
