package policy

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	lbcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func hashPolicies(list []*Hash) []*routev3.RouteAction_HashPolicy {
	var policies []*routev3.RouteAction_HashPolicy
	for _, h := range list {
		p := &routev3.RouteAction_HashPolicy{Terminal: h.Terminal}
		switch {
		case h.Header != "":
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{
				Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: strings.ToLower(h.Header)},
			}
		case h.Cookie != nil:
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{
				Cookie: &routev3.RouteAction_HashPolicy_Cookie{Name: h.Cookie.Name, Ttl: optionalDuration(h.Cookie.TTL), Path: h.Cookie.Path},
			}
		case h.Query != "":
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{
				QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.Query},
			}
		default:
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_FilterState_{
				FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: "io.grpc.channel_id"}, // gRFC A42
			}
		}
		policies = append(policies, p)
	}
	return policies
}

// setRingHash writes ring_hash with the enum, which every client knows.
func setRingHash(cluster *clusterv3.Cluster, b *Balance) {
	cluster.LbPolicy = clusterv3.Cluster_RING_HASH
	if b.HashBalanceFactor != nil {
		common(cluster).ConsistentHashingLbConfig = &clusterv3.Cluster_CommonLbConfig_ConsistentHashingLbConfig{
			HashBalanceFactor: optionalUint32(b.HashBalanceFactor),
		}
	}
	if b.MinimumRingSize != nil || b.MaximumRingSize != nil {
		cluster.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
			MinimumRingSize: optionalUint64(b.MinimumRingSize),
			MaximumRingSize: optionalUint64(b.MaximumRingSize),
		}}
	}
}

// setMaglev writes maglev with round_robin behind it, for stock gRPC clients.
func setMaglev(cluster *clusterv3.Cluster, b *Balance) {
	maglev := &maglevv3.Maglev{TableSize: optionalUint64(b.TableSize)}
	if b.HashBalanceFactor != nil {
		maglev.ConsistentHashingLbConfig = &lbcommonv3.ConsistentHashingLbConfig{HashBalanceFactor: optionalUint32(b.HashBalanceFactor)}
	}
	if b.LocalityWeights != nil {
		maglev.LocalityWeightedLbConfig = &lbcommonv3.LocalityLbConfig_LocalityWeightedLbConfig{}
	}
	cluster.LoadBalancingPolicy = policies(
		policyOf("envoy.load_balancing_policies.maglev", pack(maglev)),
		byLocality(roundRobin()),
	)
}

// common is the cluster's common_lb_config, made if there is none.
func common(cluster *clusterv3.Cluster) *clusterv3.Cluster_CommonLbConfig {
	if cluster.CommonLbConfig == nil {
		cluster.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{}
	}
	return cluster.CommonLbConfig
}

func optionalUint64(u *uint32) *wrapperspb.UInt64Value {
	if u == nil {
		return nil
	}
	return wrapperspb.UInt64(uint64(*u))
}
