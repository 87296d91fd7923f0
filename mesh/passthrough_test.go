package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestUnknownHosts has requests to hosts that policy does not name refused, or sent
// where they say, as policy has it, and policy change that (row R11).
func TestUnknownHosts(t *testing.T) {
	for _, source := range []string{"xdsserver", "embedded"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			known, outside := httpBackend(t, "known"), httpBackend(t, "outside")
			policy := "services:\n" + protocols[1].service("orders", known)
			set, m := served(t, source, policy)
			call, orders := httpClient(t, m, outside.Addr), httpClient(t, m, "orders")

			_, err := call(within(t, long), request{})
			if !errors.Is(err, mesh.ErrNoRoute) || !strings.Contains(err.Error(), outside.Addr) {
				t.Errorf("an unknown host: %v, want ErrNoRoute and its name", err)
			}
			if n := outside.Calls(); n != 0 {
				t.Errorf("%d calls went outside", n)
			}

			set("unknownHosts: passthrough\n" + policy)
			eventuallyAnswers(t, call, "outside")
			if got, err := orders(within(t, long), request{}); err != nil || got != "known" {
				t.Errorf("a service is answered by %q, %v", got, err)
			}
			// By name, by another port, and without anyone there.
			if got, err := httpClient(t, m, strings.Replace(outside.Addr, "127.0.0.1", "localhost", 1))(within(t, long), request{}); err != nil || got != "outside" {
				t.Errorf("by name: %q, %v", got, err)
			}
			_, err = httpClient(t, m, unused(t))(within(t, long), request{})
			if !errors.Is(err, mesh.ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
				t.Errorf("nobody there: %v, want ErrUnavailable and why", err)
			}
			if got, err := call(within(t, long), request{}); err != nil || got != "outside" {
				t.Errorf("after a failure elsewhere: %q, %v", got, err)
			}

			set("unknownHosts: deny\n" + policy)
			eventuallyFails(t, call, mesh.ErrNoRoute)

			// A channel is made for a name of the mesh.
			set("unknownHosts: passthrough\n" + policy)
			eventuallyAnswers(t, call, "outside")
			if err := m.Ready(within(t, long), "nowhere"); !errors.Is(err, mesh.ErrNoRoute) {
				t.Errorf("Ready of a name that policy does not have: %v", err)
			}

			// A name that policy comes to know is the service from then on.
			set("unknownHosts: passthrough\n" + policy + "routes:\n  " + `"` + outside.Addr + `": [{to: orders}]` + "\n")
			eventuallyAnswers(t, call, "known")
		})
	}
}

// served returns a mesh by a policy, and a function that changes the policy.
func served(t *testing.T, source, policy string) (set func(string), m *mesh.Mesh) {
	if source == "xdsserver" {
		cp := meshtest.NewControlPlane(t)
		cp.Apply(policy)
		return cp.Apply, cp.Mesh()
	}
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	write(policy)
	return write, meshtest.New(t, mesh.WithPolicyFile(path))
}

func eventuallyAnswers(t *testing.T, call func(context.Context, request) (string, error), want string) {
	t.Helper()
	ctx := within(t, long)
	for {
		got, err := call(ctx, request{})
		if err == nil && got == want {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("answered by %q, %v; want %q", got, err, want)
		}
	}
}

func eventuallyFails(t *testing.T, call func(context.Context, request) (string, error), want error) {
	t.Helper()
	ctx := within(t, long)
	for {
		_, err := call(ctx, request{})
		if errors.Is(err, want) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("calls end with %v, want %v", err, want)
		}
	}
}

// TestPassthroughRoute has a route of a target send its calls to the address that the
// caller named, which is where the target's own name leads.
func TestPassthroughRoute(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		inside, outside := p.backend(t, "inside"), p.backend(t, "outside")
		cp := meshtest.NewControlPlane(t)
		cp.Apply("services:\n" + p.service("orders", inside) + fmt.Sprintf(`routes:
  "%s":
    - {match: {path: {prefix: /out}}, to: passthrough}
    - {to: orders}
`, outside.Addr))
		call := p.client(t, cp.Mesh(), outside.Addr)
		for path, want := range map[string]string{"/out.Side/Get": "outside", "/in.Side/Get": "inside"} {
			if got, err := call(within(t, long), request{path: path}); err != nil || got != want {
				t.Errorf("%s: answered by %q, %v; want %q", path, got, err, want)
			}
		}
	})
}

