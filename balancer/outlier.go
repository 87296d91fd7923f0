package balancer

import "time"

// OutlierDetection takes endpoints out of a cluster for a time because of what became of
// the calls that they got (envoy.config.cluster.v3.OutlierDetection, gRFC A50). An
// endpoint that is ejected counts as unhealthy, for all views of the cluster. There are no
// defaults here: the compiler writes them.
//
// What is a failure: an HTTP answer of 5xx, a deadline that passed without an answer,
// a connection that failed or broke. A gRPC status counts as the HTTP status that Envoy
// takes it for where failures in a row are counted, and as a failure whatever it is, but OK,
// where rates are (A50). A call that its caller gave up counts as nothing.
//
// A cluster that gRPC has a view of follows A50 in what it says otherwise than
// Envoy: the first endpoint may be ejected however small its share is if
// MaxEjectionPercent is above 0; FailurePercentage.MinimumHosts counts all endpoints, and
// its Threshold must be exceeded. A50 looks at each priority on its own; here, as in Envoy,
// all of a cluster are compared.
type OutlierDetection struct {
	// Interval is the time between two sweeps, which compare rates and end ejections.
	// Above 0.
	Interval time.Duration

	// An ejection lasts BaseEjectionTime times the number of ejections in a row, at most
	// the greater of MaxEjectionTime and BaseEjectionTime, and a random part of
	// MaxEjectionTimeJitter more. It ends with a sweep. The number goes down by one with each
	// sweep that finds the endpoint in use for an Interval.
	BaseEjectionTime, MaxEjectionTime, MaxEjectionTimeJitter time.Duration

	// MaxEjectionPercent is how much of the cluster may be ejected at a time, 0..100.
	MaxEjectionPercent uint32
	// AlwaysEjectOne allows one ejection whatever MaxEjectionPercent says.
	AlwaysEjectOne bool

	// Consecutive5xx and ConsecutiveGateway count answers in a row, the first of all 5xx,
	// the other of 502, 503 and 504; calls without an answer are 503, or 504 if their
	// deadline passed.
	Consecutive5xx, ConsecutiveGateway Consecutive

	// SplitLocalOrigin counts calls without an answer apart: ConsecutiveLocal counts
	// them in a row, and they have rates of their own, in place of being 503 or 504. Of
	// gRPC only passed deadlines are known to be such (A50).
	SplitLocalOrigin bool
	ConsecutiveLocal Consecutive

	SuccessRate       SuccessRate
	FailurePercentage FailurePercentage

	// UnejectOnCheck ends the ejection of an endpoint whose active health check passes.
	UnejectOnCheck bool
}

// Consecutive ejects an endpoint for failures in a row.
type Consecutive struct {
	// Threshold is how many. 0 ejects none.
	Threshold uint32
	// Enforcing is the chance in percent, 0..100, that an endpoint that is found is
	// ejected.
	Enforcing uint32
}

// SuccessRate ejects an endpoint whose share of successes within an interval is below the
// mean of all by more than StdevFactor thousandths of the standard deviation.
type SuccessRate struct {
	// MinimumHosts is how many endpoints must have had RequestVolume calls in the interval.
	// Those with fewer are left out.
	MinimumHosts, RequestVolume uint32
	StdevFactor                 uint32
	// Enforcing is as Consecutive's; EnforcingLocal is for calls without an answer, under
	// SplitLocalOrigin.
	Enforcing, EnforcingLocal uint32
}

// FailurePercentage ejects an endpoint of whose calls in an interval Threshold percent or
// more failed.
type FailurePercentage struct {
	// Threshold is 0..100.
	Threshold uint32
	// MinimumHosts, RequestVolume, Enforcing and EnforcingLocal are as SuccessRate's.
	MinimumHosts, RequestVolume uint32
	Enforcing, EnforcingLocal   uint32
}
