package policy

import "time"

// Retry says which calls are tried again, and when
// (envoy.config.route.v3.RetryPolicy; gRFC A44 for gRPC clients, which know attempts,
// the gRPC statuses of on, and backOff). How many retries a service takes at once is its
// limits' to say.
type Retry struct {
	// Attempts is how often a call is sent at most, the first time included; 2 or
	// more. Not given means 2.
	Attempts *uint32 `policy:"attempts"`

	// On are the results that are retried. Not given means connect-failure,
	// refused-stream and unavailable, unless statusCodes or headers are given.
	On []RetryOn `policy:"on"`
	// StatusCodes are HTTP statuses that are retried beside those of on.
	StatusCodes []uint32 `policy:"statusCodes"`
	// Headers are headers of a response, by name, any of which has it retried.
	Headers map[string]*HeaderMatch `policy:"headers"`

	// Methods are the HTTP methods of the requests that may be retried, such as GET.
	// Not given, all.
	Methods []string `policy:"methods"`
	// RequestHeaders are headers, by name, of which a request must have one to be
	// retried. Not together with methods.
	RequestHeaders map[string]*HeaderMatch `policy:"requestHeaders"`

	// PerTryTimeout bounds each attempt until its response begins. Not given means
	// no bound but the route's timeout.
	PerTryTimeout *time.Duration `policy:"perTryTimeout"`
	// PerTryIdleTimeout bounds the time in which nothing comes of an attempt. Not
	// given means no bound.
	PerTryIdleTimeout *time.Duration `policy:"perTryIdleTimeout"`

	// BackOff is what passes between attempts.
	BackOff *BackOff `policy:"backOff"`
	// RateLimitedBackOff takes its place where a response says when to come back.
	RateLimitedBackOff *RateLimitedBackOff `policy:"rateLimitedBackOff"`

	// PreviousHosts, when false, lets a retry go to an endpoint that the call has
	// tried. Not given means true: it goes elsewhere as long as it can.
	PreviousHosts *bool `policy:"previousHosts"`
	// OmitHosts are sets of labels: a retry leaves out endpoints that have all labels of
	// one of them, as long as there are others
	// (envoy.retry_host_predicates.omit_host_metadata). gRPC clients do not know it.
	OmitHosts []Labels `policy:"omitHosts"`
	// PreviousPriorities has retries leave the priorities that the call has tried.
	PreviousPriorities *PreviousPriorities `policy:"previousPriorities"`
	// BufferLimit is how many bytes of a request are kept to be sent again. One that is
	// longer is not retried. Not given means the client's own: 262144 in Weft.
	BufferLimit *uint32 `policy:"bufferLimit"`
}

// PreviousPriorities has retries go to other priorities of endpoints than attempts before
// them, as if nothing in those were healthy, as long as others have an endpoint
// (envoy.retry_priorities.previous_priorities). gRPC clients do not know it.
type PreviousPriorities struct {
	// UpdateFrequency is after how many attempts priorities are left, each time; 1 or
	// more. Not given means 1.
	UpdateFrequency *uint32 `policy:"updateFrequency"`
}

// RetryOn is a result that is retried, by the names that Envoy has for them
// (x-envoy-retry-on and x-envoy-retry-grpc-on).
type RetryOn string

// The results. Those with a status of gRPC's are the ones that gRPC clients know.
const (
	On5xx                RetryOn = "5xx"
	OnGatewayError       RetryOn = "gateway-error"
	OnReset              RetryOn = "reset"
	OnResetBeforeRequest RetryOn = "reset-before-request"
	OnConnectFailure     RetryOn = "connect-failure"
	OnEnvoyRateLimited   RetryOn = "envoy-ratelimited"
	OnRetriable4xx       RetryOn = "retriable-4xx"
	OnRefusedStream      RetryOn = "refused-stream"
	OnCancelled          RetryOn = "cancelled"
	OnDeadlineExceeded   RetryOn = "deadline-exceeded"
	OnInternal           RetryOn = "internal"
	OnResourceExhausted  RetryOn = "resource-exhausted"
	OnUnavailable        RetryOn = "unavailable"
)

