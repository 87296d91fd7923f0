package resolver_test

import (
	"fmt"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"

	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

func aggregateOf(name string, clusters ...string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.aggregate", TypedConfig: toAny(&aggregatev3.ClusterConfig{Clusters: clusters}),
		}},
		LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
	}
}

// all brings a target to where its one cluster, all, is asked for.
func all(s *script, r *resolver.Resolver) *resolver.Target {
	target := r.Target(resolver.TargetName{RouteConfig: "8080"})
	settle()
	s.send(simpleRoutes("8080", "all"))
	settle()
	return target
}

// sendEDS sends clusters with their endpoints.
func sendEDS(s *script, endpoints map[string]string) {
	for name := range endpoints {
		s.send(edsCluster(name))
	}
	settle()
	for name, address := range endpoints {
		s.send(assignment(name, address))
	}
	settle()
}

func TestAggregate(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := all(s, r)
		s.send(aggregateOf("all", "a", "inner"))
		settle()
		wantWatched(t, s, "Cluster a", "Cluster all", "Cluster inner", "RouteConfiguration 8080")
		s.send(aggregateOf("inner", "a", "b", "all")) // a cycle, and a twice
		settle()
		sendEDS(s, map[string]string{"a": "192.0.2.1"})
		if target.Table() != nil {
			t.Fatal("published without a cluster of the aggregate")
		}
		sendEDS(s, map[string]string{"b": "192.0.2.2"})
		wantEndpoint(t, target, "192.0.2.1")
		if n := len(target.Table().Clusters()); n != 1 {
			t.Errorf("the table has %d clusters", n)
		}

		// A cluster that fails is passed over.
		s.fail("Cluster a", xds.ErrNotFound)
		settle()
		wantEndpoint(t, target, "192.0.2.2")
		sendEDS(s, map[string]string{"a": "192.0.2.3"})
		wantEndpoint(t, target, "192.0.2.3")

		// Another one takes over when it is there.
		s.send(aggregateOf("all", "c", "a"))
		settle()
		wantEndpoint(t, target, "192.0.2.3")
		sendEDS(s, map[string]string{"c": "192.0.2.4"})
		wantEndpoint(t, target, "192.0.2.4")
		if v := target.Table().Version(); v != 1 {
			t.Errorf("table %d", v)
		}
		wantWatched(t, s, "Cluster a", "Cluster all", "Cluster c", "ClusterLoadAssignment a", "ClusterLoadAssignment c", "RouteConfiguration 8080")

		// Nothing is left of it.
		s.send(aggregateOf("all", "inner"))
		settle()
		s.send(aggregateOf("inner", "all", "a"))
		settle()
		target.Release()
		settle()
		wantWatched(t, s)
		time.Sleep(time.Minute)
	})
}

func TestAggregateOfNothing(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := all(s, r)
		s.send(aggregateOf("all", "all"))
		settle()
		wantPickError(t, target, `cluster "all"`, "no clusters but itself")

		// Too deep, and just not.
		s.send(aggregateOf("all", "1"))
		settle()
		for i := 1; i < 16; i++ {
			s.send(aggregateOf(fmt.Sprint(i), fmt.Sprint(i+1)))
			settle()
		}
		wantPickError(t, target, `cluster "all"`, "deeper than 16")
		sendEDS(s, map[string]string{"15": "192.0.2.1"})
		wantEndpoint(t, target, "192.0.2.1")
	})
}

// What is an aggregate today may have endpoints of its own tomorrow.
func TestAggregateNoMore(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := all(s, r)
		s.send(aggregateOf("all", "a"))
		settle()
		sendEDS(s, map[string]string{"a": "192.0.2.1"})
		wantEndpoint(t, target, "192.0.2.1")
		s.send(edsCluster("all"))
		settle()
		wantEndpoint(t, target, "192.0.2.1")
		s.send(assignment("all", "192.0.2.2"))
		settle()
		wantEndpoint(t, target, "192.0.2.2")
		wantWatched(t, s, "Cluster all", "ClusterLoadAssignment all", "RouteConfiguration 8080")
	})
}

func TestRefusedAggregates(t *testing.T) {
	for _, c := range []*clusterv3.Cluster{aggregateOf("c"), aggregateOf("c", "a", "")} {
		_, err := decode(t, c)
		wantError(t, err, "cluster_type.typed_config.clusters", "must not be empty")
	}
}
