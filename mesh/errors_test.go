package mesh_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestRefusals has every reason for which the mesh refuses a call itself found by
// errors.Is, with its gRPC status, and a text that names what to look at.
func TestRefusals(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		dead := p.backend(t, "dead")
		dead.Kill()
		m := meshtest.New(t, mesh.WithPolicy([]byte(`
services:
`+p.service("orders", dead)+p.service("empty")+p.service("dead", dead)+`
routes:
  orders:
    - {match: {path: {prefix: /known}}, to: orders}
  drop:
    - {to: drop}
  missing:
    - {to: missing}
resources:
  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: missing
    type: EDS
    eds_cluster_config: {eds_config: {ads: {}}, service_name: nobody}
  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: drop
    type: EDS
    eds_cluster_config: {eds_config: {ads: {}}}
  - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
    cluster_name: drop
    endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}], load_balancing_weight: 1}]
    policy: {drop_overloads: [{category: "too much", drop_percentage: {numerator: 100}}]}
`)))
		closed := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", dead))))
		callClosed := p.client(t, closed, "orders")
		if err := closed.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			call func(context.Context, request) (string, error)
			want error
			code codes.Code
			says []string
		}{
			{"no such target", p.client(t, m, "nowhere"), mesh.ErrNoRoute, codes.Unavailable, []string{"nowhere", "does not exist"}},
			{"no route", p.client(t, m, "orders"), mesh.ErrNoRoute, codes.Unavailable, []string{"orders", "/shop.Orders/Get", "table 1"}},
			{"no endpoints", p.client(t, m, "empty"), mesh.ErrNoEndpoints, codes.Unavailable, []string{"empty", "no endpoints"}},
			{"nothing accepts", p.client(t, m, "dead"), mesh.ErrUnavailable, codes.Unavailable, []string{"dead", dead.Addr, "refused"}},
			{"no such endpoints", p.client(t, m, "missing"), mesh.ErrNoRoute, codes.Unavailable, []string{"missing", "nobody", "does not exist"}},
			{"dropped", p.client(t, m, "drop"), mesh.ErrOverloaded, codes.Unavailable, []string{"drop", "too much"}},
			{"closed", callClosed, mesh.ErrClosed, codes.Canceled, []string{"orders", "closed"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				_, err := c.call(within(t, long), request{})
				if !errors.Is(err, c.want) {
					t.Fatalf("error %v is not %q", err, c.want)
				}
				for _, want := range c.says {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error %q does not say %q", err, want)
					}
				}
				// net/http wraps what a RoundTripper returns; the status is in it.
				var s interface{ GRPCStatus() *status.Status }
				if !errors.As(err, &s) || s.GRPCStatus().Code() != c.code {
					t.Errorf("error %v has no status %v", err, c.code)
				}
			})
		}
	})
}

// TestNoControlPlane has calls wait to their deadline for a control plane that is
// not there, and then say which one, for how long and its last error.
func TestNoControlPlane(t *testing.T) {
	addr := unused(t)
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := meshtest.New(t, mesh.WithServer(addr, mesh.Plaintext()))
		call := p.client(t, m, "orders")
		var err error
		until(t, "the control plane has refused", func() bool {
			_, err = call(within(t, 100*time.Millisecond), request{})
			return strings.Contains(err.Error(), "connection refused")
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v is not context.DeadlineExceeded", err)
		}
		for _, want := range []string{"orders", "waited", "control plane " + addr} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
		var s interface{ GRPCStatus() *status.Status }
		if !errors.As(err, &s) || s.GRPCStatus().Code() != codes.DeadlineExceeded {
			t.Errorf("error %v has no status DEADLINE_EXCEEDED", err)
		}
		if err := m.Ready(within(t, 50*time.Millisecond), "orders"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ready: %v, want context.DeadlineExceeded", err)
		}
	})
}

// TestBadSources has New refuse what it cannot use, and say which part.
func TestBadSources(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name string
		env  map[string]string
		opts []mesh.Option
		says []string
	}{
		{"nothing", nil, nil, []string{"GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG", "WithPolicyFile"}},
		{"a file that is not there", map[string]string{"GRPC_XDS_BOOTSTRAP": missing}, nil, []string{"GRPC_XDS_BOOTSTRAP", missing}},
		{"inline, incomplete", map[string]string{"GRPC_XDS_BOOTSTRAP_CONFIG": `{"node":{"id":"n"}}`}, nil, []string{"GRPC_XDS_BOOTSTRAP_CONFIG", "xds_servers"}},
		{"inline, not JSON", map[string]string{"GRPC_XDS_BOOTSTRAP_CONFIG": `{`}, nil, []string{"GRPC_XDS_BOOTSTRAP_CONFIG", "JSON"}},
		{"bootstrap without credentials", nil, []mesh.Option{mesh.WithBootstrap([]byte(`{"xds_servers":[{"server_uri":"x:1"}]}`))}, []string{"xds_servers[0].channel_creds"}},
		{"bootstrap file", nil, []mesh.Option{mesh.WithBootstrapFile(missing)}, []string{missing}},
		{"google_default only", nil, []mesh.Option{mesh.WithBootstrap([]byte(`{"xds_servers":[{"server_uri":"x:1","channel_creds":[{"type":"google_default"}]}]}`))}, []string{"google_default"}},
		{"policy file", nil, []mesh.Option{mesh.WithPolicyFile(missing)}, []string{missing}},
		{"policy", nil, []mesh.Option{mesh.WithPolicy([]byte("servics: {}"))}, []string{"policy:1:1", "servics", `did you mean "services"?`}},
		{"two sources", nil, []mesh.Option{mesh.WithPolicy(nil), mesh.WithServer("x:1")}, []string{"WithPolicy", "WithServer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("GRPC_XDS_BOOTSTRAP", "")
			t.Setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "")
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			m, err := mesh.New(c.opts...)
			if err == nil {
				_ = m.Close(context.Background())
				t.Fatal("New succeeded")
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// TestBadTargets has Dial refuse targets that can name nothing.
func TestBadTargets(t *testing.T) {
	m := meshtest.New(t, mesh.WithPolicy([]byte("services: {}")))
	for target, says := range map[string]string{
		"":                   "names nothing",
		"xds:///":            "names nothing",
		"dns:///orders":      `scheme "dns"`,
		"xds://other/orders": `authority "other"`,
	} {
		if _, err := m.Dial(target); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Dial(%q): %v, want an error that says %q", target, err, says)
		}
	}
}
