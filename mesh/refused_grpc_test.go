package mesh_test

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestGRPCAnswerAfterRefusal refuses the stream of a call, which grpc opens once more by
// itself, and begins to answer the second: that is not tried again, whatever it ends with.
func TestGRPCAnswerAfterRefusal(t *testing.T) {
	for name, retry := range map[string]string{
		"retry": "retry: {attempts: 3, on: [internal], backOff: {baseInterval: 1ms}}",
		"hedge": "retry: {attempts: 3, on: [internal]}, hedge: {delay: 60s}",
	} {
		t.Run(name, func(t *testing.T) {
			for kind, call := range map[string]func(*testing.T, *grpc.ClientConn) error{
				"unary": func(t *testing.T, conn *grpc.ClientConn) error {
					return conn.Invoke(within(t, long), "/a/b", wrapperspb.String("x"), new(wrapperspb.StringValue))
				},
				"stream": func(t *testing.T, conn *grpc.ClientConn) error {
					s := openStream(t, within(t, long), conn)
					if err := s.CloseSend(); err != nil {
						return err
					}
					return s.RecvMsg(new(wrapperspb.StringValue))
				},
			} {
				r := newRefuser(t, func(n int, f *http2.Framer, stream uint32) bool {
					if n == 1 {
						resets(http2.ErrCodeRefusedStream)(f, stream)
					} else {
						failBegun(f, stream)
					}
					return true
				})
				m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil,
					"services: {orders: {protocol: grpc, %s, endpoints: [%q]}}\nroutes: {orders: [{to: orders, %s}]}", inTime, r.addr, retry)))
				if err := call(t, dial(t, m, "orders")); status.Code(err) != codes.Internal {
					t.Errorf("%s: %v, want Internal", kind, err)
				}
				if n := len(r.requests()); n != 2 {
					t.Errorf("%s: the server saw %d requests, want 2", kind, n)
				}
			}
		})
	}
}

// failBegun has an answer of gRPC begin and fail.
func failBegun(f *http2.Framer, stream uint32) {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	_ = e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = e.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
	block.Reset()
	_ = e.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "13"})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}
