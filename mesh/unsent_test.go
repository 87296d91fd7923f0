package mesh_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// calledWith are the ways to make a gRPC call with options.
var calledWith = map[string]func(context.Context, *grpc.ClientConn, ...grpc.CallOption) error{
	"unary": func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
		return conn.Invoke(ctx, "/a/b", wrapperspb.String("7"), new(wrapperspb.StringValue), opts...)
	},
	"stream": func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/b", opts...)
		if err != nil {
			return err
		}
		if err := s.CloseSend(); err != nil {
			return err
		}
		return s.RecvMsg(new(wrapperspb.StringValue))
	},
}

// TestCallOptionsOfUnsentRetry has the last attempt of a call find no backend: what the one
// before filled in is not the call's.
func TestCallOptionsOfUnsentRetry(t *testing.T) {
	for name, call := range calledWith {
		t.Run(name, func(t *testing.T) {
			var conn *grpc.ClientConn // must not become garbage within the bubble
			synctest.Test(t, func(t *testing.T) {
				n := &memory{}
				b := &modelled{moves: []move{{do: endFail, status: codes.Unavailable}}}
				stop := serveMemory(t, n, modelAddress, b)
				m := modelMesh(t, "grpc", "retry: {on: [unavailable], backOff: {baseInterval: 10s}}")
				var err error
				conn, err = m.Dial("orders", grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
					return n.dial(ctx, "tcp", address)
				}))
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan error)
				var header, trailer metadata.MD
				var from peer.Peer
				go func() {
					ended <- call(within(t, modelDeadline), conn, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
				}()
				time.Sleep(time.Second) // in which the first attempt fails
				stop()
				if err := <-ended; status.Code(err) != codes.Unavailable || len(b.attempts()) != 1 {
					t.Errorf("%v after %d attempts", err, len(b.attempts()))
				}
				if len(header)+len(trailer) > 0 || from.Addr != nil {
					t.Errorf("header %v, trailer %v, peer %v of an attempt that is not the last", header, trailer, from.Addr)
				}
				_ = conn.Close()
				if err := m.Close(within(t, time.Second)); err != nil {
					t.Error(err)
				}
			})
			runtime.KeepAlive(conn)
		})
	}
}

// TestCallOptionsAreTheCallers has the caller's options in a slice with room for more: it is
// left alone.
func TestCallOptionsAreTheCallers(t *testing.T) {
	for kind, call := range calledWith {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := protocols[0]
			b := p.scripted(t, "b", failFirst(1))
			conn := dial(t, p.retrying(t, "", "retry: {"+again+"}", b), "orders")
			opts := make([]grpc.CallOption, 1, 10)
			opts[0] = grpc.WaitForReady(true)
			if err := call(within(t, long), conn, opts...); err != nil || b.Calls() != 2 {
				t.Errorf("%v after %d attempts", err, b.Calls())
			}
			for _, o := range opts[1:cap(opts)] {
				if o != nil {
					t.Errorf("%T was put behind the caller's options", o)
				}
			}
		})
	}
}
