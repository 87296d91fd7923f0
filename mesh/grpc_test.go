package mesh_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

func oneService(t *testing.T, p protocol, b ...*meshtest.Backend) *mesh.Mesh {
	return meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", b...))))
}

// TestStreams drives the three kinds of gRPC streams.
func TestStreams(t *testing.T) {
	b := grpcBackend(t, "b")
	conn := dial(t, oneService(t, protocols[0], b), "orders")
	for _, desc := range []*grpc.StreamDesc{
		{StreamName: "Client", ClientStreams: true},
		{StreamName: "Server", ServerStreams: true},
		{StreamName: "Both", ClientStreams: true, ServerStreams: true},
	} {
		t.Run(desc.StreamName, func(t *testing.T) {
			s, err := conn.NewStream(within(t, long), desc, "/shop.Orders/"+desc.StreamName)
			if err != nil {
				t.Fatal(err)
			}
			messages := 1
			if desc.ClientStreams && desc.ServerStreams {
				messages = 100
			}
			for range messages {
				if err := s.SendMsg(wrapperspb.String("7")); err != nil {
					t.Fatal(err)
				}
				if !desc.ClientStreams || !desc.ServerStreams {
					break
				}
				recv(t, s, "b")
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if messages == 1 {
				recv(t, s, "b")
			}
			if desc.ServerStreams {
				if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
					t.Fatalf("end of the stream: %v", err)
				}
			}
			if got := s.Trailer().Get("end"); len(got) != 1 || got[0] != "b" {
				t.Errorf("trailer end: %v", got)
			}
		})
	}
}

func recv(t *testing.T, s grpc.ClientStream, want string) {
	t.Helper()
	m := new(wrapperspb.StringValue)
	if err := s.RecvMsg(m); err != nil {
		t.Fatal(err)
	}
	if m.GetValue() != want {
		t.Fatalf("message %q, want %q", m.GetValue(), want)
	}
}

// TestCallOptions has the places for answers filled and the user's interceptors run
// once, outside of the mesh's.
func TestCallOptions(t *testing.T) {
	b := grpcBackend(t, "b")
	var intercepted, finished int
	conn := dial(t, oneService(t, protocols[0], b), "orders",
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			intercepted++
			return invoke(metadata.AppendToOutgoingContext(ctx, "want-header", "1"), method, req, reply, cc, opts...)
		}))
	var header, trailer metadata.MD
	var from peer.Peer
	err := conn.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String("7"), new(wrapperspb.StringValue),
		grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from), grpc.OnFinish(func(error) { finished++ }))
	if err != nil {
		t.Fatal(err)
	}
	if got := header.Get("backend"); len(got) != 1 || got[0] != "b" {
		t.Errorf("header: %v", header)
	}
	if got := trailer.Get("end"); len(got) != 1 || got[0] != "b" {
		t.Errorf("trailer: %v", trailer)
	}
	if from.Addr == nil || from.Addr.String() != b.Addr {
		t.Errorf("peer: %v, want %s", from.Addr, b.Addr)
	}
	if intercepted != 1 || finished != 1 {
		t.Errorf("intercepted %d times, finished %d times, want once each", intercepted, finished)
	}
}

// TestServerStatus has a backend's own status come through as it is.
func TestServerStatus(t *testing.T) {
	b := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(codes.FailedPrecondition, "not today")
	}))
	call := grpcClient(t, oneService(t, protocols[0], b), "orders")
	_, err := call(within(t, long), request{})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "not today") {
		t.Errorf("error %v", err)
	}
	b.SetFailing(true)
	if _, err := call(within(t, long), request{}); status.Code(err) != codes.Unavailable || errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("a backend's UNAVAILABLE came as %v, which must not be taken for the mesh's", err)
	}
}

// TestIdleChannelKeepsItsTable lets a channel go idle and the control plane die: the
// next call must not need it.
func TestIdleChannelKeepsItsTable(t *testing.T) {
	b := grpcBackend(t, "b")
	cp := meshtest.NewControlPlane(t)
	cp.Apply("services:\n" + protocols[0].service("orders", b))
	conn := dial(t, cp.Mesh(), "orders", grpc.WithIdleTimeout(20*time.Millisecond))
	ctx := within(t, long)
	if _, err := invoke(ctx, conn, request{}); err != nil {
		t.Fatal(err)
	}
	for s := conn.GetState(); s != connectivity.Idle; s = conn.GetState() {
		if !conn.WaitForStateChange(ctx, s) {
			t.Fatal("the channel does not go idle")
		}
	}
	cp.Kill()
	if got, err := invoke(ctx, conn, request{}); err != nil || got != "b" {
		t.Errorf("call of an idle channel: %q, %v", got, err)
	}
}

// TestDropEndsWaiting has policy drop a call that would wait for a better time.
func TestDropEndsWaiting(t *testing.T) {
	conn := dial(t, meshtest.New(t, mesh.WithPolicy([]byte(`
services: {}
routes: {orders: [{to: drop}]}
resources:
  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: drop
    type: EDS
    eds_cluster_config: {eds_config: {ads: {}}}
  - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
    cluster_name: drop
    policy: {drop_overloads: [{category: all, drop_percentage: {numerator: 100}}]}
`))), "orders")
	ctx := within(t, long)
	err := conn.Invoke(ctx, "/shop.Orders/Get", wrapperspb.String("7"), new(wrapperspb.StringValue), grpc.WaitForReady(true))
	if !errors.Is(err, mesh.ErrOverloaded) || ctx.Err() != nil {
		t.Errorf("error %v, want ErrOverloaded at once", err)
	}
}

// TestWaitForReady has a call that may wait outlast the absence of endpoints.
func TestWaitForReady(t *testing.T) {
	b := grpcBackend(t, "b")
	cp := meshtest.NewControlPlane(t)
	cp.Apply("services:\n" + protocols[0].service("orders"))
	conn := dial(t, cp.Mesh(), "orders")
	if _, err := invoke(within(t, long), conn, request{}); !errors.Is(err, mesh.ErrNoEndpoints) {
		t.Fatalf("error %v, want ErrNoEndpoints", err)
	}
	done := make(chan error, 1)
	go func() {
		done <- conn.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String("7"), new(wrapperspb.StringValue), grpc.WaitForReady(true))
	}()
	cp.Apply("services:\n" + protocols[0].service("orders", b))
	if err := receive(t, "the end of the call that waits", done); err != nil {
		t.Errorf("call that waits for endpoints: %v", err)
	}
}
