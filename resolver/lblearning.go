package resolver

import (
	"math"

	peakewmav3 "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/load_balancing_policies/peak_ewma/v3alpha"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	randomsubsettingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random_subsetting/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/balancer"
)

// The policies that learn from calls, and the slow start of those that do not.

var (
	slowStartFields        = fieldNames("slow_start_window", "aggression", "min_weight_percent")
	slowStartField         = fieldNames("slow_start_config")
	peakEWMAFields         = fieldNames("decay_time", "aggregation_interval", "max_samples_per_host", "default_rtt", "penalty_value")
	randomSubsettingFields = fieldNames("subset_size", "child_policy")
	loadWeightFields       = fieldNames("enable_oob_load_report", "oob_reporting_period", "blackout_period", "weight_expiration_period",
		"weight_update_period", "error_utilization_penalty", "metric_names_for_computing_utilization")
)

// slowStartConfig is both the typed and the legacy SlowStartConfig.
type slowStartConfig interface {
	proto.Message
	GetSlowStartWindow() *durationpb.Duration
	GetAggression() *corev3.RuntimeDouble
	GetMinWeightPercent() *typev3.Percent
}

// defaultMinWeightPercent is Envoy's and gRFC A100's.
const defaultMinWeightPercent = 10

// slowStart reads slow_start_config. An aggression that is not above zero is 1, as in
// Envoy.
func (p *path) slowStart(m slowStartConfig, c *balancer.Config) error {
	if !m.ProtoReflect().IsValid() {
		return nil
	}
	q := p.to("slow_start_config")
	q.warnUnread(m, slowStartFields)
	window, err := q.duration("slow_start_window", m.GetSlowStartWindow())
	if err != nil || window.d == 0 {
		return err
	}
	s := balancer.SlowStart{Window: window.d, MinWeightPercent: defaultMinWeightPercent}
	if a := m.GetAggression().GetDefaultValue(); a > 0 && !math.IsInf(a, 0) {
		s.Aggression = a
	}
	if least := m.GetMinWeightPercent(); least != nil {
		v := least.GetValue()
		if !(v >= 0 && v <= 100) {
			return q.to("min_weight_percent").errorf("%v is not a percentage", v)
		}
		s.MinWeightPercent = v
	}
	c.Policy.SlowStart = s
	return nil
}

// peakEWMA reads envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma.
// max_samples_per_host needs no heeding: samples are not kept.
func (p *path) peakEWMA(m *peakewmav3.PeakEwma, c *balancer.Config) error {
	e := balancer.EWMA{Penalty: balancer.DefaultPenalty}
	if penalty := m.GetPenaltyValue(); penalty != nil {
		if v := penalty.GetValue(); !(v >= 0) || math.IsInf(v, 0) {
			return p.to("penalty_value").errorf("%v is not a number of at least 0", v)
		}
		e.Penalty = penalty.GetValue()
	}
	decay, err := p.duration("decay_time", m.GetDecayTime())
	if err != nil {
		return err
	}
	interval, err := p.duration("aggregation_interval", m.GetAggregationInterval())
	if err != nil {
		return err
	}
	rtt, err := p.duration("default_rtt", m.GetDefaultRtt())
	if err != nil {
		return err
	}
	e.DecayTime, e.AggregationInterval, e.DefaultRTT = decay.d, interval.d, rtt.d
	c.Policy = balancer.Policy{Kind: balancer.PeakEWMA, EWMA: e}
	return nil
}

// loadWeights reads
// envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.
func (p *path) loadWeights(m *cswrrv3.ClientSideWeightedRoundRobin, c *balancer.Config) error {
	w := balancer.LoadWeights{
		OutOfBand:    m.GetEnableOobLoadReport().GetValue(),
		Blackout:     balancer.DefaultBlackout,
		ErrorPenalty: 1,
		Metrics:      m.GetMetricNamesForComputingUtilization(),
	}
	if penalty := m.GetErrorUtilizationPenalty(); penalty != nil {
		v := float64(penalty.GetValue())
		if !(v >= 0) || math.IsInf(v, 0) {
			return p.to("error_utilization_penalty").errorf("%v is not a number of at least 0", v)
		}
		w.ErrorPenalty = v
	}
	blackout, err := p.duration("blackout_period", m.GetBlackoutPeriod())
	if err != nil {
		return err
	}
	if blackout.set {
		w.Blackout = blackout.d
	}
	period, err := p.duration("oob_reporting_period", m.GetOobReportingPeriod())
	if err != nil {
		return err
	}
	expiration, err := p.duration("weight_expiration_period", m.GetWeightExpirationPeriod())
	if err != nil {
		return err
	}
	update, err := p.duration("weight_update_period", m.GetWeightUpdatePeriod())
	if err != nil {
		return err
	}
	w.ReportingPeriod, w.Expiration, w.Update = period.d, expiration.d, update.d
	c.Policy = balancer.Policy{Kind: balancer.ClientSideWeightedRoundRobin, Load: w}
	return p.slowStart(m.GetSlowStartConfig(), c)
}

// randomSubsetting reads envoy.extensions.load_balancing_policies.random_subsetting.v3
// (gRFC A68): the policy within, over a part of the endpoints.
func (p *path) randomSubsetting(m *randomsubsettingv3.RandomSubsetting, c *balancer.Config, depth int) error {
	size := m.GetSubsetSize().GetValue()
	if size == 0 {
		return p.to("subset_size").errorf("must be at least 1")
	}
	if err := p.to("child_policy").typedPolicy(m.GetChildPolicy(), c, depth+1); err != nil {
		return err
	}
	if c.Policy.RandomSubset.Size > 0 {
		return p.to("child_policy").errorf("has random_subsetting within random_subsetting")
	}
	c.Policy.RandomSubset.Size = int(min(size, math.MaxInt32))
	return nil
}
