package mesh_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// dropping is a policy whose listener "front" goes to "all", an aggregate of "back", which
// drops this share of its calls, and "spare", and retries all that may be.
func dropping(p protocol, percent int, back, spare *meshtest.Backend) string {
	return filtering(p.service("spare", spare), nil, `{name: front, virtualHosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: all, retryPolicy: {
		retryOn: "5xx,reset,connect-failure,refused-stream,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable", numRetries: 5, retryBackOff: {baseInterval: 0.001s}}}}]}]}`) +
		fmt.Sprintf(`  - {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: all, connectTimeout: 60s, lbPolicy: CLUSTER_PROVIDED, clusterType: {name: envoy.clusters.aggregate,
      typedConfig: {"@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [back, spare]}}}
  - {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: back, connectTimeout: 60s, type: EDS, edsClusterConfig: {edsConfig: {ads: {}, resourceApiVersion: V3}}}
  - {"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, clusterName: back, policy: {dropOverloads: [{category: lb, dropPercentage: {numerator: %d}}]},
     endpoints: [{lbEndpoints: [{endpoint: {address: {socketAddress: {address: 127.0.0.1, portValue: %s}}}}]}]}
`, percent, back.Addr[len("127.0.0.1:"):])
}

// TestDrops has calls that a cluster is told to drop end there and then: they are not
// retried, and go to no other cluster of an aggregate (row L4). Of 400 calls half are 200,
// of which 140 and 260 are six standard deviations away.
func TestDrops(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		for _, test := range []struct{ percent, least, most int }{{0, 0, 0}, {50, 140, 260}, {100, 400, 400}} {
			m := newMesh(t, dropping(p, test.percent, p.backend(t, "back"), p.backend(t, "spare")))
			call := p.client(t, m, "front")
			dropped := 0
			for range 400 {
				switch name, err := call(within(t, long), request{}); {
				case errors.Is(err, mesh.ErrOverloaded):
					dropped++
				case err != nil || name != "back":
					t.Fatalf("%d %%: answered by %q, %v", test.percent, name, err)
				}
			}
			if dropped < test.least || dropped > test.most {
				t.Errorf("%d %%: %d of 400 calls were dropped, want %d to %d", test.percent, dropped, test.least, test.most)
			}
		}
	})
}
