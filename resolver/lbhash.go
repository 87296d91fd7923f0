package resolver

import (
	"math/big"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/balancer"
)

var (
	ringHashFields   = fieldNames("hash_function", "minimum_ring_size", "maximum_ring_size")
	maglevFields     = fieldNames("table_size")
	consistentFields = fieldNames("use_hostname_for_hashing", "hash_balance_factor")

	typedRingHashFields = fieldNames("use_hostname_for_hashing", "hash_balance_factor", "consistent_hashing_lb_config", "locality_weighted_lb_config")
	typedMaglevFields   = fieldNames("consistent_hashing_lb_config", "locality_weighted_lb_config")
)

// legacyHash reads lb_policy RING_HASH and MAGLEV
// (envoy.config.cluster.v3.Cluster.RingHashLbConfig, MaglevLbConfig).
func (p *path) legacyHash(m *clusterv3.Cluster, c *balancer.Config) error {
	if consistent := m.GetCommonLbConfig().GetConsistentHashingLbConfig(); consistent != nil {
		p.to("common_lb_config").to("consistent_hashing_lb_config").warnUnread(consistent, consistentFields)
		c.Policy.HashHostname = consistent.GetUseHostnameForHashing()
		if err := p.to("common_lb_config").to("consistent_hashing_lb_config").balanceFactor(consistent.GetHashBalanceFactor(), c); err != nil {
			return err
		}
	}
	if m.GetLbPolicy() == clusterv3.Cluster_MAGLEV {
		q, config := p.to("maglev_lb_config"), m.GetMaglevLbConfig()
		if config != nil {
			q.warnUnread(config, maglevFields)
		}
		return q.maglev(config.GetTableSize(), c)
	}
	q, config := p.to("ring_hash_lb_config"), m.GetRingHashLbConfig()
	if config != nil {
		q.warnUnread(config, ringHashFields)
	}
	xxhash := config.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_XX_HASH
	return q.ringHash(xxhash, config.GetMinimumRingSize(), config.GetMaximumRingSize(), c)
}

// typedRingHash reads envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash.
func (p *path) typedRingHash(m *ringhashv3.RingHash, c *balancer.Config) error {
	c.Policy.HashHostname = m.GetUseHostnameForHashing()
	if err := p.balanceFactor(m.GetHashBalanceFactor(), c); err != nil {
		return err
	}
	if err := p.consistentHashing(m.GetConsistentHashingLbConfig(), c); err != nil {
		return err
	}
	if m.GetLocalityWeightedLbConfig() != nil {
		c.LocalityWeighted = true
	}
	switch m.GetHashFunction() {
	case ringhashv3.RingHash_XX_HASH, ringhashv3.RingHash_DEFAULT_HASH:
		return p.ringHash(true, m.GetMinimumRingSize(), m.GetMaximumRingSize(), c)
	}
	return p.ringHash(false, nil, nil, c)
}

// typedMaglev reads envoy.extensions.load_balancing_policies.maglev.v3.Maglev.
func (p *path) typedMaglev(m *maglevv3.Maglev, c *balancer.Config) error {
	if err := p.consistentHashing(m.GetConsistentHashingLbConfig(), c); err != nil {
		return err
	}
	if m.GetLocalityWeightedLbConfig() != nil {
		c.LocalityWeighted = true
	}
	return p.maglev(m.GetTableSize(), c)
}

func (p *path) consistentHashing(m *commonlbv3.ConsistentHashingLbConfig, c *balancer.Config) error {
	if m == nil {
		return nil
	}
	q := p.to("consistent_hashing_lb_config")
	q.warnUnread(m, consistentFields)
	c.Policy.HashHostname = m.GetUseHostnameForHashing()
	c.Policy.HashBalanceFactor = 0 // the policy's own field does not count beside this
	return q.balanceFactor(m.GetHashBalanceFactor(), c)
}

func (p *path) balanceFactor(m *wrapperspb.UInt32Value, c *balancer.Config) error {
	if m != nil && m.GetValue() < 100 {
		return p.to("hash_balance_factor").errorf("%d is less than 100", m.GetValue())
	}
	c.Policy.HashBalanceFactor = m.GetValue()
	return nil
}

// ringHash reads what both forms of ring_hash have. Hash functions other than XXH64
// are refused (gRFC A42): keys would go elsewhere than policy says.
func (p *path) ringHash(xxhash bool, smallest, largest *wrapperspb.UInt64Value, c *balancer.Config) error {
	if !xxhash {
		return p.to("hash_function").errorf("%w: only XX_HASH is", ErrUnsupported)
	}
	c.Policy.Kind = balancer.RingHash
	var err error
	if c.Policy.MinRingSize, err = p.ringSize("minimum_ring_size", smallest); err != nil {
		return err
	}
	if c.Policy.MaxRingSize, err = p.ringSize("maximum_ring_size", largest); err != nil {
		return err
	}
	least, most := uint64(balancer.DefaultMinRingSize), uint64(balancer.MaxRingSize)
	if smallest != nil {
		least = smallest.GetValue()
	}
	if largest != nil {
		most = largest.GetValue()
	}
	if least > most {
		return p.to("minimum_ring_size").errorf("%d is more than maximum_ring_size, %d", least, most)
	}
	return nil
}

func (p *path) ringSize(field string, m *wrapperspb.UInt64Value) (uint64, error) {
	if v := m.GetValue(); m != nil && (v == 0 || v > balancer.MaxRingSize) {
		return 0, p.to(field).errorf("%d is not from 1 to %d", v, balancer.MaxRingSize)
	}
	return m.GetValue(), nil
}

func (p *path) maglev(size *wrapperspb.UInt64Value, c *balancer.Config) error {
	c.Policy.Kind = balancer.Maglev
	if size == nil {
		return nil
	}
	v := size.GetValue()
	if v > balancer.MaxMaglevTableSize || !new(big.Int).SetUint64(v).ProbablyPrime(0) { // exact below 2^64
		return p.to("table_size").errorf("%d is not a prime of at most %d", v, balancer.MaxMaglevTableSize)
	}
	c.Policy.TableSize = v
	return nil
}