// TestOriginalDst has calls to an ORIGINAL_DST cluster say their address in a header,
// or policy their port.
func TestOriginalDst(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		named, other := p.backend(t, "named"), p.backend(t, "other")
		_, port, _ := net.SplitHostPort(other.Addr)
		apply := func(lb string) func(context.Context, request) (string, error) {
			cp := meshtest.NewControlPlane(t)
			cp.Apply(fmt.Sprintf(`routes: {"%s": [{to: out}]}
resources:
  - {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: out, type: ORIGINAL_DST, lbPolicy: CLUSTER_PROVIDED, connectTimeout: 60s, originalDstLbConfig: {%s}}
`, named.Addr, lb))
			return p.client(t, cp.Mesh(), named.Addr)
		}
		for _, c := range []struct {
			name, lb string
			header   map[string]string
			want     string
			fails    bool // for gRPC
		}{
			{"nothing", ``, map[string]string{"x-envoy-original-dst-host": other.Addr}, "named", false},
			{"header", `useHttpHeader: true`, map[string]string{"x-envoy-original-dst-host": other.Addr}, "other", true},
			{"no header", `useHttpHeader: true`, nil, "named", false},
			{"bad header", `useHttpHeader: true`, map[string]string{"x-envoy-original-dst-host": "other.example:1"}, "named", true},
			{"a header's name", `useHttpHeader: true, httpHeaderName: X-To`, map[string]string{"x-to": other.Addr}, "other", true},
			{"port", `upstreamPortOverride: ` + port, nil, "other", false},
		} {
			got, err := apply(c.lb)(within(t, long), request{header: c.header})
			if c.fails && p.name == "grpc" {
				// A channel has one address. That of a header may be another, and is
				// never ignored.
				if !errors.Is(err, mesh.ErrNoRoute) {
					t.Errorf("%s: %q, %v; want ErrNoRoute", c.name, got, err)
				}
				continue
			}
			if err != nil || got != c.want {
				t.Errorf("%s: answered by %q, %v; want %q", c.name, got, err, c.want)
			}
		}
	})
}

// TestBlackHole has Istio's cluster for what must go nowhere refuse calls.
func TestBlackHole(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		cp := meshtest.NewControlPlane(t)
		cp.Apply(`routes: {orders: [{to: BlackHoleCluster}]}
resources:
  - {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: BlackHoleCluster, type: STATIC, connectTimeout: 1s}
`)
		_, err := p.client(t, cp.Mesh(), "orders")(within(t, long), request{})
		if !errors.Is(err, mesh.ErrNoEndpoints) || !strings.Contains(err.Error(), "BlackHoleCluster") {
			t.Errorf("%v, want ErrNoEndpoints and the cluster's name", err)
		}
	})
}

// TestOriginalDstKeepsHost has the request say the host that the application named,
// whatever address it goes to.
func TestOriginalDstKeepsHost(t *testing.T) {
	other := httpBackend(t, "other")
	cp := meshtest.NewControlPlane(t)
	cp.Apply(`routes: {"shop.example": [{to: out}]}
resources:
  - {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: out, type: ORIGINAL_DST, lbPolicy: CLUSTER_PROVIDED, originalDstLbConfig: {useHttpHeader: true}}
`)
	client := cp.Mesh().HTTPClient()
	defer client.CloseIdleConnections()
	for _, said := range []string{"shop.example", "", "other.example"} { // Request.Host, which need not be set
		req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://shop.example/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Envoy-Original-Dst-Host", other.Addr)
		want := "shop.example"
		if req.Host = said; said != "" {
			want = said
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Host"); got != want || req.URL.Host != "shop.example" {
			t.Errorf("Host %q: the backend was asked for %q, the application's URL says %q", said, got, req.URL.Host)
		}
	}
}
