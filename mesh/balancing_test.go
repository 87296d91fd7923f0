package mesh_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestDiscovery has the endpoints of a cluster come from EDS, from the cluster itself
// and from DNS (row L1).
func TestDiscovery(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "b")
		_, port, err := net.SplitHostPort(b.Addr)
		if err != nil {
			t.Fatal(err)
		}
		protocolOptions := ""
		if p.name == "grpc" {
			protocolOptions = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}`
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(`
services:
  eds: {protocol: %[1]s, connectTimeout: 60s, endpoints: [%[2]q]}
  strict: {protocol: %[1]s, discover: {dns: "localhost:%[3]s"}}
  logical: {protocol: %[1]s, discover: {dns: "localhost:%[3]s", mode: logical}}
routes:
  static: [{to: static}]
resources:
  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: static
    type: STATIC
    load_assignment:
      cluster_name: static
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]s}}}}]}]%[4]s
`, p.name, b.Addr, port, protocolOptions))))
		for _, target := range []string{"eds", "static", "strict", "logical"} {
			if got, err := p.client(t, m, target)(within(t, long), request{}); err != nil || got != "b" {
				t.Errorf("%s: %q, %v", target, got, err)
			}
		}
	})
}

// TestPolicies has each balancing policy divide calls as it promises (row L2).
func TestPolicies(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		policy := "services:\n"
		for name, balance := range map[string]string{
			"round-robin": "round_robin", "random": "random", "least-request": "least_request", "pick-first": "pick_first", "weighted": "round_robin",
		} {
			weight := 1
			if name == "weighted" {
				weight = 3
			}
			policy += fmt.Sprintf("  %s: {protocol: %s, connectTimeout: 60s, balance: {policy: %s}, endpoints: [{address: %q, weight: %d}, {address: %q}]}\n",
				name, p.name, balance, a.Addr, weight, b.Addr)
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(policy)))
		const calls = 400
		for _, c := range []struct {
			service  string
			min, max int // of the calls that go to a
		}{
			{"round-robin", calls / 2, calls / 2},
			{"weighted", calls * 3 / 4, calls * 3 / 4},
			{"pick-first", calls, calls},
			// A fair coin tossed 400 times is outside of these once in 10^13.
			{"random", 125, 275},
			{"least-request", 125, 275},
		} {
			call := p.client(t, m, c.service)
			if c.service != "pick-first" {
				eventually(t, call, request{}, "a", "b") // gRPC balances over what is connected
			}
			if got := counts(t, call, request{}, calls)["a"]; got < c.min || got > c.max {
				t.Errorf("%s: %d of %d calls go to a, want %d to %d", c.service, got, calls, c.min, c.max)
			}
		}
	})
}

// TestPriorities kills the preferred locality under load: calls move to the next one,
// none fails, and they return when it does (row L3).
func TestPriorities(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		near, far := p.backend(t, "near"), p.backend(t, "far")
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(`
services:
  orders:
    protocol: %s
    endpoints:
      - {address: %q, zone: near}
      - {address: %q, zone: far, priority: 1}
routes: {orders: [{to: orders, `+sentAgain+`}]}
`, p.name, near.Addr, far.Addr))))
		call := p.client(t, m, "orders")
		if diff := cmp.Diff(map[string]int{"near": 50}, counts(t, call, request{}, 50)); diff != "" {
			t.Errorf("with both (-want +got):\n%s", diff)
		}
		l := startLoad(t, 2, call, request{})
		l.await(20)
		near.Stop()
		eventually(t, call, request{}, "far")
		near.Start()
		eventually(t, call, request{}, "near")
		l.end(t)
	})
}

// TestLocalityWeights divides calls among localities by their weights, whatever the
// number of their endpoints.
func TestLocalityWeights(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b, c := p.backend(t, "a"), p.backend(t, "b"), p.backend(t, "c")
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(`
services:
  orders:
    protocol: %s
    balance: {localityWeights: {one: 3, two: 1}}
    endpoints:
      - {address: %q, region: one}
      - {address: %q, region: two}
      - {address: %q, region: two}
`, p.name, a.Addr, b.Addr, c.Addr))))
		call := p.client(t, m, "orders")
		eventually(t, call, request{}, "a", "b", "c")
		if diff := cmp.Diff(map[string]int{"a": 300, "b": 50, "c": 50}, counts(t, call, request{}, 400)); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
	})
}
