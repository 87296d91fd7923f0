package mesh_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestBuffersOfMesh has a mesh keep no more than 64 MiB of requests, whatever policy lets each
// call keep: one that goes beyond is not tried again.
func TestBuffersOfMesh(t *testing.T) {
	var b *meshtest.Backend
	b = meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		for {
			if err := s.RecvMsg(new(wrapperspb.StringValue)); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
		if b.Calls()%2 == 1 {
			return status.Error(codes.Unavailable, "each first attempt")
		}
		return s.SendMsg(wrapperspb.String("b"))
	}))
	m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, "services: {orders: {protocol: grpc, "+inTime+", endpoints: [%q]}}\nroutes: {orders: [{to: orders, retry: {on: [unavailable], bufferLimit: 1000000000, backOff: {baseInterval: 1ms}}}]}", b.Addr)))
	conn := dial(t, m, "orders")
	message := wrapperspb.String(strings.Repeat("x", 1<<20-4)) // of 1 MiB
	for _, c := range []struct {
		messages int
		fails    bool
	}{{1, false}, {65, true}} {
		s := openStream(t, within(t, long), conn)
		for range c.messages {
			if err := s.SendMsg(message); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(new(wrapperspb.StringValue)); (err != nil) != c.fails {
			t.Errorf("%d messages: %v, want a failure: %v", c.messages, err, c.fails)
		}
		if n := mesh.Kept(m); n != 0 {
			t.Errorf("%d messages: %d bytes are kept", c.messages, n)
		}
	}
}
