package envoy

import (
	"fmt"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestAggregates makes up clusters that are made of others, has the endpoints of these
// fall ill and get well, and expects the same shares each time.
func TestAggregates(t *testing.T) {
	const aggregates, turns = 5, 3
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			g := newGenerator(t, seeded.Seed(t), protocol == "grpc")
			p := newPair(t, g.grpc, "shop")
			var backends []*meshtest.Backend
			for i := range 9 {
				backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
			}
			for n := range aggregates {
				name := fmt.Sprint("all-", n)
				parts, priorities := 2+g.IntN(2), []int{1 + g.IntN(2), 1 + g.IntN(2), 1}
				policies := []clusterv3.Cluster_LbPolicy{clusterv3.Cluster_ROUND_ROBIN, clusterv3.Cluster_RANDOM}
				kinds := []clusterv3.Cluster_LbPolicy{pick(g, policies...), pick(g, policies...), pick(g, policies...)}
				if g.grpc {
					kinds = []clusterv3.Cluster_LbPolicy{clusterv3.Cluster_ROUND_ROBIN, clusterv3.Cluster_ROUND_ROBIN, clusterv3.Cluster_ROUND_ROBIN}
				}
				for turn := range turns {
					rules := &policy{routes: toCluster(name, nil)}
					config := &aggregatev3.ClusterConfig{}
					for i := range parts {
						part := fmt.Sprintf("%s-%d", name, i)
						config.Clusters = append(config.Clusters, part)
						c := rules.cluster(t, part, g.grpc)
						c.LbPolicy, c.CommonLbConfig = kinds[i], withoutPanic
						rules.endpoints[i].Endpoints = g.failing(backends[3*i:3*i+3], priorities[i], turn)
					}
					rules.clusters = append(rules.clusters, &clusterv3.Cluster{
						Name: name, ConnectTimeout: durationpb.New(long), LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
						CommonLbConfig: withoutPanic,
						ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
							Name: "envoy.clusters.aggregate", TypedConfig: pack(t, config),
						}},
						TypedExtensionProtocolOptions: rules.clusters[0].GetTypedExtensionProtocolOptions(),
					})
					if !p.apply(t, rules) {
						t.Fatalf("both refuse it: %v", p.rejections())
					}
					r := request{method: "GET", host: "shop", path: "/"}
					if g.grpc {
						r.path = "/shop.Orders/Get"
					}
					p.awaitShares(t, r, func() string {
						what := fmt.Sprint("turn ", turn, kinds)
						for _, a := range rules.endpoints {
							what += "\n" + a.GetClusterName()
							for _, l := range a.GetEndpoints() {
								what += fmt.Sprintf(" %d%v", l.GetPriority(), health(l.GetLbEndpoints()))
							}
						}
						return what
					})
				}
			}
		})
	}
}

var withoutPanic = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}, UpdateMergeWindow: durationpb.New(0)}

// failing divides three endpoints among priorities. At the second turn some are
// ill.
func (g *generator) failing(backends []*meshtest.Backend, priorities, turn int) (list []*endpointv3.LocalityLbEndpoints) {
	for i, b := range backends {
		e := endpoint(g.t, b)
		if turn == 1 {
			e.HealthStatus = pick(g, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_UNHEALTHY)
		}
		if i < priorities {
			list = append(list, &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: "z"}, Priority: uint32(i)})
		}
		l := list[len(list)-1]
		l.LbEndpoints = append(l.LbEndpoints, e)
	}
	return list
}
