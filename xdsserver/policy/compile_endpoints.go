package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// group is the endpoints of one locality in one priority.
type group struct {
	priority              uint32
	region, zone, subZone string
}

// assignment is the endpoints of a service, or those of a subset of it, grouped by
// priority and locality. Within a group they keep the order of the policy, which
// means something to pick_first.
func (c *compiler) assignment(name, subset string, s *Service) *endpointv3.ClusterLoadAssignment {
	groups := make(map[group][]*Endpoint)
	for _, e := range s.Endpoints {
		if subset == "" || e.Labels.contain(s.Subsets[subset]) {
			g := group{e.Priority, e.Region, e.Zone, e.SubZone}
			groups[g] = append(groups[g], e)
		}
	}
	order := slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), strings.Compare(a.region, b.region),
			strings.Compare(a.zone, b.zone), strings.Compare(a.subZone, b.subZone))
	})
	cla := &endpointv3.ClusterLoadAssignment{ClusterName: clusterName(name, subset)}
	priority, before := uint32(0), uint32(0)
	for i, g := range order {
		// A subset may have no endpoint of some priority, and clients refuse a gap.
		if i > 0 && g.priority != before {
			priority++
		}
		before = g.priority
		cla.Endpoints = append(cla.Endpoints, localityEndpoints(g, priority, groups[g], s.Balance))
	}
	return cla
}

// localityEndpoints always has a locality and a weight: gRPC refuses a group
// without the one and sends nothing to a group without the other. A weight that is
// the sum of the endpoints that take calls gives each of them the same share as
// without localities.
func localityEndpoints(g group, priority uint32, endpoints []*Endpoint, b *Balance) *endpointv3.LocalityLbEndpoints {
	locality := &endpointv3.LocalityLbEndpoints{
		Locality: &corev3.Locality{Region: g.region, Zone: g.zone, SubZone: g.subZone},
		Priority: priority,
	}
	var weight, all uint32
	for _, e := range endpoints {
		all += e.weight()
		if takesCalls := e.Health == "" || e.Health == HealthUnknown || e.Health == HealthHealthy; takesCalls {
			weight += e.weight()
		}
		lb := lbEndpoint(e.Address)
		lb.HealthStatus = healthStatus[e.Health]
		lb.LoadBalancingWeight = optionalUint32(e.Weight)
		lb.Metadata = e.Labels.metadata()
		if e.HealthCheckPort != nil {
			lb.GetEndpoint().HealthCheckConfig = &endpointv3.Endpoint_HealthCheckConfig{PortValue: *e.HealthCheckPort}
		}
		locality.LbEndpoints = append(locality.LbEndpoints, lb)
	}
	if weight == 0 {
		weight = all
	}
	if b != nil && b.LocalityWeights != nil {
		weight = b.LocalityWeights[endpoints[0].locality()]
	}
	locality.LoadBalancingWeight = wrapperspb.UInt32(weight)
	return locality
}

var healthStatus = map[Health]corev3.HealthStatus{
	"":              corev3.HealthStatus_UNKNOWN,
	HealthUnknown:   corev3.HealthStatus_UNKNOWN,
	HealthHealthy:   corev3.HealthStatus_HEALTHY,
	HealthUnhealthy: corev3.HealthStatus_UNHEALTHY,
	HealthDraining:  corev3.HealthStatus_DRAINING,
	HealthTimeout:   corev3.HealthStatus_TIMEOUT,
	HealthDegraded:  corev3.HealthStatus_DEGRADED,
}

// contain reports whether l has all of the labels of want.
func (l Labels) contain(want Labels) bool {
	for name, value := range want {
		if has, ok := l[name]; !ok || has != value {
			return false
		}
	}
	return true
}

// metadata is the labels where Envoy's subset balancing and people look for them.
func (l Labels) metadata() *corev3.Metadata {
	if len(l) == 0 {
		return nil
	}
	fields := make(map[string]*structpb.Value, len(l))
	for name, value := range l {
		fields[name] = structpb.NewStringValue(value)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": {Fields: fields}}}
}
