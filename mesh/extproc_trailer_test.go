package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter/extproc"
	"github.com/weft-mesh/weft/mesh"
)

// TestExternalProcessingStatus has the server see, change and overrule how gRPC calls end: at
// their trailers, and where a failure is all there is of a response (Trailers-Only), which is
// a header with which the response ends (gRFC A93; Envoy).
func TestExternalProcessingStatus(t *testing.T) {
	const trailers = "processingMode: {responseTrailerMode: SEND}"
	for name, c := range map[string]struct {
		server *processor
		fields string
		fails  bool // the backend
		code   codes.Code
		events string
		mark   string // in the trailer
	}{
		"trailer":                      {marking(nil), trailers, false, codes.OK, "RequestHeaders ResponseHeaders ResponseTrailers", "trailer"},
		"trailer, overruled":           {overruling("ResponseTrailers"), trailers, false, codes.Aborted, "RequestHeaders ResponseHeaders ResponseTrailers", "overruled"},
		"trailer alone":                {marking(nil), trailers, true, codes.NotFound, "RequestHeaders ResponseHeaders", "response"},
		"trailer alone, overruled":     {overruling("ResponseHeaders"), "", true, codes.Aborted, "RequestHeaders ResponseHeaders", "overruled"},
		"trailer alone, not asked for": {marking(nil), "processingMode: {responseHeaderMode: SKIP, responseTrailerMode: SEND}", true, codes.NotFound, "RequestHeaders", ""},
	} {
		for kind, call := range map[string]func(context.Context, *grpc.ClientConn, *metadata.MD) error{
			"unary": func(ctx context.Context, conn *grpc.ClientConn, trailer *metadata.MD) error {
				return conn.Invoke(ctx, "/a/b", wrapperspb.String(""), new(wrapperspb.StringValue), grpc.Trailer(trailer))
			},
			"stream": func(ctx context.Context, conn *grpc.ClientConn, trailer *metadata.MD) error {
				s := openStream(t, ctx, conn)
				if err := s.CloseSend(); err != nil {
					return err
				}
				var err error
				for err == nil {
					err = s.RecvMsg(new(wrapperspb.StringValue))
				}
				*trailer = s.Trailer()
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				b := protocols[0].scripted(t, "b", func(int) act {
					if c.fails {
						return act{fail: codes.NotFound}
					}
					return act{}
				})
				server := &processor{answer: c.server.answer}
				_, at := server.serve(t)
				fields := []string{at, inNoHurry}
				if c.fields != "" {
					fields = append(fields, c.fields)
				}
				m := newMesh(t, processing(protocols[0].service("back", b.Backend), levels("", "", "", ""), fields...), mesh.WithFilter(extproc.Kind()))
				var trailer metadata.MD
				err := call(within(t, long), dial(t, m, "front"), &trailer)
				if status.Code(err) != c.code || c.code == codes.Aborted && !strings.Contains(err.Error(), "not you") {
					t.Errorf("the call ended with %v, want %v", err, c.code)
				}
				if diff := cmp.Diff(c.events, strings.Join(server.kinds(), " ")); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				for _, e := range server.events {
					if h := e.GetResponseHeaders(); h != nil && h.GetEndOfStream() != c.fails {
						t.Errorf("end_of_stream of the response is %v", h.GetEndOfStream())
					}
				}
				if got := strings.Join(trailer["x-mark"], ","); got != c.mark {
					t.Errorf("x-mark is %q, want %q", got, c.mark)
				}
				server.wait(t)
			})
		}
	}
}

// TestExternalProcessingStatusOfServer has it overrule how a server ends a call.
func TestExternalProcessingStatusOfServer(t *testing.T) {
	_, at := overruling("ResponseTrailers").serve(t)
	c := (&bodied{protocol: protocols[0], server: true}).start(t, at, "processingMode: {responseTrailerMode: SEND}")
	var trailer metadata.MD
	err := c.grpc.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String("a"), new(wrapperspb.StringValue), grpc.Trailer(&trailer))
	if status.Code(err) != codes.Aborted || !slices.Contains(trailer["x-mark"], "overruled") {
		t.Errorf("the call ended with %v, x-mark is %q", err, trailer["x-mark"])
	}
}

// overruling is a processor that marks, and answers events of a kind itself.
func overruling(kind string) *processor {
	return marking(func(in *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
		if strings.HasSuffix(fmt.Sprintf("%T", in.GetRequest()), kind) {
			out.Response = &servicev3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &servicev3.ImmediateResponse{
				Details: "not you", Headers: setting("x-mark", "overruled"), GrpcStatus: &servicev3.GrpcStatus{Status: uint32(codes.Aborted)},
			}}
		}
	})
}
