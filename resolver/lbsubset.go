package resolver

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/balancer"
)

var (
	subsetFields = fieldNames("fallback_policy", "default_subset", "subset_selectors", "locality_weight_aware",
		"scale_locality_weight", "panic_mode_any", "list_as_any", "metadata_fallback_policy")
	typedSubsetFields = fieldNames("allow_redundant_keys", "subset_lb_policy")
	selectorFields    = fieldNames("keys", "single_host_per_subset", "fallback_policy", "fallback_keys_subset")
)

// legacySubsets reads lb_subset_config
// (envoy.config.cluster.v3.Cluster.LbSubsetConfig). Without selectors it does nothing,
// as in Envoy. A load_balancing_policy takes its place.
func (p *path) legacySubsets(m *clusterv3.Cluster, c *balancer.Config) error {
	config := m.GetLbSubsetConfig()
	if len(config.GetSubsetSelectors()) == 0 || m.GetLoadBalancingPolicy() != nil {
		return nil
	}
	q := p.to("lb_subset_config")
	q.warnUnread(config, subsetFields)
	selectors := make([]subsetSelector, len(config.GetSubsetSelectors()))
	for i, s := range config.GetSubsetSelectors() {
		q.at("subset_selectors", i).warnUnread(s, selectorFields)
		selectors[i] = legacySelector{s}
	}
	return q.subsets(legacySubset{config}, selectors, c)
}

// typedSubsets reads envoy.extensions.load_balancing_policies.subset.v3.Subset.
func (p *path) typedSubsets(m *subsetv3.Subset, c *balancer.Config, depth int) error {
	if c.Subsets != nil {
		return p.errorf("%w: subsets of subsets", ErrUnsupported)
	}
	if err := p.to("subset_lb_policy").typedPolicy(m.GetSubsetLbPolicy(), c, depth+1); err != nil {
		return err
	}
	selectors := make([]subsetSelector, len(m.GetSubsetSelectors()))
	for i, s := range m.GetSubsetSelectors() {
		p.at("subset_selectors", i).warnUnread(s, selectorFields)
		selectors[i] = typedSelector{s}
	}
	if err := p.subsets(typedSubset{m}, selectors, c); err != nil {
		return err
	}
	c.Subsets.RedundantKeys = m.GetAllowRedundantKeys()
	return nil
}

// subsetConfig and subsetSelector are what both forms have, with their enums, whose
// numbers are the same, as numbers.
type subsetConfig interface {
	fallback() int32
	metadataFallback() int32
	GetDefaultSubset() *structpb.Struct
	GetLocalityWeightAware() bool
	GetScaleLocalityWeight() bool
	GetPanicModeAny() bool
	GetListAsAny() bool
}

type subsetSelector interface {
	fallback() int32
	GetKeys() []string
	GetSingleHostPerSubset() bool
	GetFallbackKeysSubset() []string
}

type (
	legacySubset struct {
		*clusterv3.Cluster_LbSubsetConfig
	}
	legacySelector struct {
		*clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector
	}
	typedSubset struct {
		*subsetv3.Subset
	}
	typedSelector struct {
		*subsetv3.Subset_LbSubsetSelector
	}
)

func (s legacySubset) fallback() int32         { return int32(s.GetFallbackPolicy()) }
func (s legacySubset) metadataFallback() int32 { return int32(s.GetMetadataFallbackPolicy()) }
func (s legacySelector) fallback() int32       { return int32(s.GetFallbackPolicy()) }
func (s typedSubset) fallback() int32          { return int32(s.GetFallbackPolicy()) }
func (s typedSubset) metadataFallback() int32  { return int32(s.GetMetadataFallbackPolicy()) }
func (s typedSelector) fallback() int32        { return int32(s.GetFallbackPolicy()) }

var subsetFallbacks = []balancer.SubsetFallback{ // by LbSubsetFallbackPolicy
	balancer.FallbackNone, balancer.FallbackAny, balancer.FallbackDefault,
}

var selectorFallbacks = []balancer.SubsetFallback{ // by LbSubsetSelectorFallbackPolicy
	balancer.FallbackUnset, balancer.FallbackNone, balancer.FallbackAny, balancer.FallbackDefault, balancer.FallbackToKeys,
}

func (p *path) subsets(m subsetConfig, selectors []subsetSelector, c *balancer.Config) error {
	s := &balancer.Subsets{
		Default:              values(m.GetDefaultSubset()),
		LocalityWeights:      m.GetLocalityWeightAware(),
		ScaleLocalityWeights: m.GetScaleLocalityWeight(),
		PanicAny:             m.GetPanicModeAny(),
		ListAsAny:            m.GetListAsAny(),
		FallbackList:         m.metadataFallback() == int32(clusterv3.Cluster_LbSubsetConfig_FALLBACK_LIST),
	}
	var ok bool
	if s.Fallback, ok = fallbackOf(subsetFallbacks, m.fallback()); !ok {
		return p.to("fallback_policy").errorf("unknown value %d", m.fallback())
	}
	for i, selector := range selectors {
		one, err := p.at("subset_selectors", i).subsetSelector(selector)
		if err != nil {
			return err
		}
		s.Selectors = append(s.Selectors, one)
	}
	c.Subsets = s
	return nil
}

func (p *path) subsetSelector(m subsetSelector) (s balancer.SubsetSelector, err error) {
	s = balancer.SubsetSelector{Keys: m.GetKeys(), SingleHost: m.GetSingleHostPerSubset(), FallbackKeys: m.GetFallbackKeysSubset()}
	var ok bool
	if s.Fallback, ok = fallbackOf(selectorFallbacks, m.fallback()); !ok {
		return s, p.to("fallback_policy").errorf("unknown value %d", m.fallback())
	}
	if len(s.Keys) == 0 {
		return s, p.to("keys").errorf("must not be empty")
	}
	q := p.to("fallback_keys_subset")
	if s.Fallback != balancer.FallbackToKeys {
		if len(s.FallbackKeys) > 0 {
			return s, q.errorf("is for the fallback policy KEYS_SUBSET")
		}
		return s, nil
	}
	distinct := map[string]bool{}
	for _, key := range s.FallbackKeys {
		if !slices.Contains(s.Keys, key) {
			return s, q.errorf("%q is not in keys", key)
		}
		distinct[key] = true
	}
	all := map[string]bool{}
	for _, key := range s.Keys {
		all[key] = true
	}
	if len(distinct) == 0 || len(distinct) == len(all) {
		return s, q.errorf("must have a part of keys: neither none nor all")
	}
	return s, nil
}

func fallbackOf(list []balancer.SubsetFallback, n int32) (balancer.SubsetFallback, bool) {
	if n < 0 || int(n) >= len(list) {
		return 0, false
	}
	return list[n], true
}
