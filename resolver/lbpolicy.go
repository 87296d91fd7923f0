package resolver

import (
	peakewmav3 "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/load_balancing_policies/peak_ewma/v3alpha"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	overridehostv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	pickfirstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/pick_first/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	randomsubsettingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random_subsetting/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/balancer"
)

const lbPolicies = "type.googleapis.com/envoy.extensions.load_balancing_policies."

// maxPolicyDepth is how deep policies may be nested (gRFC A52).
const maxPolicyDepth = 16

// clusterPolicy reads how endpoints are picked: load_balancing_policy if there is
// one (gRFC A52), else lb_policy.
func (p *path) clusterPolicy(m *clusterv3.Cluster, c *balancer.Config) error {
	if c.Discovery == balancer.DiscoverOriginalDst || c.Discovery == balancer.DiscoverAggregate {
		return nil // the cluster's type says how to pick
	}
	if typed := m.GetLoadBalancingPolicy(); typed != nil {
		return p.to("load_balancing_policy").typedPolicy(typed, c, 0)
	}
	c.LegacyPolicy = true
	q := p.to("lb_policy")
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		c.Policy.Kind = balancer.RoundRobin
		q, l := p.to("round_robin_lb_config"), m.GetRoundRobinLbConfig()
		if l != nil {
			q.warnUnread(l, slowStartField)
		}
		return q.slowStart(l.GetSlowStartConfig(), c)
	case clusterv3.Cluster_LEAST_REQUEST:
		q, l := p.to("least_request_lb_config"), m.GetLeastRequestLbConfig()
		if l != nil {
			q.warnUnread(l, leastRequestFields, slowStartField)
		}
		if err := q.leastRequest(l.GetChoiceCount(), l.GetActiveRequestBias(), c); err != nil {
			return err
		}
		return q.slowStart(l.GetSlowStartConfig(), c)
	case clusterv3.Cluster_RANDOM:
		c.Policy.Kind = balancer.Random
	case clusterv3.Cluster_RING_HASH, clusterv3.Cluster_MAGLEV:
		return p.legacyHash(m, c)
	case clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG:
		return q.errorf("is LOAD_BALANCING_POLICY_CONFIG, but load_balancing_policy is not set")
	default:
		return q.errorf("%w: %s for a cluster of type %s", ErrUnsupported, m.GetLbPolicy(), m.GetType())
	}
	return nil
}

var (
	leastRequestFields      = fieldNames("choice_count", "active_request_bias")
	typedLeastRequestFields = fieldNames("locality_lb_config", "enable_full_scan", "selection_method")
)

func (p *path) leastRequest(choices *wrapperspb.UInt32Value, bias *corev3.RuntimeDouble, c *balancer.Config) error {
	c.Policy = balancer.Policy{Kind: balancer.LeastRequest, ActiveRequestBias: -1}
	if choices != nil {
		if choices.GetValue() < 2 {
			return p.to("choice_count").errorf("%d is less than 2", choices.GetValue())
		}
		c.Policy.ChoiceCount = int(min(choices.GetValue(), maxChoices))
	}
	if bias != nil && bias.GetDefaultValue() >= 0 {
		c.Policy.ActiveRequestBias = bias.GetDefaultValue()
	}
	return nil
}

// maxChoices bounds what a pick costs (gRFC A48 has 10).
const maxChoices = 100

// typedPolicy reads the first policy of a list that is known (gRFC A52). Others,
// TypedStructs among them, are passed over.
func (p *path) typedPolicy(list *clusterv3.LoadBalancingPolicy, c *balancer.Config, depth int) error {
	if depth == maxPolicyDepth {
		return p.errorf("policies are nested deeper than %d", maxPolicyDepth)
	}
	for i, policy := range list.GetPolicies() {
		config := policy.GetTypedExtensionConfig().GetTypedConfig()
		q := p.at("policies", i).to("typed_extension_config").to("typed_config")
		if known, err := q.knownPolicy(config, c, depth); known || err != nil {
			return err
		}
	}
	return p.errorf("%w: none of the policies is known", ErrUnsupported)
}

var localityLBFields = fieldNames("locality_lb_config")

