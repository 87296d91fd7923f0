package policy

import "time"

// AdaptiveConcurrency bounds how many calls are in flight by how long they take
// (envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency): the
// longer they take than they do without load, the fewer. What is over is refused, in
// clients and servers each by what they see. What is not given has Envoy's default.
type AdaptiveConcurrency struct {
	// SampleAggregatePercentile is the percentile of the latencies of an interval that
	// stands for them. Not given means 50%.
	SampleAggregatePercentile *Fraction `policy:"sampleAggregatePercentile"`
	// MaxConcurrencyLimit bounds the limit, at least 1. Not given means 1000.
	MaxConcurrencyLimit *uint32 `policy:"maxConcurrencyLimit"`
	// MinConcurrencyLimit is the least that the limit may be, at least 1. Not given, it is
	// minConcurrency.
	MinConcurrencyLimit *uint32 `policy:"minConcurrencyLimit"`
	// ConcurrencyUpdateInterval is the time after which the limit is calculated anew, at
	// least 1ms. Not given means 100ms.
	ConcurrencyUpdateInterval *time.Duration `policy:"concurrencyUpdateInterval"`
	// MinRTT is how the latency without load is known. Not given, it is measured.
	MinRTT *MinRTT `policy:"minRttCalcParams"`
	// ConcurrencyLimitExceededStatus is the HTTP status of a server's answer to what is
	// over the limit, 400 to 599. Not given means 503.
	ConcurrencyLimitExceededStatus *uint32 `policy:"concurrencyLimitExceededStatus"`
}

// MinRTT is how the latency without load is known: it is measured from time to time, with
// hardly any calls in flight, or it is given.
type MinRTT struct {
	// Interval is the time between two measurements, at least 1ms. Not given means 60s.
	Interval *time.Duration `policy:"interval"`
	// FixedValue is the latency without load, at least 1ms. Given, it is never measured.
	FixedValue *time.Duration `policy:"fixedValue"`
	// RequestCount is how many calls are measured, at least 1. Not given means 50.
	RequestCount *uint32 `policy:"requestCount"`
	// Jitter is the share of the interval by which it is longer at random. Not given
	// means 15%.
	Jitter *Fraction `policy:"jitter"`
	// MinConcurrency is how many calls may be in flight meanwhile, at least 1. Not
	// given means 3.
	MinConcurrency *uint32 `policy:"minConcurrency"`
	// Buffer is by how much calls may be slower without the limit shrinking. Not given
	// means 25%.
	Buffer *Fraction `policy:"buffer"`
}

// AdmissionControl refuses a share of the calls while many fail
// (envoy.extensions.filters.http.admission_control.v3.AdmissionControl), so that who is
// called gets to recover. What is not given has Envoy's default.
type AdmissionControl struct {
	// SamplingWindow is how far back calls count, in whole seconds. Not given means 30s.
	SamplingWindow *time.Duration `policy:"samplingWindow"`
	// SRThreshold is the share of calls that must succeed for none to be refused, at
	// least 1%. Not given means 95%.
	SRThreshold *Fraction `policy:"srThreshold"`
	// Aggression has more calls refused the greater it is, at least 1. Not given means 1:
	// the share that is refused is the share that fails too often.
	Aggression *float64 `policy:"aggression"`
	// RPSThreshold is how many calls a second there must be, on average over the window,
	// for any to be refused. Not given means 0.
	RPSThreshold *uint32 `policy:"rpsThreshold"`
	// MaxRejectionProbability is the largest share of calls to refuse. Not given means
	// 80%.
	MaxRejectionProbability *Fraction `policy:"maxRejectionProbability"`
	// SuccessCriteria say which calls succeed. Not given are the criteria for what
	// sending fewer calls would not change.
	SuccessCriteria *SuccessCriteria `policy:"successCriteria"`
}

// SuccessCriteria say which calls succeed.
type SuccessCriteria struct {
	// HTTPSuccessStatus are ranges of HTTP statuses. Not given are those below 500.
	HTTPSuccessStatus []StatusRange `policy:"httpSuccessStatus"`
	// GRPCSuccessStatus are statuses of gRPC by their numbers, 0 to 16. Not given are OK,
	// CANCELLED, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
	// FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED and UNAUTHENTICATED.
	GRPCSuccessStatus []uint32 `policy:"grpcSuccessStatus"`
}

// StatusRange is a range of HTTP statuses from start to before end, 100 to 600.
type StatusRange struct {
	Start uint32 `policy:"start,required"`
	End   uint32 `policy:"end,required"`
}

// LoadShed bounds how many calls a server has in flight. What is over is answered with
// 503, UNAVAILABLE in gRPC. Only servers that use Weft have it: stock gRPC servers and
// Envoy refuse it, unless the filter is optional.
type LoadShed struct {
	// MaxRequests is how many calls may be in flight, at least 1.
	MaxRequests uint32 `policy:"maxRequests,required"`
	// Share has calls let in only while less than this share of maxRequests is in flight,
	// above 0%: those with a small share are shed first. Not given means 100%. Routes
	// override it.
	Share *Fraction `policy:"share"`
	// PriorityHeader is a header by which callers say how important a call is, and shares
	// the share of calls by its value. Of the share of a route and that of a value
	// the smaller counts.
	PriorityHeader string              `policy:"priorityHeader"`
	Shares         map[string]Fraction `policy:"shares"`
	// Queue has calls wait that are over the bound, but for those with a share of less
	// than 100%.
	Queue *LoadShedQueue `policy:"queue"`
	// RetryAfter tells callers when to come back, greater than zero. Not given, they
	// decide for themselves.
	RetryAfter *time.Duration `policy:"retryAfter"`
}

// LoadShedQueue is where calls wait for others to end.
type LoadShedQueue struct {
	// Size is how many calls may wait, at least 1.
	Size uint32 `policy:"size,required"`
	// Interval is how long a call may wait while the queue is empty now and then, greater
	// than zero. Not given means 100ms.
	Interval *time.Duration `policy:"interval"`
	// Target is how long a call may wait while the queue was not empty for interval,
	// greater than zero. Not given means 5ms.
	Target *time.Duration `policy:"target"`
}
