package policy

import (
	"math"
	"slices"
	"strings"
	"time"
)

// learningBalance checks what is for some of the policies only: slow start, and what
// the policies need that learn from calls.
func (v *validator) learningBalance(p path, b *Balance) {
	for _, one := range []struct {
		name   string
		given  bool
		policy BalancePolicy
	}{
		{"selectionMethod", b.SelectionMethod != "", LeastRequest},
		{"activeRequestBias", b.ActiveRequestBias != nil, LeastRequest},
		{"shuffleAddressList", b.ShuffleAddressList, PickFirst},
		{"decayTime", b.DecayTime != nil, PeakEWMA},
		{"aggregationInterval", b.AggregationInterval != nil, PeakEWMA},
		{"defaultRtt", b.DefaultRTT != nil, PeakEWMA},
		{"penaltyValue", b.PenaltyValue != nil, PeakEWMA},
		{"enableOobLoadReport", b.EnableOOBLoadReport, ClientSideWeightedRoundRobin},
		{"oobReportingPeriod", b.OOBReportingPeriod != nil, ClientSideWeightedRoundRobin},
		{"blackoutPeriod", b.BlackoutPeriod != nil, ClientSideWeightedRoundRobin},
		{"weightExpirationPeriod", b.WeightExpirationPeriod != nil, ClientSideWeightedRoundRobin},
		{"weightUpdatePeriod", b.WeightUpdatePeriod != nil, ClientSideWeightedRoundRobin},
		{"errorUtilizationPenalty", b.ErrorUtilizationPenalty != nil, ClientSideWeightedRoundRobin},
		{"metricNamesForComputingUtilization", b.MetricNamesForComputingUtilization != nil, ClientSideWeightedRoundRobin},
	} {
		if one.given && b.Policy != one.policy {
			v.nameErrorf(p.field(one.name), "%q is for the policy %s only", one.name, one.policy)
		}
	}
	v.enum(p.field("selectionMethod"), string(b.SelectionMethod), b.SelectionMethod)
	for name, n := range map[string]*float64{
		"activeRequestBias": b.ActiveRequestBias, "penaltyValue": b.PenaltyValue, "errorUtilizationPenalty": b.ErrorUtilizationPenalty,
	} {
		if n != nil && (!(*n >= 0) || math.IsInf(*n, 0)) { // by a program: the decoder refuses it
			v.errorf(p.field(name), "%s is %v: a number of at least 0", name, *n)
		}
	}
	v.positive(p.field("decayTime"), b.DecayTime)
	v.atLeast(p.field("aggregationInterval"), b.AggregationInterval, 10*time.Millisecond)
	v.positive(p.field("defaultRtt"), b.DefaultRTT)
	v.positive(p.field("oobReportingPeriod"), b.OOBReportingPeriod)
	v.notNegative(p.field("blackoutPeriod"), b.BlackoutPeriod)
	v.positive(p.field("weightExpirationPeriod"), b.WeightExpirationPeriod)
	v.atLeast(p.field("weightUpdatePeriod"), b.WeightUpdatePeriod, 100*time.Millisecond)
	for i, name := range b.MetricNamesForComputingUtilization {
		if !isMetric(name) {
			v.errorf(p.field("metricNamesForComputingUtilization").index(i), "%q is not cpu_utilization, mem_utilization, application_utilization, named_metrics.x, utilization.x or request_cost.x", shorten(name))
		}
	}
	if b.SubsetSize != nil {
		switch at := p.field("subsetSize"); {
		case *b.SubsetSize == 0:
			v.errorf(at, "subsetSize is 0: at least 1 endpoint is to be used")
		case b.Policy == RingHash || b.Policy == Maglev:
			v.nameErrorf(at, "%q is not for the policy %s, of which all clients must use the same endpoints", "subsetSize", b.Policy)
		case b.ZoneAware != nil:
			v.nameErrorf(at, `"subsetSize" cannot stand beside "zoneAware"`)
		}
	}
	v.slowStart(p.field("slowStart"), b)
}

func (v *validator) slowStart(p path, b *Balance) {
	s := b.SlowStart
	if s == nil {
		return
	}
	if !slices.Contains([]BalancePolicy{"", RoundRobin, LeastRequest, ClientSideWeightedRoundRobin}, b.Policy) {
		v.nameErrorf(p, "%q is for the policies round_robin, least_request and client_side_weighted_round_robin only", "slowStart")
	}
	if !v.incomplete[p.field("slowStartWindow")] {
		v.positive(p.field("slowStartWindow"), &s.SlowStartWindow)
	}
	if a := s.Aggression; a != nil && (!(*a > 0) || math.IsInf(*a, 0)) {
		v.errorf(p.field("aggression"), "aggression is %v: it must be greater than zero", *a)
	}
	if least := s.MinWeightPercent; least != nil && *least > 1_000_000 {
		v.errorf(p.field("minWeightPercent"), "minWeightPercent is %s: at most 100%%", *least)
	}
}

func isMetric(name string) bool {
	field, key, ok := strings.Cut(name, ".")
	switch field {
	case "cpu_utilization", "mem_utilization", "application_utilization":
		return !ok
	case "named_metrics", "utilization", "request_cost":
		return key != ""
	}
	return false
}