func (p *path) knownPolicy(config *anypb.Any, c *balancer.Config, depth int) (known bool, err error) {
	switch config.GetTypeUrl() {
	case lbPolicies + "round_robin.v3.RoundRobin":
		var m roundrobinv3.RoundRobin
		if err := p.policyConfig(config, &m, localityLBFields, slowStartField); err != nil {
			return false, err
		}
		c.Policy.Kind = balancer.RoundRobin
		if err := p.localityLB(m.GetLocalityLbConfig(), c); err != nil {
			return false, err
		}
		return true, p.slowStart(m.GetSlowStartConfig(), c)
	case lbPolicies + "random.v3.Random":
		var m randomv3.Random
		if err := p.policyConfig(config, &m, localityLBFields); err != nil {
			return false, err
		}
		c.Policy.Kind = balancer.Random
		return true, p.localityLB(m.GetLocalityLbConfig(), c)
	case lbPolicies + "least_request.v3.LeastRequest":
		var m leastrequestv3.LeastRequest
		if err := p.policyConfig(config, &m, leastRequestFields, typedLeastRequestFields, slowStartField); err != nil {
			return false, err
		}
		if err := p.localityLB(m.GetLocalityLbConfig(), c); err != nil {
			return false, err
		}
		if err := p.leastRequest(m.GetChoiceCount(), m.GetActiveRequestBias(), c); err != nil {
			return false, err
		}
		// The first is what the second was called before.
		c.Policy.FullScan = m.GetEnableFullScan().GetValue() || m.GetSelectionMethod() == leastrequestv3.LeastRequest_FULL_SCAN
		return true, p.slowStart(m.GetSlowStartConfig(), c)
	case lbPolicies + "ring_hash.v3.RingHash":
		var m ringhashv3.RingHash
		if err := p.policyConfig(config, &m, ringHashFields, typedRingHashFields); err != nil {
			return false, err
		}
		return true, p.typedRingHash(&m, c)
	case lbPolicies + "maglev.v3.Maglev":
		var m maglevv3.Maglev
		if err := p.policyConfig(config, &m, maglevFields, typedMaglevFields); err != nil {
			return false, err
		}
		return true, p.typedMaglev(&m, c)
	case lbPolicies + "pick_first.v3.PickFirst":
		var m pickfirstv3.PickFirst
		if err := p.policyConfig(config, &m, fieldNames("shuffle_address_list")); err != nil {
			return false, err
		}
		c.Policy = balancer.Policy{Kind: balancer.PickFirst, Shuffle: m.GetShuffleAddressList()}
	case lbPolicies + "peak_ewma.v3alpha.PeakEwma":
		var m peakewmav3.PeakEwma
		if err := p.policyConfig(config, &m, peakEWMAFields); err != nil {
			return false, err
		}
		return true, p.peakEWMA(&m, c)
	case lbPolicies + "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin":
		var m cswrrv3.ClientSideWeightedRoundRobin
		if err := p.policyConfig(config, &m, loadWeightFields, slowStartField); err != nil {
			return false, err
		}
		return true, p.loadWeights(&m, c)
	case lbPolicies + "random_subsetting.v3.RandomSubsetting":
		var m randomsubsettingv3.RandomSubsetting
		if err := p.policyConfig(config, &m, randomSubsettingFields); err != nil {
			return false, err
		}
		return true, p.randomSubsetting(&m, c, depth)
	case lbPolicies + "wrr_locality.v3.WrrLocality":
		var m wrrlocalityv3.WrrLocality
		if err := p.policyConfig(config, &m, fieldNames("endpoint_picking_policy")); err != nil {
			return false, err
		}
		if err := p.to("endpoint_picking_policy").typedPolicy(m.GetEndpointPickingPolicy(), c, depth+1); err != nil {
			return false, err
		}
		c.LocalityWeighted = true
		c.Policy.RandomSubset.PerLocality = c.Policy.RandomSubset.Size > 0 // subsets of each locality's endpoints
	case lbPolicies + "override_host.v3.OverrideHost":
		var m overridehostv3.OverrideHost
		if err := p.policyConfig(config, &m, overrideHostFields); err != nil {
			return false, err
		}
		return true, p.overrideHost(&m, c, depth)
	case lbPolicies + "subset.v3.Subset":
		var m subsetv3.Subset
		if err := p.policyConfig(config, &m, subsetFields, typedSubsetFields); err != nil {
			return false, err
		}
		return true, p.typedSubsets(&m, c, depth)
	default:
		return false, nil
	}
	return true, nil
}

func (p *path) policyConfig(config *anypb.Any, m proto.Message, read ...fields) error {
	if err := config.UnmarshalTo(m); err != nil {
		return p.errorf("%w", err)
	}
	p.warnUnread(m, read...)
	return nil
}

func (p *path) localityLB(l *commonlbv3.LocalityLbConfig, c *balancer.Config) error {
	if l == nil {
		return nil
	}
	q := p.to("locality_lb_config")
	q.warnUnread(l, fieldNames("locality_weighted_lb_config", "zone_aware_lb_config"))
	if l.GetLocalityWeightedLbConfig() != nil {
		c.LocalityWeighted = true
	}
	return q.typedZoneAware(l.GetZoneAwareLbConfig(), c)
}
