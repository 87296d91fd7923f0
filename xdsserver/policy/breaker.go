package policy

import "time"

// Breakers stop calls to what fails: all of a service, or one of its endpoints, which gets
// none while another may. Weft's clients only: others ignore them. A failure is an answer of
// 5xx, a gRPC status such as UNAVAILABLE, INTERNAL or UNKNOWN, a connection that failed or
// broke, and a deadline that passed. What is cancelled counts neither way.
type Breakers struct {
	// Endpoint gives each endpoint a breaker of its own.
	Endpoint *Breaker `policy:"endpoint"`
	// Cluster is one breaker for all calls to the service, or to a subset of it. While it
	// is open, they fail at once.
	Cluster *Breaker `policy:"cluster"`
}

// Breaker opens for failures in a row, for a share of the calls that fail, or for either.
type Breaker struct {
	// ConsecutiveFailures opens the breaker after so many failures in a row, 1 or more.
	// Not given means 5, unless failurePercent is given; then they do not count.
	ConsecutiveFailures *uint32 `policy:"consecutiveFailures"`
	// FailurePercent opens the breaker when so much of the calls that ended within the
	// interval failed. Above 0%.
	FailurePercent *Fraction `policy:"failurePercent"`
	// MinimumRequests is how many calls failurePercent needs. Not given means 20.
	MinimumRequests *uint32 `policy:"minimumRequests"`
	// Interval is what failurePercent looks at, 100ms or more. Not given means 10s. With
	// failurePercent, consecutiveFailures looks at no more either.
	Interval *time.Duration `policy:"interval"`
	// OpenTime is how long the breaker stays open before calls probe, one at a time, 1ms or
	// more. Not given means 30s.
	OpenTime *time.Duration `policy:"openTime"`
	// Probes is how many probes have to succeed for the breaker to close, 1 or more. Not
	// given means 1.
	Probes *uint32 `policy:"probes"`
}
