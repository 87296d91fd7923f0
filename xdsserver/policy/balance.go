package policy

import "time"

// Balance says how a call picks one of a service's endpoints.
type Balance struct {
	// Policy is the way to pick. Empty means round_robin. random and maglev fall back
	// to round_robin in stock gRPC clients, and pick_first in Envoy. ring_hash and
	// maglev go by the hash of the route; calls without one go anywhere. peak_ewma goes by
	// how long answers take, and falls back to least_request where clients do not have it;
	// client_side_weighted_round_robin goes by the load that endpoints report.
	Policy BalancePolicy `policy:"policy"`

	// SlowStart gives endpoints that have just come a growing part of their calls. For
	// round_robin, least_request and client_side_weighted_round_robin. Stock gRPC clients
	// have none.
	SlowStart *SlowStart `policy:"slowStart"`

	// SubsetSize has each client use but so many of the endpoints of a priority, or of a
	// locality with localityWeights, chosen at random, 1 or more. Not with ring_hash,
	// maglev or zoneAware. Envoy uses all.
	SubsetSize *uint32 `policy:"subsetSize"`

	// ChoiceCount is how many random endpoints least_request compares, 2 or
	// more. Not given means 2.
	ChoiceCount *uint32 `policy:"choiceCount"`

	// SelectionMethod is how least_request compares endpoints of the same weight. Empty
	// means n_choices.
	SelectionMethod SelectionMethod `policy:"selectionMethod"`

	// ActiveRequestBias is how much calls in flight count in least_request where weights
	// differ: an endpoint's part is its weight / (calls + 1)^activeRequestBias. Not
	// given means 1.
	ActiveRequestBias *float64 `policy:"activeRequestBias"`

	// ShuffleAddressList, when true, has each client of pick_first try the endpoints in a
	// random order of its own, in which those of greater weight rather come first.
	ShuffleAddressList bool `policy:"shuffleAddressList"`

	// MinimumRingSize is how many points the ring of ring_hash has at least: the more,
	// the more even the shares. 1 to 8388608. Not given means 1024.
	MinimumRingSize *uint32 `policy:"minimumRingSize"`

	// MaximumRingSize is how many points the ring of ring_hash has at most. Not less
	// than minimumRingSize. Not given means 8388608.
	MaximumRingSize *uint32 `policy:"maximumRingSize"`

	// TableSize is how many slots the table of maglev has, a prime of at most
	// 5000011. Not given means 65537.
	TableSize *uint32 `policy:"tableSize"`

	// HashBalanceFactor bounds what an endpoint has in flight under ring_hash and maglev,
	// in percent of its share of what this client has in flight to the service, 100 or
	// more: the keys of an endpoint that has more go to others for that long. Not given,
	// there is no bound. Stock gRPC clients have none.
	HashBalanceFactor *uint32 `policy:"hashBalanceFactor"`

	// DecayTime is how fast peak_ewma forgets: by a factor of e in this time. Greater
	// than zero. Not given means 10s.
	DecayTime *time.Duration `policy:"decayTime"`

	// AggregationInterval is how often peak_ewma takes in the answers that were no slower
	// than it knew. At least 10ms. Not given means 100ms.
	AggregationInterval *time.Duration `policy:"aggregationInterval"`

	// DefaultRTT is what peak_ewma takes an endpoint to need that has not answered yet.
	// Greater than zero. Not given means 10ms.
	DefaultRTT *time.Duration `policy:"defaultRtt"`

	// PenaltyValue is, in milliseconds, what such an endpoint costs in peak_ewma while it
	// has calls. Not given means 1000000.
	PenaltyValue *float64 `policy:"penaltyValue"`

	// EnableOOBLoadReport, when true, has client_side_weighted_round_robin ask endpoints
	// for reports on a stream of their own, where the connection can have one: gRPC. Else
	// reports come with answers.
	EnableOOBLoadReport bool `policy:"enableOobLoadReport"`

	// OOBReportingPeriod is how often endpoints are asked to report then. Greater than
	// zero. Not given means 10s.
	OOBReportingPeriod *time.Duration `policy:"oobReportingPeriod"`

	// BlackoutPeriod is how long an endpoint must have been reporting before
	// client_side_weighted_round_robin goes by it. Not given means 10s.
	BlackoutPeriod *time.Duration `policy:"blackoutPeriod"`

	// WeightExpirationPeriod is how long client_side_weighted_round_robin goes by a report.
	// Greater than zero. Not given means 3m.
	WeightExpirationPeriod *time.Duration `policy:"weightExpirationPeriod"`

	// WeightUpdatePeriod is how often client_side_weighted_round_robin calculates weights.
	// At least 100ms. Not given means 1s.
	WeightUpdatePeriod *time.Duration `policy:"weightUpdatePeriod"`

	// ErrorUtilizationPenalty is how much of its utilization an endpoint is taken to have
	// more, in client_side_weighted_round_robin, for the part of its calls that
	// fail. Not given means 1.
	ErrorUtilizationPenalty *float64 `policy:"errorUtilizationPenalty"`

	// MetricNamesForComputingUtilization are what of a report is its utilization in
	// client_side_weighted_round_robin, the greatest of them: cpu_utilization,
	// mem_utilization, application_utilization, named_metrics.x, utilization.x or
	// request_cost.x.
	MetricNamesForComputingUtilization []string `policy:"metricNamesForComputingUtilization"`

	// LocalityWeights share the load between localities: each is named
	// region/zone/subZone, without the empty parts at its end, and gets its weight's part of
	// the calls, however many endpoints it has. All localities of the service
	// must be named. Not given, a locality's share is the sum of its endpoints'
	// weights. Not with pick_first, nor with discover.
	LocalityWeights map[string]uint32 `policy:"localityWeights"`

	// ZoneAware keeps calls in their caller's zone, as far as that is fair to the
	// endpoints there. For round_robin, least_request and random; not with
	// localityWeights.
	ZoneAware *ZoneAware `policy:"zoneAware"`
}

