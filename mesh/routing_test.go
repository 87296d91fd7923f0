package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestCallsGoByPolicy drives matches, splits and subsets from a policy file through
// xdsserver and ADS to real backends.
func TestCallsGoByPolicy(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		v1, v2, other := p.backend(t, "v1"), p.backend(t, "v2"), p.backend(t, "other")
		cp := meshtest.NewControlPlane(t)
		cp.Apply(`
services:
  orders:
    protocol: ` + p.name + `
    endpoints:
      - {address: "` + v1.Addr + `", labels: {version: v1}}
      - {address: "` + v2.Addr + `", labels: {version: v2}}
    subsets: {v1: {version: v1}, v2: {version: v2}}
` + p.service("other", other) + `
routes:
  orders:
    - match: {headers: {x-canary: {exact: "1"}}}
      to: v2
    - match: {path: {exact: /shop.Orders/Other}}
      to: other
    - match: {path: {prefix: /shop.Orders/Split}}
      to: {v1: 75, v2: 25}
    - match: {path: {regex: "/shop\\.[A-Z][a-z]+/Get"}, headers: {x-user: {regex: "[0-9]+"}}}
      to: v2
    - match: {path: {prefix: /shop.}}
      to: v1
    - match: {path: {prefix: /both.}}
      to: orders
`)
		call := p.client(t, cp.Mesh(), "orders")
		for _, c := range []struct {
			name string
			request
			want map[string]int // of 40 calls
		}{
			{"last match", request{}, map[string]int{"v1": 40}},
			{"header", request{header: map[string]string{"x-canary": "1"}}, map[string]int{"v2": 40}},
			{"header's other value", request{header: map[string]string{"x-canary": "2"}}, map[string]int{"v1": 40}},
			{"header's case", request{header: map[string]string{"X-Canary": "1"}}, map[string]int{"v2": 40}},
			{"exact path", request{path: "/shop.Orders/Other"}, map[string]int{"other": 40}},
			{"split", request{path: "/shop.Orders/Split"}, map[string]int{"v1": 30, "v2": 10}},
			{"regexes", request{header: map[string]string{"x-user": "42"}}, map[string]int{"v2": 40}},
			{"a regex in part", request{header: map[string]string{"x-user": "42a"}}, map[string]int{"v1": 40}},
			{"round robin over all", request{path: "/both.Orders/Get"}, map[string]int{"v1": 20, "v2": 20}},
		} {
			t.Run(c.name, func(t *testing.T) {
				// gRPC balances over what is connected: let both be.
				eventually(t, call, request{path: "/both.Orders/Get"}, "v1", "v2")
				got := counts(t, call, c.request, 40)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
			})
		}
	})
}
