package policy

import "time"

// OutlierDetection ejects endpoints that fail, for a time
// (envoy.config.cluster.v3.OutlierDetection; stock gRPC clients know the success rate and
// the failure percentage only, gRFC A50). What is not given has Envoy's default. The
// chances, in percent from 0 to 100, that an endpoint that is found is ejected are
// called enforcing; 0 switches the rule off.
type OutlierDetection struct {
	// Interval is the time between two checks, greater than zero. Not given means 10s.
	Interval *time.Duration `policy:"interval"`
	// BaseEjectionTime is how long the first ejection lasts; the n-th lasts n
	// times as long. Greater than zero. Not given means 30s.
	BaseEjectionTime *time.Duration `policy:"baseEjectionTime"`
	// MaxEjectionTime bounds one ejection. Not less than baseEjectionTime. Not given
	// means 300s.
	MaxEjectionTime *time.Duration `policy:"maxEjectionTime"`
	// MaxEjectionTimeJitter is the most that is added to an ejection at random. Not
	// given means 0s.
	MaxEjectionTimeJitter *time.Duration `policy:"maxEjectionTimeJitter"`
	// MaxEjectionPercent is the share of endpoints, 0 to 100, that may be
	// ejected at once. Not given means 10.
	MaxEjectionPercent *uint32 `policy:"maxEjectionPercent"`
	// AlwaysEjectOneHost allows one ejection whatever maxEjectionPercent says. Not given
	// means true, unless maxEjectionPercent is 0: ten percent of a few endpoints are none.
	AlwaysEjectOneHost *bool `policy:"alwaysEjectOneHost"`

	// Consecutive5xx ejects an endpoint after so many server errors in a row.
	// Not given means 5; 0 never ejects.
	Consecutive5xx *uint32 `policy:"consecutive5xx"`
	// EnforcingConsecutive5xx: not given means 100.
	EnforcingConsecutive5xx *uint32 `policy:"enforcingConsecutive5xx"`
	// ConsecutiveGatewayFailure ejects an endpoint after so many of 502, 503 and
	// 504 in a row. Not given or 0 never ejects.
	ConsecutiveGatewayFailure *uint32 `policy:"consecutiveGatewayFailure"`
	// EnforcingConsecutiveGatewayFailure: not given means 100.
	EnforcingConsecutiveGatewayFailure *uint32 `policy:"enforcingConsecutiveGatewayFailure"`

	// SplitExternalLocalOriginErrors counts calls without an answer apart: connections
	// that fail or break, and deadlines that pass. Otherwise they count as 503 and 504.
	SplitExternalLocalOriginErrors bool `policy:"splitExternalLocalOriginErrors"`
	// ConsecutiveLocalOriginFailure ejects an endpoint after so many calls without an
	// answer in a row. Not given means 5; 0 never ejects. Only with
	// splitExternalLocalOriginErrors, as all that is called local origin.
	ConsecutiveLocalOriginFailure *uint32 `policy:"consecutiveLocalOriginFailure"`
	// EnforcingConsecutiveLocalOriginFailure: not given means 100.
	EnforcingConsecutiveLocalOriginFailure *uint32 `policy:"enforcingConsecutiveLocalOriginFailure"`

	// SuccessRate ejects an endpoint whose success rate is far below the mean
	// of all. Not given means on; false switches it off.
	SuccessRate *bool `policy:"successRate"`
	// SuccessRateMinimumHosts is how many endpoints must have successRateRequestVolume
	// calls in an interval. Not given means 5.
	SuccessRateMinimumHosts *uint32 `policy:"successRateMinimumHosts"`
	// SuccessRateRequestVolume is how many calls an endpoint must have in an interval
	// to be compared. Not given means 100.
	SuccessRateRequestVolume *uint32 `policy:"successRateRequestVolume"`
	// SuccessRateStdevFactor is how far below the mean is too far, in thousandths of the
	// standard deviation. Not given means 1900.
	SuccessRateStdevFactor *uint32 `policy:"successRateStdevFactor"`
	// EnforcingSuccessRate: not given means 100.
	EnforcingSuccessRate *uint32 `policy:"enforcingSuccessRate"`
	// EnforcingLocalOriginSuccessRate: not given means 100.
	EnforcingLocalOriginSuccessRate *uint32 `policy:"enforcingLocalOriginSuccessRate"`

	// FailurePercentageThreshold ejects an endpoint of whose calls in an interval so many
	// percent failed, 0 to 100. Not given never ejects, unless enforcingFailurePercentage
	// is given; it is then 85.
	FailurePercentageThreshold *uint32 `policy:"failurePercentageThreshold"`
	// FailurePercentageMinimumHosts is how many endpoints there must be. Not given means 5.
	FailurePercentageMinimumHosts *uint32 `policy:"failurePercentageMinimumHosts"`
	// FailurePercentageRequestVolume is how many calls an endpoint must have in an
	// interval. Not given means 50.
	FailurePercentageRequestVolume *uint32 `policy:"failurePercentageRequestVolume"`
	// EnforcingFailurePercentage: not given means 100 with failurePercentageThreshold.
	EnforcingFailurePercentage *uint32 `policy:"enforcingFailurePercentage"`
	// EnforcingFailurePercentageLocalOrigin: not given means 0.
	EnforcingFailurePercentageLocalOrigin *uint32 `policy:"enforcingFailurePercentageLocalOrigin"`

	// SuccessfulActiveHealthCheckUnejectHost ends the ejection of an endpoint that passes
	// an active health check. Not given means true.
	SuccessfulActiveHealthCheckUnejectHost *bool `policy:"successfulActiveHealthCheckUnejectHost"`
}
