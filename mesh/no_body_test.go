package mesh_test

import (
	"net/http"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestNoBodyToClose has answers without a body end their calls, whatever bounds the time
// between parts of one: a mesh that is closed does not wait for them.
func TestNoBodyToClose(t *testing.T) {
	for name, route := range map[string]string{
		"no policy":            "",
		"idle timeout":         ", idleTimeout: 1h",
		"per-try idle timeout": ", retry: {on: [reset], perTryIdleTimeout: 1h}",
		"hedge":                ", retry: {on: [reset], perTryIdleTimeout: 1h}, hedge: {delay: 1h}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
			m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+protocols[1].service("orders", b)+"routes: {orders: [{to: orders"+route+"}]}")))
			req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://orders/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := m.Transport(nil).RoundTrip(req)
			if err != nil || resp.StatusCode != http.StatusNoContent {
				t.Fatal(resp, err)
			}
			closing(t, m)
		})
	}
}
