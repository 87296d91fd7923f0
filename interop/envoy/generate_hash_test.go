package envoy

import (
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// hashPolicies makes up what a route hashes of a request.
func (g *generator) hashPolicies() (list []*routev3.RouteAction_HashPolicy) {
	for range 1 + g.IntN(3) {
		h := &routev3.RouteAction_HashPolicy{Terminal: g.one(3)}
		kinds := 6
		if g.grpc {
			kinds = 3 // gRFC A42
		}
		switch g.IntN(kinds) {
		case 3:
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{
				QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: g.param()},
			}
		case 4, 5:
			c := &routev3.RouteAction_HashPolicy_Cookie{Name: pick(g, "c", "d")}
			if g.one(2) {
				c.Ttl = durationpb.New(pick(g, 0, 90*long/60))
				c.Path = pick(g, "", "/a")
				if g.one(3) {
					c.Attributes = []*routev3.RouteAction_HashPolicy_CookieAttribute{{Name: "SameSite", Value: "Strict"}, {Name: "Secure"}}
				}
			}
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: c}
		default:
			header := &routev3.RouteAction_HashPolicy_Header{HeaderName: g.headerName()}
			if g.one(6) {
				header.HeaderName = pick(g, ":path", ":authority", ":method")
			}
			if g.one(4) {
				header.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
					Pattern: &matcherv3.RegexMatcher{Regex: "^(.).*$"}, Substitution: `\1`,
				}
			}
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{Header: header}
		}
		list = append(list, h)
	}
	return list
}

// hashing makes a cluster balance by hashes.
func (g *generator) hashing(c *clusterv3.Cluster) {
	byHostname, byLocality := g.one(3), g.grpc || g.one(2) // gRPC always goes by the weights of localities (gRFC A42)
	g.named = byHostname                                   // Envoy's key of an endpoint without a hostname is nothing
	size := func(list ...uint64) *wrapperspb.UInt64Value {
		if v := pick(g, list...); v != 0 {
			return wrapperspb.UInt64(v)
		}
		return nil
	}
	least, most, table := size(0, 0, 1, 64, 2048), size(0, 0, 100, 4096), size(0, 101, 1009)
	if most.GetValue() == 100 && (least == nil || least.GetValue() > 100) {
		most = nil // both would refuse it
	}
	if g.one(2) {
		g.typedHashing(c, byHostname, byLocality, least, most, table)
		return
	}
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{} // in which Envoy refuses hostnames with EDS
	if byLocality {
		c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	if g.one(2) {
		c.LbPolicy = clusterv3.Cluster_RING_HASH
		c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
			MinimumRingSize: least, MaximumRingSize: most,
		}}
		return
	}
	c.LbPolicy = clusterv3.Cluster_MAGLEV
	c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: table}}
}

func (g *generator) typedHashing(c *clusterv3.Cluster, byHostname, byLocality bool, least, most, table *wrapperspb.UInt64Value) {
	var byWeight *commonv3.LocalityLbConfig_LocalityWeightedLbConfig
	if byLocality {
		byWeight = &commonv3.LocalityLbConfig_LocalityWeightedLbConfig{}
	}
	consistent := &commonv3.ConsistentHashingLbConfig{UseHostnameForHashing: byHostname}
	policy, name := proto.Message(&maglevv3.Maglev{
		TableSize: table, ConsistentHashingLbConfig: consistent, LocalityWeightedLbConfig: byWeight,
	}), "maglev"
	if g.one(2) {
		policy, name = &ringhashv3.RingHash{
			HashFunction:    ringhashv3.RingHash_XX_HASH,
			MinimumRingSize: least, MaximumRingSize: most,
			ConsistentHashingLbConfig: consistent, LocalityWeightedLbConfig: byWeight,
		}, "ring_hash"
	}
	c.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{
			Name:        "envoy.load_balancing_policies." + name,
			TypedConfig: pack(g.t, policy),
		},
	}}}
}

// spread divides endpoints among localities and priorities and makes up their weights
// and health.
func (g *generator) spread(a *endpointv3.ClusterLoadAssignment, sick bool) {
	all := a.Endpoints[0].LbEndpoints
	a.Endpoints = nil
	g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	zones := []string{"a", "b", "c"}[:1+g.IntN(3)]
	priorities := 1 + g.IntN(2)
	for p := range priorities {
		for i, zone := range zones {
			l := &endpointv3.LocalityLbEndpoints{
				Locality: &corev3.Locality{Region: "r", Zone: zone},
				Priority: uint32(p),
			}
			if g.grpc || sick || i == 0 || !g.one(6) { // Envoy's ring has nothing of a priority without any weight
				l.LoadBalancingWeight = wrapperspb.UInt32(pick(g, uint32(1), 2, 5))
			}
			a.Endpoints = append(a.Endpoints, l)
		}
	}
	// Weft's panic spares draining endpoints, Envoy's does not: sick ones are of one kind.
	g.drains = g.one(2)
	// Every priority has an endpoint: Envoy wants them without a gap.
	for i, e := range all {
		l := a.Endpoints[g.IntN(len(a.Endpoints))]
		if i < priorities {
			l = a.Endpoints[i*len(zones)]
		}
		g.endpoint(e, sick)
		l.LbEndpoints = append(l.LbEndpoints, e)
	}
	a.Endpoints = slices.DeleteFunc(a.Endpoints, func(l *endpointv3.LocalityLbEndpoints) bool { return len(l.LbEndpoints) == 0 })
}

func (g *generator) endpoint(e *endpointv3.LbEndpoint, sick bool) {
	e.LoadBalancingWeight, e.Metadata, e.HealthStatus = nil, nil, corev3.HealthStatus_UNKNOWN
	e.GetEndpoint().Hostname = ""
	if g.one(2) {
		e.LoadBalancingWeight = wrapperspb.UInt32(pick(g, uint32(1), 2, 3, 7))
	}
	port := e.GetEndpoint().GetAddress().GetSocketAddress().GetPortValue()
	if g.named || g.one(2) {
		e.GetEndpoint().Hostname = fmt.Sprint("host-", port)
	}
	if g.one(4) {
		e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": {Fields: map[string]*structpb.Value{
			"hash_key": structpb.NewStringValue(fmt.Sprint("key-", port)),
		}}}}
	}
	if sick && g.one(3) {
		// Not degraded: Envoy's tables leave those out, and fail the share of calls that is theirs.
		e.HealthStatus = pick(g, corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_TIMEOUT, corev3.HealthStatus_HEALTHY)
		if g.drains {
			e.HealthStatus = corev3.HealthStatus_DRAINING
		}
	}
}