// BalancePolicy is a load balancing policy.
type BalancePolicy string

// The policies.
const (
	RoundRobin   BalancePolicy = "round_robin"
	Random       BalancePolicy = "random"
	LeastRequest BalancePolicy = "least_request"
	PickFirst    BalancePolicy = "pick_first"
	RingHash     BalancePolicy = "ring_hash"
	Maglev       BalancePolicy = "maglev"
	PeakEWMA     BalancePolicy = "peak_ewma"

	ClientSideWeightedRoundRobin BalancePolicy = "client_side_weighted_round_robin"
)

func (BalancePolicy) values() []string {
	return []string{string(RoundRobin), string(LeastRequest), string(Random), string(PickFirst), string(RingHash), string(Maglev),
		string(PeakEWMA), string(ClientSideWeightedRoundRobin)}
}

// SlowStart is how an endpoint that has just come gets its part of the calls
// (envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig): after a time t it
// has its weight times (t/slowStartWindow)^(1/aggression), and at least
// minWeightPercent of it.
type SlowStart struct {
	// SlowStartWindow is how long it takes. Greater than zero.
	SlowStartWindow time.Duration `policy:"slowStartWindow,required"`

	// Aggression is above 1 for a part that grows fast at first, and below 1 for one that
	// does at last. Greater than zero. Not given means 1: evenly.
	Aggression *float64 `policy:"aggression"`

	// MinWeightPercent is the least part of its weight, such as 5%. Not given means 10%.
	MinWeightPercent *Fraction `policy:"minWeightPercent"`
}

// SelectionMethod is how endpoints are compared.
type SelectionMethod string

// The methods: some at random (choiceCount), or all.
const (
	NChoices SelectionMethod = "n_choices"
	FullScan SelectionMethod = "full_scan"
)

func (SelectionMethod) values() []string { return []string{string(NChoices), string(FullScan)} }

// Limits bound what one client has in flight to a service
// (envoy.config.cluster.v3.CircuitBreakers). What is above a limit fails at once.
type Limits struct {
	// MaxConnections is how many connections there may be. Not given means 1024.
	MaxConnections *uint32 `policy:"maxConnections"`
	// MaxPendingRequests is how many calls may wait for a connection. Not given
	// means 1024.
	MaxPendingRequests *uint32 `policy:"maxPendingRequests"`
	// MaxRequests is how many calls may be in flight. Not given means 1024.
	// gRPC clients know this limit only (gRFC A32).
	MaxRequests *uint32 `policy:"maxRequests"`
	// MaxRetries is how many retries may be in flight. Not given means 3.
	MaxRetries *uint32 `policy:"maxRetries"`
	// RetryBudget bounds retries by what else is in flight. Not together with
	// maxRetries.
	RetryBudget *RetryBudget `policy:"retryBudget"`
	// RetryThrottling stops retries while most calls fail.
	RetryThrottling *RetryThrottling `policy:"retryThrottling"`
	// High are the limits for calls of routes with priority high, which are counted
	// apart. Not given means the defaults.
	High *HighLimits `policy:"high"`
}

// HighLimits are the limits for calls of high priority, as those of Limits.
type HighLimits struct {
	// MaxConnections is how many connections there may be. Not given means 1024.
	MaxConnections *uint32 `policy:"maxConnections"`
	// MaxPendingRequests is how many calls may wait for a connection. Not given
	// means 1024.
	MaxPendingRequests *uint32 `policy:"maxPendingRequests"`
	// MaxRequests is how many calls may be in flight. Not given means 1024.
	MaxRequests *uint32 `policy:"maxRequests"`
	// MaxRetries is how many retries may be in flight. Not given means 3.
	MaxRetries *uint32 `policy:"maxRetries"`
	// RetryBudget bounds retries by what else is in flight. Not together with
	// maxRetries.
	RetryBudget *RetryBudget `policy:"retryBudget"`
}
