package envoy

import (
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// TestAggregateLimits is TestLimits for calls to an aggregate: which limits are its own, and
// which those of the cluster that it is made of.
func TestAggregateLimits(t *testing.T) {
	const none = `{"thresholds": [{"max_connections": 0, "max_pending_requests": 0, "max_requests": 0, "max_retries": 0}]}`
	failed := again(1, unavailable, holding)
	compareLimits(t, map[string]string{
		"max_requests of the part":             `{}`,
		"max_requests of the aggregate":        `{"thresholds": [{"max_requests": 1}]}`,
		"nothing of the aggregate":             none,
		"nothing of the part":                  `{}`,
		"max_retries of the part":              `{}`,
		"max_retries of the aggregate":         `{"thresholds": [{"max_retries": 1}]}`,
		"max_requests of the part, in a retry": `{}`,
		"retry_budget of the aggregate":        `{"thresholds": [{"retry_budget": {"budget_percent": {"value": 0}, "min_retry_concurrency": 2}}]}`,
		"retry_budget of the part":             `{}`,
		"max_connections of the part":          `{}`,
		"max_connections of the aggregate":     `{"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]}`,
	}, []limitCase{
		{"max_requests of the part", "", `{"thresholds": [{"max_requests": 2}]}`, `{}`, slices.Repeat([]script{{holding}}, 4)},
		{"max_requests of the aggregate", "", `{"thresholds": [{"max_requests": 3}]}`, `{}`, slices.Repeat([]script{{holding}}, 4)},
		{"nothing of the aggregate", "", `{}`, tryAgain, []script{failed, {holding}}},
		{"nothing of the part", "", none, tryAgain, []script{{ok}}},
		{"max_retries of the part", "", `{"thresholds": [{"max_retries": 0}]}`, tryAgain, slices.Repeat([]script{failed}, 5)},
		{"max_retries of the aggregate", "", `{"thresholds": [{"max_retries": 9}]}`, tryAgain, slices.Repeat([]script{failed}, 3)},
		{"max_requests of the part, in a retry", "", `{"thresholds": [{"max_requests": 1}]}`, tryAgain, []script{failed, {ok}}},
		{"retry_budget of the aggregate", "", `{"thresholds": [{"max_retries": 0}]}`, tryAgain, slices.Repeat([]script{failed}, 4)},
		{"retry_budget of the part", "", `{"thresholds": [{"retry_budget": {"budget_percent": {"value": 0}, "min_retry_concurrency": 1}}]}`, tryAgain, slices.Repeat([]script{failed}, 4)},
		{"max_connections of the part", "http1", `{"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]}`, `{}`, []script{{holding}, {ok}, {ok}}},
		{"max_connections of the aggregate", "http1", `{}`, `{}`, []script{{holding}, {holding}, {ok}}},
	})
}

// aggregateOf is an aggregate of one cluster.
func aggregateOf(t *testing.T, c *clusterv3.Cluster) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: c.GetName() + "-all", ConnectTimeout: durationpb.New(long), LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.aggregate", TypedConfig: pack(t, &aggregatev3.ClusterConfig{Clusters: []string{c.GetName()}}),
		}},
		TypedExtensionProtocolOptions: c.GetTypedExtensionProtocolOptions(),
	}
}
