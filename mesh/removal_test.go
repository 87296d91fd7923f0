package mesh_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// heldCreds are per-RPC credentials that keep a call waiting that has picked its
// connection, if its context says so.
type heldCreds struct{ picked, release chan struct{} }

type heldKey struct{}

func (c heldCreds) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if ctx.Value(heldKey{}) != nil {
		c.picked <- struct{}{}
		<-c.release
	}
	return nil, nil
}

func (heldCreds) RequireTransportSecurity() bool { return false }

// TestRemovalAfterPick takes an endpoint away from a call that has picked it and not yet
// begun, while another has a stream on the connection.
func TestRemovalAfterPick(t *testing.T) {
	p := protocols[0]
	old, other := p.backend(t, "old"), p.backend(t, "other")
	cp := meshtest.NewControlPlane(t)
	cp.Apply("services:\n" + p.service("orders", old))
	creds := heldCreds{make(chan struct{}), make(chan struct{})}
	conn := dial(t, cp.Mesh(), "orders", grpc.WithPerRPCCredentials(creds))
	stream, err := conn.NewStream(within(t, long), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, stream, "old")
	type result struct {
		from string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		from, err := invoke(context.WithValue(within(t, long), heldKey{}, true), conn, request{})
		done <- result{from, err}
	}()
	receive(t, "the pick", creds.picked)
	cp.Apply("services:\n" + p.service("orders", other))
	call := func(ctx context.Context, r request) (string, error) { return invoke(ctx, conn, r) }
	eventually(t, call, request{}, "other")
	close(creds.release)
	if got := receive(t, "the end of the call", done); got != (result{from: "old"}) {
		t.Errorf("the call ended with %v", got)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	awaitNoConnections(t, old)
}
