package mesh_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestGRPCRetriableHeaders has what a failure says of itself be the headers of an answer:
// its HTTP status is 200, and several values are one (gRFC A28).
func TestGRPCRetriableHeaders(t *testing.T) {
	for _, matcher := range []string{`{name: ":status", exactMatch: "200"}`, `{name: x-again, exactMatch: "a,b"}`} {
		t.Run(matcher, func(t *testing.T) {
			t.Parallel()
			var b *meshtest.Backend
			b = meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
				if b.Calls() == 1 {
					s.SetTrailer(metadata.Pairs("x-again", "a", "x-again", "b"))
					return status.Error(codes.NotFound, "once")
				}
				return s.SendMsg(wrapperspb.String("b"))
			}))
			m := meshtest.New(t, mesh.WithPolicy([]byte("services: {orders: {protocol: grpc, "+inTime+", endpoints: ['"+b.Addr+"']}}\nresources:\n"+counted+`
          routes: [{match: {prefix: /}, route: {cluster: orders, retryPolicy: {retryOn: retriable-headers, retriableHeaders: [`+matcher+`]}}}]
`)))
			if _, err := protocols[0].client(t, m, "counted")(within(t, long), request{}); err != nil || b.Calls() != 2 {
				t.Errorf("%v after %d attempts", err, b.Calls())
			}
		})
	}
}

// TestGRPCResetBeforeRequest has one of two backends take no more than a few headers, which
// grpc heeds before it sends any: calls with more go to the other.
func TestGRPCResetBeforeRequest(t *testing.T) {
	p := protocols[0]
	picky := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.MaxHeaderListSize(1000), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		return s.SendMsg(wrapperspb.String("picky"))
	}))
	other := p.backend(t, "other")
	m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", picky, other)+
		"routes: {orders: [{to: orders, retry: {on: [reset-before-request], backOff: {baseInterval: 1ms}}}]}")))
	call := p.client(t, m, "orders")
	eventually(t, call, request{}, "other", "picky")
	large := request{header: map[string]string{"x-large": strings.Repeat("x", 2000)}}
	if got := counts(t, call, large, 4); got["other"] != 4 {
		t.Errorf("answered by %v", got)
	}
}
