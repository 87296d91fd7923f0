package envoy

import (
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weft-mesh/weft/interop/internal/seeded"
)

// TestRetryPriorities makes up priorities of which each is well, degraded or ill as a whole,
// so that lots have no say, and after how many attempts retries leave them: the attempts are
// to go to the same ones, one after the other.
func TestRetryPriorities(t *testing.T) {
	const lanes, backends, retries = 16, 5, 7
	for _, protocol := range []string{"http1", "http2", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			g := newGenerator(t, seeded.Seed(t), protocol == "grpc")
			l := newLanes(t, protocol == "grpc", lanes, backends)
			frequencies := make([]int, lanes)
			priorities := make([][backends]int, lanes)
			healths := make([][]corev3.HealthStatus, lanes)
			for lane := range lanes {
				frequencies[lane] = g.IntN(4) // 0 for that none are left
				n := 1 + g.IntN(3)
				for i := range backends {
					priorities[lane][i] = i
					if i >= n {
						priorities[lane][i] = g.IntN(n)
					}
				}
				well := g.IntN(n) // without any, it would be by their number
				for i := range n {
					h := pick(g, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DEGRADED, corev3.HealthStatus_UNHEALTHY)
					if i == well && h == corev3.HealthStatus_UNHEALTHY {
						h = corev3.HealthStatus_HEALTHY
					}
					healths[lane] = append(healths[lane], h)
				}
			}
			l.ruleOf = func(lane int) laneRule {
				leave := ""
				if n := frequencies[lane]; n > 0 {
					leave = fmt.Sprintf(`, "retry_priority": {"name": "p", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", "update_frequency": %d}}`, n)
				}
				a := new(routev3.RouteAction)
				if err := protojson.Unmarshal(fmt.Appendf(nil, `{"retry_policy": {"retry_on": "5xx,unavailable", "num_retries": %d, %s%s}}`, retries, fast, leave), a); err != nil {
					t.Fatal(err)
				}
				return laneRule{action: a}
			}
			l.applyRules(t, protocol != "http1", []laneRule{{}}, func(lane int, c *clusterv3.Cluster, a *endpointv3.ClusterLoadAssignment) {
				c.LbPolicy = pick(g, clusterv3.Cluster_RANDOM, clusterv3.Cluster_ROUND_ROBIN, clusterv3.Cluster_LEAST_REQUEST)
				a.Endpoints = nil
				for priority, health := range healths[lane] {
					of := &endpointv3.LocalityLbEndpoints{Priority: uint32(priority)}
					for i, p := range priorities[lane] {
						if p == priority {
							e := l.actors[lane][i].endpoint(t)
							e.HealthStatus = health
							of.LbEndpoints = append(of.LbEndpoints, e)
						}
					}
					a.Endpoints = append(a.Endpoints, of)
				}
			})
			for lane := range lanes {
				note := func(list []attempt) string {
					var at []string
					for _, a := range list {
						var i int
						if _, err := fmt.Sscanf(a.backend, fmt.Sprintf("b%d-%%d", lane), &i); err != nil {
							t.Error(err)
						}
						at = append(at, fmt.Sprint(priorities[lane][i]))
					}
					return strings.Join(at, " ")
				}
				p := performance{script: again(g.IntN(retries+1), unavailable, ok), note: note, request: request{method: "GET"}}
				l.compareOn(t, lane, p, func(f performance, diff string) {
					t.Errorf("every %d, %v: %v (-Envoy +Weft):\n%s", frequencies[lane], healths[lane], f, diff)
				})
			}
		})
	}
}
