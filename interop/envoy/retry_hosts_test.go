package envoy

import (
	"fmt"
	"syscall"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestRetryHosts is of which endpoints attempts go to: such as were not tried, where
// policy asks for that, and such as accept no connection.
func TestRetryHosts(t *testing.T) {
	const previous = `"retry_host_predicate": [{"name": "p", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}], "host_selection_retry_max_attempts": "100"`
	cases := []struct {
		name      string
		endpoints string // of a lane: + for one that is there, - for one that accepts no connection
		route     string
		script    script
		note      func([]attempt) string
	}{
		{"previous_hosts", "+++", `{"retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 2, ` + fast + `, ` + previous + `}}`, again(2, unavailable, ok), apart},
		{"previous_hosts, more retries than hosts", "++", `{"retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 3, ` + fast + `, ` + previous + `}}`, again(3, unavailable, ok), nil},
		{"previous_hosts, one host", "+", `{"retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 1, ` + fast + `, ` + previous + `}}`, again(1, unavailable, ok), nil},
		{"previous_hosts, a hedge", "++", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx,unavailable", ` + inTime + `, ` + fast + `, ` + previous + `}}`, script{silent, ok}, apart},
		{"no connection", "--", `{}`, script{ok}, nil},
		{"no connection, 5xx", "-", `{"retry_policy": {"retry_on": "5xx", "num_retries": 2, ` + fast + `}}`, script{ok}, nil},
		{"no connection, connect-failure", "--", `{"retry_policy": {"retry_on": "connect-failure", "num_retries": 2, ` + fast + `}}`, script{ok}, nil},
		{"no connection, reset-before-request", "--", `{"retry_policy": {"retry_on": "reset-before-request", ` + fast + `}}`, script{ok}, nil},
		{"no connection, unavailable", "-", `{"retry_policy": {"retry_on": "unavailable", ` + fast + `}}`, script{ok}, nil},
		{"a connection to one, connect-failure", "-+", `{"retry_policy": {"retry_on": "connect-failure", "num_retries": 3, ` + fast + `, ` + previous + `}}`, script{ok}, nil},
		{"a connection to one, reset-before-request", "-+", `{"retry_policy": {"retry_on": "reset-before-request", "num_retries": 3, ` + fast + `, ` + previous + `}}`, script{ok}, nil},
	}
	for _, protocol := range []string{"http1", "http2", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			l := newLanes(t, protocol == "grpc", len(cases), 3)
			l.ruleOf = func(lane int) laneRule {
				a := new(routev3.RouteAction)
				if err := protojson.Unmarshal([]byte(cases[lane].route), a); err != nil {
					t.Fatalf("%s: %v", cases[lane].name, err)
				}
				return laneRule{action: a}
			}
			l.applyRules(t, protocol != "http1", []laneRule{{}}, func(lane int, c *clusterv3.Cluster, a *endpointv3.ClusterLoadAssignment) {
				c.LbPolicy = clusterv3.Cluster_RANDOM
				a.Endpoints[0].LbEndpoints = nil
				for i, there := range cases[lane].endpoints {
					e := l.actors[lane][i].endpoint(t)
					if there == '-' {
						e = endpoint(t, &meshtest.Backend{Addr: deadAddress(t)})
					}
					a.Endpoints[0].LbEndpoints = append(a.Endpoints[0].LbEndpoints, e)
				}
			})
			for range 4 { // by chance, any would be apart
				for lane, c := range cases {
					l.compareOn(t, lane, performance{script: c.script, note: c.note, request: request{method: "GET"}, timed: timed(l.ruleOf(lane).action)}, func(f performance, diff string) {
						t.Errorf("%s: %v (-Envoy +Weft):\n%s", c.name, f, diff)
					})
				}
			}
		})
	}
}

// apart says on how many endpoints the attempts were.
func apart(list []attempt) string {
	hosts := map[string]bool{}
	for _, a := range list {
		hosts[a.backend] = true
	}
	return fmt.Sprint(len(hosts), " endpoints")
}

// deadAddress is one at which nobody listens, and nobody else can: it is bound.
func deadAddress(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", bound.(*syscall.SockaddrInet4).Port)
}
