package mesh_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// inZone is an endpoint of a policy file.
func inZone(b *meshtest.Backend, zone string) string {
	return fmt.Sprintf("{address: %q, zone: %s}", b.Addr, zone)
}

// zonesPolicy has a service "orders" that keeps calls in their zone, and the services of
// the callers, "web", with endpoints that nobody calls.
func zonesPolicy(p protocol, zoneAware string, callers []string, endpoints ...string) string {
	var web []string
	for i, zone := range callers {
		web = append(web, fmt.Sprintf(`{address: "192.0.2.1:%d", zone: %s}`, i+1, zone))
	}
	return fmt.Sprintf("services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {zoneAware: {%s}}, endpoints: [%s]}\n  web: {endpoints: [%s]}\n",
		p.name, zoneAware, strings.Join(endpoints, ", "), strings.Join(web, ", "))
}

// TestZones has a caller in zone a: what share of its calls stays there follows from
// where the callers and the endpoints are. The shares are exact but for rounding (row
// L3).
func TestZones(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a1, a2, b1, b2, b3 := p.backend(t, "a1"), p.backend(t, "a2"), p.backend(t, "b1"), p.backend(t, "b2"), p.backend(t, "b3")
		zone := func(counts map[string]int) map[string]int {
			zones := map[string]int{}
			for name, n := range counts {
				zones[name[:1]] += n
			}
			return zones
		}
		both := []string{inZone(a1, "a"), inZone(a2, "a"), inZone(b1, "b"), inZone(b2, "b")}
		short := []string{inZone(a1, "a"), inZone(b1, "b"), inZone(b2, "b"), inZone(b3, "b")}
		for _, c := range []struct {
			name      string
			zoneAware string
			callers   []string // nil if the process does not know its peers
			endpoints []string
			want      map[string]int // of 400 calls
		}{
			{"room at home", "minClusterSize: 1", []string{"a", "b"}, both, map[string]int{"a": 400}},
			{"callers not known", "minClusterSize: 1", nil, both, map[string]int{"a": 400}},
			{"too small for it", "", []string{"a", "b"}, both, map[string]int{"a": 200, "b": 200}},
			{"short at home", "minClusterSize: 1", []string{"a", "b"}, short, map[string]int{"a": 200, "b": 200}},
			{"many callers at home", "minClusterSize: 1", []string{"a", "a", "a", "b"}, both, map[string]int{"a": 267, "b": 133}},
			{"forced", "minClusterSize: 1, forceLocalZone: {}", []string{"a", "b"}, short, map[string]int{"a": 400}},
			{"half of the calls", "minClusterSize: 1, routingEnabled: 50%", []string{"a", "b"}, both, map[string]int{"a": 300, "b": 100}},
		} {
			t.Run(c.name, func(t *testing.T) {
				service := "web"
				if c.callers == nil {
					service = ""
				}
				m := meshtest.New(t, mesh.WithPolicy([]byte(zonesPolicy(p, c.zoneAware, c.callers, c.endpoints...))),
					mesh.WithLocality(mesh.Locality{Zone: "a"}, service))
				call := p.client(t, m, "orders")
				deadline := within(t, long)
				for { // gRPC is still connecting, and the callers are being asked for
					got := zone(counts(t, call, request{}, 400))
					diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b int) bool { return a-b <= 4 && b-a <= 4 }))
					if diff == "" {
						return
					}
					if deadline.Err() != nil {
						t.Fatalf("calls by zone (-want +got):\n%s", diff)
					}
				}
			})
		}
	})
}

// TestZoneLost kills the caller's zone under load, and half of it: calls go elsewhere as
// far as they must, none fails, and they return with it.
func TestZoneLost(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a1, a2, b := p.backend(t, "a1"), p.backend(t, "a2"), p.backend(t, "b")
		policy := zonesPolicy(p, "minClusterSize: 1", nil, inZone(a1, "a"), inZone(a2, "a"), inZone(b, "b")) +
			"routes: {orders: [{to: orders, " + sentAgain + "}]}\n"
		m := meshtest.New(t, mesh.WithPolicy([]byte(policy)), mesh.WithLocality(mesh.Locality{Zone: "a"}, ""))
		call := p.client(t, m, "orders")
		load := startLoad(t, 2, call, request{})
		eventually(t, call, request{}, "a1", "a2")
		a1.Stop()
		eventually(t, call, request{}, "a2") // half of the endpoints for half of the callers
		a2.Stop()
		eventually(t, call, request{}, "b")
		a1.Start()
		a2.Start()
		eventually(t, call, request{}, "a1", "a2")
		load.end(t)
	})
}

// TestZoneFromBootstrap has the bootstrap say where the process is and what its own
// cluster is; its options must not say it again.
func TestZoneFromBootstrap(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		cp := meshtest.NewControlPlane(t)
		cp.Apply(zonesPolicy(p, "minClusterSize: 1", []string{"a", "b"}, inZone(a, "a"), inZone(b, "b")))
		bootstrap := []byte(fmt.Sprintf(`{"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}]}],
			"node": {"id": "x", "locality": {"zone": "b"}}, "weft": {"local_cluster": "web"}}`, cp.Addr))
		call := p.client(t, meshtest.New(t, mesh.WithBootstrap(bootstrap)), "orders")
		eventually(t, call, request{}, "b")
		// The share of the callers in zone b grows beyond that of the endpoints.
		cp.Apply(zonesPolicy(p, "minClusterSize: 1", []string{"a", "b", "b", "b"}, inZone(a, "a"), inZone(b, "b")))
		eventually(t, call, request{}, "a", "b")
		cp.Apply(zonesPolicy(p, "minClusterSize: 1", []string{"a", "b"}, inZone(a, "a"), inZone(b, "b")))
		eventually(t, call, request{}, "b")

		for _, o := range []mesh.Option{mesh.WithLocality(mesh.Locality{Zone: "a"}, ""), mesh.WithLocality(mesh.Locality{Zone: "a"}, "web"), mesh.WithLocality(mesh.Locality{}, "")} {
			if m, err := mesh.New(mesh.WithBootstrap(bootstrap), o); err == nil {
				_ = m.Close(context.Background())
				t.Error("the bootstrap and an option both say where the process is, and nothing objects")
			}
		}
	})
}
