package grpcgo

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestBreakersAreForWeft serves a service with breakers to both clients. grpc-go takes the
// cluster and ignores them.
func TestBreakersAreForWeft(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	v1 := newBackend(t, "v1")
	cp.Apply(fmt.Sprintf(`
services:
  orders:
    protocol: grpc
    %s
    endpoints: ["%s"]
    breaker:
      endpoint: {consecutiveFailures: 3, openTime: 1h, probes: 2}
      cluster: {failurePercent: 99.5%%, minimumRequests: 1000, interval: 1m}
`, inTime, v1.Addr))
	eachClient(t, cp, "orders", func(t *testing.T, c client) {
		v1.SetFailing(false)
		c.eventually(t, request{path: "/shop.Orders/Get"}, "v1")
		v1.SetFailing(true)
		before := v1.Calls()
		for range 10 {
			if _, code, _ := c.call(t.Context(), request{path: "/shop.Orders/Get"}); code != codes.Unavailable {
				t.Errorf("status %v", code)
			}
		}
		want := int64(10)
		if c.name == "Weft" {
			want = 3
		}
		if got := v1.Calls() - before; got != want {
			t.Errorf("%d calls reached the backend, want %d", got, want)
		}
	})
}