func (RetryOn) values() []string {
	return []string{string(On5xx), string(OnGatewayError), string(OnReset), string(OnResetBeforeRequest),
		string(OnConnectFailure), string(OnEnvoyRateLimited), string(OnRetriable4xx), string(OnRefusedStream),
		string(OnCancelled), string(OnDeadlineExceeded), string(OnInternal), string(OnResourceExhausted), string(OnUnavailable)}
}

// BackOff is an exponential back-off: what passes before a retry is drawn from an
// interval that doubles.
type BackOff struct {
	// BaseInterval is the first interval, 1ms or more. Not given means 25ms.
	BaseInterval *time.Duration `policy:"baseInterval"`
	// MaxInterval is the longest, not less than baseInterval. Not given means ten
	// times baseInterval.
	MaxInterval *time.Duration `policy:"maxInterval"`
}

// RateLimitedBackOff waits as long as a response asks for.
type RateLimitedBackOff struct {
	// ResetHeaders are the headers that say when to come back, by name, such as
	// retry-after: seconds.
	ResetHeaders map[string]ResetFormat `policy:"resetHeaders,required"`
	// MaxInterval is the longest wait that is accepted. Not given means 300s.
	MaxInterval *time.Duration `policy:"maxInterval"`
}

// ResetFormat is how a header says a time.
type ResetFormat string

// The formats: seconds from now, and seconds since 1970.
const (
	ResetSeconds       ResetFormat = "seconds"
	ResetUnixTimestamp ResetFormat = "unix_timestamp"
)

func (ResetFormat) values() []string {
	return []string{string(ResetSeconds), string(ResetUnixTimestamp)}
}

// Hedge sends a call again before its attempts have failed; the first good response
// counts. Only for calls that do no harm when they are processed several times. At
// least one of onPerTryTimeout, delay and quantile is given.
type Hedge struct {
	// OnPerTryTimeout, when true, sends another attempt when one has taken as long as
	// the retry's perTryTimeout, and lets that one go on.
	OnPerTryTimeout bool `policy:"onPerTryTimeout"`
	// Delay sends another attempt each time so long after the last. Weft's clients
	// only.
	Delay *time.Duration `policy:"delay"`
	// Quantile sends another when the last has taken longer than this part of attempts
	// do, such as 95%; the delay counts until that is known. Weft's clients only.
	Quantile *Fraction `policy:"quantile"`
}

// RetryBudget bounds retries as a part of what is in flight, in place of maxRetries
// (envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget).
type RetryBudget struct {
	// BudgetPercent is of the calls in flight. Not given means 20%.
	BudgetPercent *Fraction `policy:"budgetPercent"`
	// MinRetryConcurrency is how many retries there may always be. Not given means 3.
	MinRetryConcurrency *uint32 `policy:"minRetryConcurrency"`
}

// RetryThrottling stops the retries of a client while its calls mostly fail: each
// failure costs one token, and with half of them gone there are no retries (gRFC A6).
// Weft's clients only.
type RetryThrottling struct {
	// MaxTokens is how many tokens there are at first, 1 to 1000.
	MaxTokens uint32 `policy:"maxTokens,required"`
	// TokenRatio is the part of a token that a success gives back, 0.1% or more.
	TokenRatio Fraction `policy:"tokenRatio,required"`
}

// RoutePriority chooses which of a service's limits a route's calls count for.
type RoutePriority string

// The priorities.
const (
	PriorityDefault RoutePriority = "default"
	PriorityHigh    RoutePriority = "high"
)

func (RoutePriority) values() []string {
	return []string{string(PriorityDefault), string(PriorityHigh)}
}
