package resolver

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/balancer"
)

var (
	zoneAwareFields      = fieldNames("routing_enabled", "min_cluster_size", "fail_traffic_on_panic")
	typedZoneAwareFields = fieldNames("force_locality_direct_routing", "force_local_zone", "locality_basis")
)

// legacyZoneAware reads common_lb_config.zone_aware_lb_config
// (envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig).
func (p *path) legacyZoneAware(m *clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig, c *balancer.Config) error {
	if m == nil {
		return nil
	}
	q := p.to("zone_aware_lb_config")
	q.warnUnread(m, zoneAwareFields)
	c.ZoneAware = &balancer.ZoneAware{FailOnPanic: m.GetFailTrafficOnPanic()}
	return q.zoneAware(m.GetRoutingEnabled(), m.GetMinClusterSize(), c.ZoneAware)
}

// typedZoneAware reads the zone_aware_lb_config of a policy's locality_lb_config.
func (p *path) typedZoneAware(m *commonlbv3.LocalityLbConfig_ZoneAwareLbConfig, c *balancer.Config) error {
	if m == nil {
		return nil
	}
	q := p.to("zone_aware_lb_config")
	q.warnUnread(m, zoneAwareFields, typedZoneAwareFields)
	z := &balancer.ZoneAware{FailOnPanic: m.GetFailTrafficOnPanic()}
	c.ZoneAware = z
	switch m.GetLocalityBasis() {
	case commonlbv3.LocalityLbConfig_ZoneAwareLbConfig_HEALTHY_HOSTS_NUM:
	case commonlbv3.LocalityLbConfig_ZoneAwareLbConfig_HEALTHY_HOSTS_WEIGHT:
		z.ByWeight = true
	default:
		return q.to("locality_basis").errorf("unknown value %d", m.GetLocalityBasis())
	}
	if m.GetForceLocalityDirectRouting() { // the older name
		z.ForceLocalSize = 1
	}
	if force := m.GetForceLocalZone(); force != nil {
		z.ForceLocalSize = 1
		if size := force.GetMinSize(); size != nil {
			z.ForceLocalSize = max(1, size.GetValue())
		}
	}
	return q.zoneAware(m.GetRoutingEnabled(), m.GetMinClusterSize(), z)
}

// zoneAware reads what both forms have.
func (p *path) zoneAware(routing *typev3.Percent, size *wrapperspb.UInt64Value, z *balancer.ZoneAware) error {
	z.Routing, z.MinClusterSize = balancer.DefaultZoneAware.Routing, balancer.DefaultZoneAware.MinClusterSize
	if routing != nil {
		if v := routing.GetValue(); math.IsNaN(v) || v < 0 || v > 100 {
			return p.to("routing_enabled").errorf("%v is not a percentage", v)
		}
		z.Routing = routing.GetValue()
	}
	if size != nil {
		z.MinClusterSize = size.GetValue()
	}
	return nil
}
