package policy

import (
	peakewmav3 "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/load_balancing_policies/peak_ewma/v3alpha"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	lbcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	pickfirstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/pick_first/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	randomsubsettingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random_subsetting/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// setLeastRequest writes least_request with the enum, which says all but full_scan.
func setLeastRequest(cluster *clusterv3.Cluster, b *Balance) {
	if b.SelectionMethod == FullScan {
		m := leastRequest(b)
		if b.LocalityWeights != nil {
			m.LocalityLbConfig = localityWeighted()
		}
		cluster.LoadBalancingPolicy = policies(policyOf("envoy.load_balancing_policies.least_request", pack(m)))
		return
	}
	cluster.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
	if b.ChoiceCount != nil || b.ActiveRequestBias != nil || b.SlowStart != nil {
		cluster.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{
			ChoiceCount:       optionalUint32(b.ChoiceCount),
			ActiveRequestBias: runtimeDouble(b.ActiveRequestBias, "activeRequestBias"),
			SlowStartConfig:   legacySlowStart(b.SlowStart),
		}}
	}
}

// setTyped writes a policy in load_balancing_policy, with one that every client has
// behind it. Where localities have weights, the list is within wrr_locality.
func setTyped(cluster *clusterv3.Cluster, b *Balance) {
	list := pickingPolicies(b)
	switch last := len(list) - 1; {
	case b.LocalityWeights != nil:
		cluster.LoadBalancingPolicy = policies(byLocality(list...))
	case b.Policy == PickFirst:
		cluster.LoadBalancingPolicy = policies(list...)
	default:
		list[last] = byLocality(list[last])
		cluster.LoadBalancingPolicy = policies(list...)
	}
}

// setSubset has a client use a part of the endpoints, and all of them if it does not know
// random_subsetting.
func setSubset(cluster *clusterv3.Cluster, b *Balance) {
	list := pickingPolicies(b)
	subset := policyOf("envoy.load_balancing_policies.random_subsetting", pack(&randomsubsettingv3.RandomSubsetting{
		SubsetSize:  wrapperspb.UInt32(*b.SubsetSize),
		ChildPolicy: policies(list...),
	}))
	list = append([]*lbPolicy{subset}, list...)
	cluster.LbPolicy, cluster.LbConfig = clusterv3.Cluster_ROUND_ROBIN, nil
	cluster.LoadBalancingPolicy = policies(list...)
	if b.LocalityWeights != nil {
		cluster.LoadBalancingPolicy = policies(byLocality(list...))
	}
}

// pickingPolicies is how an endpoint is picked of those of one locality, in the order
// in which clients try whether they know it.
func pickingPolicies(b *Balance) []*lbPolicy {
	switch b.Policy {
	case LeastRequest:
		return []*lbPolicy{policyOf("envoy.load_balancing_policies.least_request", pack(leastRequest(b)))}
	case Random:
		return []*lbPolicy{policyOf("envoy.load_balancing_policies.random", pack(&randomv3.Random{})), roundRobin()}
	case PickFirst:
		return []*lbPolicy{
			policyOf("envoy.load_balancing_policies.pick_first", pack(&pickfirstv3.PickFirst{ShuffleAddressList: b.ShuffleAddressList})),
			roundRobin(),
		}
	case PeakEWMA:
		return []*lbPolicy{
			policyOf("envoy.load_balancing_policies.peak_ewma", pack(&peakewmav3.PeakEwma{
				DecayTime:           optionalDuration(b.DecayTime),
				AggregationInterval: optionalDuration(b.AggregationInterval),
				DefaultRtt:          optionalDuration(b.DefaultRTT),
				PenaltyValue:        optionalDouble(b.PenaltyValue),
			})),
			policyOf("envoy.load_balancing_policies.least_request", pack(&leastrequestv3.LeastRequest{})),
		}
	case ClientSideWeightedRoundRobin:
		return []*lbPolicy{
			policyOf("envoy.load_balancing_policies.client_side_weighted_round_robin", pack(loadWeights(b))),
			roundRobin(),
		}
	}
	return []*lbPolicy{policyOf("envoy.load_balancing_policies.round_robin", pack(&roundrobinv3.RoundRobin{SlowStartConfig: slowStart(b.SlowStart)}))}
}

func leastRequest(b *Balance) *leastrequestv3.LeastRequest {
	m := &leastrequestv3.LeastRequest{
		ChoiceCount:       optionalUint32(b.ChoiceCount),
		ActiveRequestBias: runtimeDouble(b.ActiveRequestBias, "activeRequestBias"),
		SlowStartConfig:   slowStart(b.SlowStart),
	}
	if b.SelectionMethod == FullScan {
		m.SelectionMethod = leastrequestv3.LeastRequest_FULL_SCAN
	}
	return m
}

func loadWeights(b *Balance) *cswrrv3.ClientSideWeightedRoundRobin {
	m := &cswrrv3.ClientSideWeightedRoundRobin{
		OobReportingPeriod:                 optionalDuration(b.OOBReportingPeriod),
		BlackoutPeriod:                     optionalDuration(b.BlackoutPeriod),
		WeightExpirationPeriod:             optionalDuration(b.WeightExpirationPeriod),
		WeightUpdatePeriod:                 optionalDuration(b.WeightUpdatePeriod),
		MetricNamesForComputingUtilization: b.MetricNamesForComputingUtilization,
		SlowStartConfig:                    slowStart(b.SlowStart),
		// Envoy takes nothing for the 1 that its documentation promises.
		ErrorUtilizationPenalty: wrapperspb.Float(1),
	}
	if b.EnableOOBLoadReport {
		m.EnableOobLoadReport = wrapperspb.Bool(true)
	}
	if b.ErrorUtilizationPenalty != nil {
		m.ErrorUtilizationPenalty = wrapperspb.Float(float32(*b.ErrorUtilizationPenalty))
	}
	return m
}

func slowStart(s *SlowStart) *lbcommonv3.SlowStartConfig {
	if s == nil {
		return nil
	}
	m := legacySlowStart(s)
	return &lbcommonv3.SlowStartConfig{SlowStartWindow: m.SlowStartWindow, Aggression: m.Aggression, MinWeightPercent: m.MinWeightPercent}
}

func legacySlowStart(s *SlowStart) *clusterv3.Cluster_SlowStartConfig {
	if s == nil {
		return nil
	}
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow:  optionalDuration(&s.SlowStartWindow),
		Aggression:       runtimeDouble(s.Aggression, "aggression"),
		MinWeightPercent: optionalPercent(s.MinWeightPercent),
	}
}

// runtimeDouble is a number that Envoy would let its runtime change, under a key that
// must be given.
func runtimeDouble(v *float64, key string) *corev3.RuntimeDouble {
	if v == nil {
		return nil
	}
	return &corev3.RuntimeDouble{DefaultValue: *v, RuntimeKey: "weft." + key}
}

func optionalDouble(v *float64) *wrapperspb.DoubleValue {
	if v == nil {
		return nil
	}
	return wrapperspb.Double(*v)
}
