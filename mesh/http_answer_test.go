package mesh_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestEndedBodyEndsNoOtherCall reads and closes the body of an answer that has ended, while
// the only call that there may be is another.
func TestEndedBodyEndsNoOtherCall(t *testing.T) {
	for _, protocol := range []string{"http", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil,
				"services:\n  orders: {protocol: %s, "+inTime+", limits: {maxRequests: 1}, endpoints: [%q]}\n", protocol, httpBackend(t, "a").Addr)))
			send := func() (*http.Response, error) {
				req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				return m.Transport(nil).RoundTrip(req)
			}
			for range 10 {
				ended, err := send()
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.ReadAll(ended.Body)
				open, err := send()
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					_, _ = ended.Body.Read(make([]byte, 1))
					_ = ended.Body.Close()
				}
				if other, err := send(); !errors.Is(err, mesh.ErrOverloaded) {
					t.Fatalf("another call: %v, %v; want %v", other, err, mesh.ErrOverloaded)
				}
				_ = open.Body.Close()
			}
		})
	}
}
