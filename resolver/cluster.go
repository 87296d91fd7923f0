package resolver

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/balancer"
)

// cluster is a compiled Cluster. It is immutable.
type cluster struct {
	name   string
	config *balancer.Config
	// unsupported is why the cluster's calls must fail: to leave out what it asks
	// for would send them to the wrong place. config is then nil.
	unsupported error

	// sockets say where each of config's Sockets came from, so that those which
	// policy leaves as they were are kept.
	sockets []string
}

func decodeCluster(c TypesConfig, raw []byte) (string, any, error) {
	var m clusterv3.Cluster
	if err := proto.Unmarshal(raw, &m); err != nil {
		return "", nil, err
	}
	d := &decoder{config: c, kind: "Cluster", name: m.GetName()}
	v, err := d.root().cluster(&m)
	if err != nil {
		return m.GetName(), nil, err
	}
	return m.GetName(), v, nil
}

var clusterFields = fieldNames("name", "alt_stat_name", "type", "cluster_type", "eds_cluster_config", "connect_timeout", "lb_policy",
	"load_assignment", "least_request_lb_config", "common_lb_config", "load_balancing_policy", "metadata",
	"ring_hash_lb_config", "maglev_lb_config", "round_robin_lb_config", "original_dst_lb_config",
	"dns_refresh_rate", "dns_failure_refresh_rate", "respect_dns_ttl", "dns_lookup_family",
	"transport_socket", "transport_socket_matches", "typed_extension_protocol_options", "http2_protocol_options",
	"circuit_breakers", "upstream_connection_options", "upstream_bind_config", "max_requests_per_connection", "common_http_protocol_options",
	"lb_subset_config", "cleanup_interval", "wait_for_warm_on_init", "outlier_detection", "health_checks",
	"ignore_health_on_host_removal") // as if it were set

func (p *path) cluster(m *clusterv3.Cluster) (*cluster, error) {
	v := &cluster{name: m.GetName()}
	if field, what := p.unsupportedCluster(m); field != nil {
		v.unsupported = field.errorf("%s: %w", what, ErrUnsupported)
		field.warnFails()
		return v, nil
	}
	p.warnUnread(m, clusterFields)
	c := &balancer.Config{Name: m.GetName()}
	for _, read := range []func(*clusterv3.Cluster, *balancer.Config) error{
		p.legacySubsets,
		p.discovery, p.dns, p.clusterPolicy, p.commonLB, p.clusterProtocol, p.outlierDetection, p.healthChecks, p.connection, p.limits, p.breakers,
	} {
		if err := read(m, c); err != nil {
			return nil, err
		}
	}
	d, err := p.duration("connect_timeout", m.GetConnectTimeout())
	if err != nil {
		return nil, err
	}
	c.ConnectTimeout = d.d
	if c.Sockets, v.sockets, err = p.clusterSockets(m); err != nil {
		return nil, err
	}
	v.config = c
	return v, nil
}

// unsupportedCluster returns what of the cluster makes its calls fail, if anything.
func (p *path) unsupportedCluster(m *clusterv3.Cluster) (field *path, what string) {
	switch {
	case m.GetClusterType() != nil && !isAggregate(m):
		return p.to("cluster_type"), m.GetClusterType().GetName()
	case m.GetType() == clusterv3.Cluster_EDS && !fromADS(m.GetEdsClusterConfig().GetEdsConfig()):
		return p.to("eds_cluster_config").to("eds_config"), "a source other than ads or self"
	case m.GetTransportSocketMatcher() != nil:
		return p.to("transport_socket_matcher"), "a matcher"
	}
	return nil, ""
}

// fromADS reports whether a resource comes from where the one that names it came from.
func fromADS(c *corev3.ConfigSource) bool { return c.GetAds() != nil || c.GetSelf() != nil }

