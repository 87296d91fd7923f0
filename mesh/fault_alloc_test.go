//go:build !race

// The race detector has pools lose things.

package mesh_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/mesh"
)

// TestFaultsThatAreNotMetAreFree counts the allocations of calls to servers with faults
// that none of them meets, against those of calls without.
func TestFaultsThatAreNotMetAreFree(t *testing.T) {
	const plain = "{}"
	for name, fault := range map[string]string{
		"drawn":   "{fault: {abort: {httpStatus: 503, percentage: 0.0001%}, headers: {x-none: {present: true}}}}",
		"headers": "{fault: {abort: {httpStatus: 503, percentage: 100%}, headers: {x-none: {present: true}}}}",
		"asked":   "{fault: {abort: {headerAbort: true, percentage: 100%}, delay: {headerDelay: true, percentage: 100%}}}",
	} {
		var http1, unary [2]float64
		for i, route := range []string{plain, fault} {
			m := newMesh(t, "routes: {inbound/orders: ["+route+"]}\n")
			if err := m.Ready(within(t, long)); err != nil {
				t.Fatal(err)
			}
			h := m.Handler("orders", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://orders/", nil)
			http1[i] = testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r) })
			intercept := mesh.ServerUnary(m, "orders")
			info := &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Get"}
			handler := func(context.Context, any) (any, error) { return nil, nil }
			unary[i] = testing.AllocsPerRun(200, func() { _, _ = intercept(t.Context(), nil, info, handler) })
		}
		if http1[0] != http1[1] || unary[0] != unary[1] {
			t.Errorf("%s: HTTP allocates %v without and with faults, gRPC %v", name, http1, unary)
		}
	}
}
