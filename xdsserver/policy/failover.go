package policy

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
)

// failover checks a service that is made of others.
func (v *validator) failover(p path, name string, s *Service) {
	if len(s.Failover) == 0 {
		v.missingf(p.field("failover"), "the failover is empty: name a service or a subset")
	}
	for _, one := range []struct {
		name string
		is   bool
	}{
		{"endpoints", s.Endpoints != nil}, {"discover", s.Discover != nil}, {"subsets", s.Subsets != nil}, {"balance", s.Balance != nil},
		{"limits", s.Limits != nil}, {"outlierDetection", s.OutlierDetection != nil}, {"breaker", s.Breaker != nil}, {"connectTimeout", s.ConnectTimeout != nil},
		{"connections", s.Connections != nil}, {"healthChecks", s.HealthChecks != nil},
	} {
		if one.is {
			v.nameErrorf(p.field(one.name), "%q cannot stand beside \"failover\": it is for the services that this one is made of", one.name)
		}
	}
	first := make(map[string]bool)
	for i, to := range s.Failover {
		at := p.field("failover").index(i)
		found, ok := v.destination(at, name, to)
		switch {
		case !ok:
		case first[found.cluster]:
			v.errorf(at, "%q stands in the failover twice", to)
		case v.leadsTo(found.cluster, name, nil):
			v.errorf(at, "%q leads back to %q", to, name)
		}
		first[found.cluster] = true
	}
}

// leadsTo reports whether the failover of a service has another in it, or is it.
func (v *validator) leadsTo(from, name string, seen []string) bool {
	if from == name {
		return true
	}
	s := v.policy.Services[from]
	if s == nil || slices.Contains(seen, from) {
		return false
	}
	for _, to := range s.Failover {
		for _, found := range v.scope.destinations(from, to) {
			if v.leadsTo(found.cluster, name, append(seen, from)) {
				return true
			}
		}
	}
	return false
}

// hasAssignment reports whether the service's endpoints are a resource of their own.
func (s *Service) hasAssignment() bool { return s.Discover == nil && s.Failover == nil }

func (c *compiler) aggregate(name string, s *Service) *clusterv3.Cluster {
	config := &aggregatev3.ClusterConfig{}
	for _, to := range s.Failover {
		config.Clusters = append(config.Clusters, c.scope.destinations(name, to)[0].cluster)
	}
	return &clusterv3.Cluster{
		Name: name,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.aggregate", TypedConfig: pack(config),
		}},
		LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
	}
}