// discovery reads where the endpoints come from.
func (p *path) discovery(m *clusterv3.Cluster, c *balancer.Config) error {
	if isAggregate(m) {
		return p.aggregate(m, c)
	}
	switch m.GetType() {
	case clusterv3.Cluster_EDS:
		c.Discovery, c.EDSName = balancer.DiscoverEDS, m.GetEdsClusterConfig().GetServiceName()
		return nil
	case clusterv3.Cluster_STATIC:
		c.Discovery = balancer.DiscoverStatic
	case clusterv3.Cluster_STRICT_DNS:
		c.Discovery = balancer.DiscoverStrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		c.Discovery = balancer.DiscoverLogicalDNS
	case clusterv3.Cluster_ORIGINAL_DST:
		return p.originalDst(m, c)
	default:
		return p.to("type").errorf("unknown value %d", m.GetType())
	}
	q := p.to("load_assignment")
	names := c.Discovery != balancer.DiscoverStatic
	a, err := q.assignment(m.GetLoadAssignment(), names)
	if err != nil {
		return err
	}
	if n := endpointCount(a); c.Discovery == balancer.DiscoverLogicalDNS && n != 1 {
		return q.errorf("has %d endpoints; LOGICAL_DNS needs one", n)
	}
	c.Static = a
	return nil
}

func endpointCount(a *balancer.Assignment) int {
	n := 0
	for i := range a.Localities {
		n += len(a.Localities[i].Endpoints)
	}
	return n
}

var dnsFamilies = map[clusterv3.Cluster_DnsLookupFamily]balancer.AddressFamily{
	clusterv3.Cluster_AUTO:         balancer.FamilyAuto,
	clusterv3.Cluster_V4_ONLY:      balancer.FamilyV4Only,
	clusterv3.Cluster_V6_ONLY:      balancer.FamilyV6Only,
	clusterv3.Cluster_V4_PREFERRED: balancer.FamilyV4Preferred,
	clusterv3.Cluster_ALL:          balancer.FamilyAll,
}

// dns reads how names are resolved.
func (p *path) dns(m *clusterv3.Cluster, c *balancer.Config) error {
	family, ok := dnsFamilies[m.GetDnsLookupFamily()]
	if !ok {
		return p.to("dns_lookup_family").errorf("unknown value %d", m.GetDnsLookupFamily())
	}
	refresh, err := p.duration("dns_refresh_rate", m.GetDnsRefreshRate())
	if err != nil {
		return err
	}
	q := p.to("dns_failure_refresh_rate")
	base, err := q.duration("base_interval", m.GetDnsFailureRefreshRate().GetBaseInterval())
	if err != nil {
		return err
	}
	most, err := q.duration("max_interval", m.GetDnsFailureRefreshRate().GetMaxInterval())
	if err != nil {
		return err
	}
	if most.set && most.d < base.d {
		return q.to("max_interval").errorf("%s is less than base_interval, %s", most.d, base.d)
	}
	c.DNS = balancer.DNS{
		RefreshRate: refresh.d,
		RespectTTL:  m.GetRespectDnsTtl(),
		FailureBase: base.d,
		FailureMax:  most.d,
		Family:      family,
	}
	return nil
}

// defaultPanicThreshold is Envoy's, in percent.
const defaultPanicThreshold = 50

var commonLBFields = fieldNames("healthy_panic_threshold", "locality_weighted_lb_config", "consistent_hashing_lb_config",
	"ignore_new_hosts_until_first_hc", "zone_aware_lb_config", "override_host_status")

// commonLB reads common_lb_config, after the policy.
func (p *path) commonLB(m *clusterv3.Cluster, c *balancer.Config) error {
	c.PanicThreshold = defaultPanicThreshold
	common := m.GetCommonLbConfig()
	if common == nil {
		return nil
	}
	q := p.to("common_lb_config")
	q.warnUnread(common, commonLBFields)
	if t := common.GetHealthyPanicThreshold(); t != nil {
		if v := t.GetValue(); math.IsNaN(v) || v < 0 || v > 100 {
			return q.to("healthy_panic_threshold").errorf("%v is not a percentage", v)
		}
		c.PanicThreshold = t.GetValue()
	}
	if err := q.to("override_host_status").overrideHealth(common.GetOverrideHostStatus(), c); err != nil {
		return err
	}
	if c.LegacyPolicy {
		if err := q.legacyZoneAware(common.GetZoneAwareLbConfig(), c); err != nil {
			return err
		}
	}
	if c.LegacyPolicy && common.GetLocalityWeightedLbConfig() != nil {
		c.LocalityWeighted = true
	}
	return nil
}
