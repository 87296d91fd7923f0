package policy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	lbcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// setZoneAware writes the policy with what it says of zones. common_lb_config says it
// beside the lb_policy enum, which every client knows; but not of a zone that is forced,
// nor beside policies that have no enum: then it is part of the policy. Stock gRPC
// clients read over both.
func setZoneAware(cluster *clusterv3.Cluster, b *Balance) {
	z := b.ZoneAware
	if z.ForceLocalZone == nil && cluster.LoadBalancingPolicy == nil {
		common(cluster).LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{
			ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{
				RoutingEnabled:     optionalPercent(z.RoutingEnabled),
				MinClusterSize:     optionalUint64(z.MinClusterSize),
				FailTrafficOnPanic: z.FailTrafficOnPanic,
			},
		}
		return
	}
	aware := &lbcommonv3.LocalityLbConfig_ZoneAwareLbConfig{
		RoutingEnabled:     optionalPercent(z.RoutingEnabled),
		MinClusterSize:     optionalUint64(z.MinClusterSize),
		FailTrafficOnPanic: z.FailTrafficOnPanic,
	}
	if z.ForceLocalZone != nil {
		aware.ForceLocalZone = &lbcommonv3.LocalityLbConfig_ZoneAwareLbConfig_ForceLocalZone{MinSize: optionalUint32(z.ForceLocalZone.MinSize)}
	}
	locality := &lbcommonv3.LocalityLbConfig{
		LocalityConfigSpecifier: &lbcommonv3.LocalityLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: aware},
	}
	cluster.LbPolicy, cluster.LbConfig = 0, nil
	switch b.Policy {
	case LeastRequest:
		m := leastRequest(b)
		m.LocalityLbConfig = locality
		cluster.LoadBalancingPolicy = policies(policyOf("envoy.load_balancing_policies.least_request", pack(m)))
	case Random:
		cluster.LoadBalancingPolicy = policies(policyOf("envoy.load_balancing_policies.random",
			pack(&randomv3.Random{LocalityLbConfig: locality})), byLocality(roundRobin()))
	default:
		cluster.LoadBalancingPolicy = policies(policyOf("envoy.load_balancing_policies.round_robin",
			pack(&roundrobinv3.RoundRobin{SlowStartConfig: slowStart(b.SlowStart), LocalityLbConfig: locality})))
	}
}

func optionalPercent(f *Fraction) *typev3.Percent {
	if f == nil {
		return nil
	}
	return &typev3.Percent{Value: float64(*f) / 10_000}
}
