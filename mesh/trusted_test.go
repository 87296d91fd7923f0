package mesh_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestTrustedServer has a control plane rewrite the authority of gRPC calls only if the
// bootstrap trusts it (gRFC A81), and the host of HTTP requests in any case.
func TestTrustedServer(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := echoBackend(t, p)
		cp := meshtest.NewControlPlane(t)
		cp.Apply("services:\n" + p.service("orders", b) + "routes:\n  orders: [{to: orders, rewrite: {host: b.example}}]\n")
		for _, features := range []string{``, `"trusted_xds_server"`, `"fail_on_data_errors"`} {
			m := meshtest.New(t, mesh.WithBootstrap(fmt.Appendf(nil, `{"node": {"id": "test"}, "xds_servers": [
				{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": [%s]}]}`, cp.Addr, features)))
			got, err := echo(t, m, p, "orders", "/s.A/b", nil)
			if err != nil {
				t.Fatal(err)
			}
			want := "b.example"
			if p.name == "grpc" && !strings.Contains(features, "trusted") {
				want = "orders"
			}
			if got.Host != want {
				t.Errorf("server_features [%s]: the backend was asked for %q, want %q", features, got.Host, want)
			}
		}
	})
}
