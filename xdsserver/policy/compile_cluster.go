package policy

import (
	"net"
	"strconv"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	lbcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

func (c *compiler) cluster(name, subset string, s *Service) *clusterv3.Cluster {
	if s.Failover != nil {
		return c.aggregate(name, s)
	}
	options := protocolOptions(s.Protocol)
	cluster := &clusterv3.Cluster{
		Name:             clusterName(name, subset),
		ConnectTimeout:   optionalDuration(s.ConnectTimeout),
		CircuitBreakers:  circuitBreakers(s.Limits),
		OutlierDetection: outlierDetection(s.OutlierDetection),
		Metadata:         retryThrottling(s.Limits),
	}
	setBreakers(cluster, s.Breaker)
	setConnections(cluster, options, s.Connections)
	cluster.TypedExtensionProtocolOptions = map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(options),
	}
	setDiscovery(cluster, s.Discover)
	setBalance(cluster, s.Balance)
	setSession(cluster, s.Session)
	setHealthChecks(cluster, name, s)
	return cluster
}

// setDiscovery says where the endpoints come from. The EDS name is left out: it
// is then the cluster's own.
func setDiscovery(cluster *clusterv3.Cluster, d *Discover) {
	if d == nil {
		cluster.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		cluster.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()}
		return
	}
	kind := clusterv3.Cluster_STRICT_DNS
	if d.Mode == DNSLogical {
		kind = clusterv3.Cluster_LOGICAL_DNS
	}
	cluster.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
	if d.Refresh != nil {
		cluster.DnsRefreshRate = optionalDuration(d.Refresh)
	} else {
		// The successor of this field, the cluster type envoy.clusters.dns, is unknown to gRPC.
		cluster.RespectDnsTtl = true
	}
	cluster.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: cluster.Name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality:            &corev3.Locality{},
			LoadBalancingWeight: wrapperspb.UInt32(1),
			LbEndpoints:         []*endpointv3.LbEndpoint{lbEndpoint(d.DNS)},
		}},
	}
}

// setBalance says how to pick. round_robin and least_request are written with the
// lb_policy enum: every client knows both that way, and gRPC then weighs localities of its
// own accord (gRFC A27), as it does not for a bare policy in
// load_balancing_policy. Policies that not every client has are written there,
// as a list from which each client takes the first that it knows (gRFC A52), with
// round_robin last: the enum's value would be refused instead.
func setBalance(cluster *clusterv3.Cluster, b *Balance) {
	if b == nil {
		b = &Balance{}
	}
	weighted := b.LocalityWeights != nil
	if weighted {
		cluster.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
			LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			},
		}
	}
	switch b.Policy {
	case LeastRequest:
		setLeastRequest(cluster, b)
	case Random:
		random := &randomv3.Random{}
		if weighted {
			random.LocalityLbConfig = localityWeighted()
		}
		cluster.LoadBalancingPolicy = policies(
			policyOf("envoy.load_balancing_policies.random", pack(random)),
			byLocality(roundRobin()),
		)
	case RingHash:
		setRingHash(cluster, b)
	case Maglev:
		setMaglev(cluster, b)
	case PickFirst, PeakEWMA, ClientSideWeightedRoundRobin:
		setTyped(cluster, b)
	default:
		cluster.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if b.SlowStart != nil {
			cluster.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: legacySlowStart(b.SlowStart)},
			}
		}
	}
	if b.SubsetSize != nil {
		setSubset(cluster, b)
	}
	if b.ZoneAware != nil {
		setZoneAware(cluster, b)
	}
}

type lbPolicy = clusterv3.LoadBalancingPolicy_Policy

func policies(list ...*lbPolicy) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: list}
}

func policyOf(name string, config *anypb.Any) *lbPolicy {
	return &lbPolicy{TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: config}}
}

func roundRobin() *lbPolicy {
	return policyOf("envoy.load_balancing_policies.round_robin", pack(&roundrobinv3.RoundRobin{}))
}

func localityWeighted() *lbcommonv3.LocalityLbConfig {
	return &lbcommonv3.LocalityLbConfig{
		LocalityConfigSpecifier: &lbcommonv3.LocalityLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &lbcommonv3.LocalityLbConfig_LocalityWeightedLbConfig{},
		},
	}
}

// byLocality picks a locality by weight and then an endpoint in it (gRFC A52).
func byLocality(endpoint ...*lbPolicy) *lbPolicy {
	return policyOf("envoy.load_balancing_policies.wrr_locality", pack(&wrrv3.WrrLocality{EndpointPickingPolicy: policies(endpoint...)}))
}

// protocolOptions fixes what Envoy and HTTP clients speak to the endpoints. gRPC
// clients speak HTTP/2 whatever it says.
func protocolOptions(p Protocol) *upstreamv3.HttpProtocolOptions {
	explicit := &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		},
	}
	if p == GRPC || p == HTTP2 {
		explicit.ProtocolConfig = &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}
	}
	return &upstreamv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	}
}

// lbEndpoint is an endpoint of nothing but an address, which is known to be one.
func lbEndpoint(address string) *endpointv3.LbEndpoint {
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.ParseUint(port, 10, 16)
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address:       host,
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)},
		}}},
	}}}
}
