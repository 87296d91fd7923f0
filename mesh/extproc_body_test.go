package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter/extproc"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// bodied is a place where bodies pass a processor: calls with several messages, or an HTTP
// body in pieces, to a backend that answers each in upper case.
type bodied struct {
	protocol
	server bool
	host   string // fields of the client's virtual host
	once   func() // the backend fails its first call, when this has returned; nil for never
	ends   ends   // of the calls, for a filter in front

	mu    sync.Mutex
	seen  []string // by the backend
	calls int      // to it
}

func eachBodied(t *testing.T, test func(t *testing.T, b *bodied)) {
	for _, p := range protocols {
		for side, server := range map[string]bool{"client": false, "server": true} {
			t.Run(p.name+" "+side, func(t *testing.T) { test(t, &bodied{protocol: p, server: server}) })
		}
	}
}

func (b *bodied) saw(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, s)
}

// called counts a call to the backend, and reports whether it is to fail.
func (b *bodied) called() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	return b.calls == 1 && b.once != nil
}

func (b *bodied) taken() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// ServeHTTP answers each piece when it comes.
func (b *bodied) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.called() {
		body, _ := io.ReadAll(r.Body)
		b.saw(string(body))
		b.once()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_ = http.NewResponseController(w).EnableFullDuplex()
	w.Header().Set("Trailer", "End")
	piece := make([]byte, 1<<10)
	for {
		n, err := r.Body.Read(piece)
		if n > 0 {
			b.saw(string(piece[:n]))
			_, _ = w.Write(bytes.ToUpper(piece[:n]))
			_ = http.NewResponseController(w).Flush()
		}
		if errors.Is(err, io.EOF) {
			w.Header().Set("End", "e")
			return
		} else if err != nil {
			b.saw("!" + err.Error())
			return
		}
	}
}

func (b *bodied) serveGRPC(_ any, s grpc.ServerStream) error {
	if b.called() {
		in := new(wrapperspb.StringValue)
		for s.RecvMsg(in) == nil {
			b.saw(in.GetValue())
		}
		b.once()
		return status.Error(codes.Unavailable, "once")
	}
	for {
		in := new(wrapperspb.StringValue)
		if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		b.saw(in.GetValue())
		if err := s.SendMsg(wrapperspb.String(strings.ToUpper(in.GetValue()))); err != nil {
			return err
		}
	}
}

// start starts the backend, and returns what calls it.
func (b *bodied) start(t *testing.T, at string, fields ...string) *bodiedCaller {
	t.Helper()
	filters := []string{httpFilter("s", stampConfig("mark: s")), httpFilter("p", extprocConfig(append(fields, at, inNoHurry)...))}
	c := &bodiedCaller{bodied: b, host: "front"}
	if b.server {
		m := newMesh(t, serving("filterChains: ["+chain("", filters, inboundRoutes("", "", ""))+"]"), mesh.WithFilter(extproc.Kind()), mesh.WithFilter(stamps(&b.ends)))
		var backend *meshtest.Backend
		if b.name == "http" {
			backend = meshtest.HTTP(t, m.Handler("orders", b))
			c.http, c.host = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, backend.Addr
			return c
		}
		backend = meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, append(m.ServerOptions("orders"), grpc.UnknownServiceHandler(b.serveGRPC))...)
		conn, err := grpc.NewClient("passthrough:///"+backend.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		c.grpc = conn
		return c
	}
	var backend *meshtest.Backend
	if b.name == "http" {
		backend = meshtest.HTTP(t, b)
	} else {
		backend = meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(b.serveGRPC))
	}
	m := newMesh(t, filtering(b.service("back", backend), filters, levels("", b.host, "", "")), mesh.WithFilter(extproc.Kind()), mesh.WithFilter(stamps(&b.ends)))
	if b.name == "http" {
		c.http = m.HTTPClient()
	} else {
		c.grpc = dial(t, m, "front")
	}
	return c
}

// bodiedCaller calls what is bodied.
type bodiedCaller struct {
	*bodied
	host string
	http *http.Client
	grpc *grpc.ClientConn
}

// call sends pieces, and returns what came back: messages under gRPC, under HTTP the body.
func (c *bodiedCaller) call(ctx context.Context, pieces ...string) ([]string, error) {
	if c.http != nil {
		r, w := io.Pipe()
		go func() {
			for _, piece := range pieces {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
			}
			_ = w.Close()
		}()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.host+"/shop.Orders/Get", r)
		if err != nil {
			return nil, err
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%d: %s", resp.StatusCode, body)
		}
		return []string{string(body)}, err
	}
	s, err := c.grpc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/shop.Orders/Get")
	if err != nil {
		return nil, err
	}
	for _, piece := range pieces {
		if err := s.SendMsg(wrapperspb.String(piece)); err != nil {
			break // receiving says why
		}
	}
	_ = s.CloseSend()
	var got []string
	for {
		m := new(wrapperspb.StringValue)
		if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
			return got, nil
		} else if err != nil {
			return got, err
		}
		got = append(got, m.GetValue())
	}
}

// whole joins what HTTP has in pieces of any length.
func (b *bodied) whole(pieces []string) []string {
	if b.name == "grpc" || len(pieces) == 0 {
		return pieces
	}
	return []string{strings.Join(pieces, "")}
}

// bodyOf is the body that an event is about, and of which direction.
func bodyOf(in *servicev3.ProcessingRequest) (b *servicev3.HttpBody, response bool) {
	if b := in.GetRequestBody(); b != nil {
		return b, false
	}
	return in.GetResponseBody(), true
}

// answerBody is the answer to a piece.
func answerBody(response bool, m *servicev3.BodyMutation) *servicev3.ProcessingResponse {
	r := &servicev3.BodyResponse{Response: &servicev3.CommonResponse{BodyMutation: m}}
	if response {
		return &servicev3.ProcessingResponse{Response: &servicev3.ProcessingResponse_ResponseBody{ResponseBody: r}}
	}
	return &servicev3.ProcessingResponse{Response: &servicev3.ProcessingResponse_RequestBody{RequestBody: r}}
}

// goesOn is what a duplex mode has go on.
func goesOn(b []byte, end bool) *servicev3.BodyMutation {
	return &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_StreamedResponse{StreamedResponse: &servicev3.StreamedBodyResponse{
		Body: b, EndOfStream: end, EndOfStreamWithoutMessage: end && len(b) == 0,
	}}}
}

// leaving answers headers and trailers, which stay as they are.
func leaving(in *servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
	out := &servicev3.ProcessingResponse{}
	switch in.GetRequest().(type) {
	case *servicev3.ProcessingRequest_RequestHeaders:
		out.Response = &servicev3.ProcessingResponse_RequestHeaders{}
	case *servicev3.ProcessingRequest_ResponseHeaders:
		out.Response = &servicev3.ProcessingResponse_ResponseHeaders{}
	case *servicev3.ProcessingRequest_ResponseTrailers:
		out.Response = &servicev3.ProcessingResponse_ResponseTrailers{}
	}
	return []*servicev3.ProcessingResponse{out}
}

// rewriting has e of requests be 3, and O of responses 0.
func rewriting(duplex bool) *processor {
	return &processor{answer: func(in *servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
		b, response := bodyOf(in)
		if b == nil {
			return leaving(in)
		}
		to := bytes.ReplaceAll(b.GetBody(), []byte("e"), []byte("3"))
		if response {
			to = bytes.ReplaceAll(b.GetBody(), []byte("O"), []byte("0"))
		}
		if duplex {
			return []*servicev3.ProcessingResponse{answerBody(response, goesOn(to, b.GetEndOfStream()))}
		}
		return []*servicev3.ProcessingResponse{answerBody(response, &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_Body{Body: to}})}
	}}
}

// TestExternalProcessingBodies has a server change bodies, in each mode that is for the
// protocol.
func TestExternalProcessingBodies(t *testing.T) {
	const trailers = ", requestTrailerMode: SEND, responseTrailerMode: SEND"
	type modes struct {
		mode, more string
		duplex     bool
	}
	eachBodied(t, func(t *testing.T, b *bodied) {
		all := []modes{{"STREAMED", "", false}, {"BUFFERED", "", false}, {"BUFFERED_PARTIAL", "", false}, {"FULL_DUPLEX_STREAMED", trailers, true}, {"STREAMED", trailers, false}}
		if b.name == "grpc" {
			all = []modes{{"GRPC", "", true}, {"GRPC", trailers, true}}
		}
		for _, m := range all {
			for _, headers := range []string{"", ", requestHeaderMode: SKIP, responseHeaderMode: SKIP"} {
				for _, which := range []string{"request", "response", "both"} {
					t.Run(m.mode+m.more+headers+" "+which, func(t *testing.T) {
						b := &bodied{protocol: b.protocol, server: b.server}
						server := rewriting(m.duplex)
						_, at := server.serve(t)
						mode, seen, got := "", []string{"hello", "there", "you"}, []string{"HELLO", "THERE", "YOU"}
						if which != "response" {
							mode += "requestBodyMode: " + m.mode + ", "
							seen, got = []string{"h3llo", "th3r3", "you"}, []string{"H3LLO", "TH3R3", "YOU"}
						}
						if which != "request" {
							mode += "responseBodyMode: " + m.mode + ", "
							for i := range got {
								got[i] = strings.ReplaceAll(got[i], "O", "0")
							}
						}
						c := b.start(t, at, "processingMode: {"+strings.TrimSuffix(mode, ", ")+m.more+headers+"}")
						answer, err := c.call(within(t, long), "hello", "there", "you")
						if err != nil {
							t.Fatal(err)
						}
						if took := b.whole(b.taken()); !slices.Equal(took, b.whole(seen)) {
							t.Errorf("the backend got %q, want %q", took, seen)
						}
						if answer = b.whole(answer); !slices.Equal(answer, b.whole(got)) {
							t.Errorf("the caller got %q, want %q", answer, got)
						}
						server.wait(t)
						b.ended(t)
					})
				}
			}
		}
	})
}

// ended waits for the end of the only call, which is to be a good one.
func (b *bodied) ended(t *testing.T) {
	t.Helper()
	var list []string
	for deadline := time.Now().Add(long); len(list) == 0 && time.Now().Before(deadline); list = b.ends.take() {
		<-time.After(time.Millisecond) // on servers, the caller may know before the filters
	}
	if !slices.Equal(list, []string{"s 200 OK false"}) && !slices.Equal(list, []string{"s 0 OK false"}) {
		t.Errorf("the call ended with %q", list)
	}
}

// TestExternalProcessingMessages has a server drop, double and end the messages of gRPC
// calls as it likes (gRFC A93).
func TestExternalProcessingMessages(t *testing.T) {
	for _, side := range []bool{false, true} {
		b := &bodied{protocol: protocols[slices.IndexFunc(protocols, func(p protocol) bool { return p.name == "grpc" })], server: side}
		server := &processor{answer: func(in *servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
			m, response := bodyOf(in)
			switch {
			case m == nil:
				return leaving(in)
			case response || m.GetEndOfStream():
				return []*servicev3.ProcessingResponse{answerBody(response, goesOn(m.GetBody(), m.GetEndOfStream()))}
			case bytes.Contains(m.GetBody(), []byte("drop")):
				return nil
			case bytes.Contains(m.GetBody(), []byte("twice")):
				one := answerBody(false, goesOn(m.GetBody(), false))
				return []*servicev3.ProcessingResponse{one, one}
			case bytes.Contains(m.GetBody(), []byte("end")):
				return []*servicev3.ProcessingResponse{answerBody(false, goesOn(m.GetBody(), true))}
			}
			return []*servicev3.ProcessingResponse{answerBody(false, goesOn(m.GetBody(), false))}
		}}
		_, at := server.serve(t)
		c := b.start(t, at, "processingMode: {requestBodyMode: GRPC, responseBodyMode: GRPC, responseTrailerMode: SEND}")
		got, err := c.call(within(t, long), "one", "drop", "twice", "end")
		if want := []string{"ONE", "TWICE", "TWICE", "END"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("server %v: got %q, %v, want %q; the backend got %q", side, got, err, want, b.taken())
		}
		server.wait(t)
	}
}

// TestExternalProcessingUnary has a server change the one message of unary calls.
func TestExternalProcessingUnary(t *testing.T) {
	for _, side := range []bool{false, true} {
		b := &bodied{protocol: protocols[slices.IndexFunc(protocols, func(p protocol) bool { return p.name == "grpc" })], server: side}
		server := rewriting(true)
		_, at := server.serve(t)
		c := b.start(t, at, "processingMode: {requestBodyMode: GRPC, responseBodyMode: GRPC, responseTrailerMode: SEND}")
		reply := new(wrapperspb.StringValue)
		if err := c.grpc.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String("hello"), reply); err != nil || reply.GetValue() != "H3LL0" {
			t.Errorf("server %v: got %v, %v", side, reply, err)
		}
		server.wait(t)
	}
}

// TestExternalProcessingEndsBody has a server answer calls at their bodies, and fail there.
func TestExternalProcessingEndsBody(t *testing.T) {
	replies := func(response bool) *processor {
		own := rewriting(true)
		other := own.answer
		own.answer = func(in *servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
			if b, is := bodyOf(in); b != nil && is == response {
				return []*servicev3.ProcessingResponse{{Response: &servicev3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &servicev3.ImmediateResponse{
					Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Body: []byte("not that"), GrpcStatus: &servicev3.GrpcStatus{Status: uint32(codes.Aborted)},
				}}}}
			}
			return other(in)
		}
		return own
	}
	broken := func() *processor {
		own := rewriting(true)
		other := own.answer
		own.answer = func(in *servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
			if b, _ := bodyOf(in); b != nil {
				return []*servicev3.ProcessingResponse{{Response: &servicev3.ProcessingResponse_RequestTrailers{}}}
			}
			return other(in)
		}
		return own
	}
	eachBodied(t, func(t *testing.T, b *bodied) {
		streams, buffers := "STREAMED", "BUFFERED"
		if b.name == "grpc" {
			streams, buffers = "GRPC", "GRPC"
		}
		for _, test := range []struct {
			name   string
			server *processor
			fields []string
			http   string
			grpc   codes.Code
		}{
			{"reply to the request", replies(false), []string{"processingMode: {requestBodyMode: " + streams + "}"}, "403: not that", codes.Aborted},
			{"reply to the whole request", replies(false), []string{"processingMode: {requestBodyMode: " + buffers + "}"}, "403: not that", codes.Aborted},
			{"reply to the response", replies(true), []string{"processingMode: {responseBodyMode: " + streams + "}"}, "anything", codes.Aborted},
			{"reply to the whole response", replies(true), []string{"processingMode: {responseBodyMode: " + buffers + "}"}, "403: not that", codes.Aborted},
			{"wrong", broken(), []string{"processingMode: {requestBodyMode: " + streams + "}"}, "500: external processing failed", codes.Unavailable},
			{"wrong, and that is allowed", broken(), []string{"failureModeAllow: true", "processingMode: {requestBodyMode: " + streams + "}"}, "", codes.Unavailable},
			{"wrong to the whole, and that is allowed", broken(), []string{"failureModeAllow: true", "processingMode: {requestBodyMode: " + buffers + ", responseHeaderMode: SKIP}"}, "", codes.Unavailable},
		} {
			t.Run(test.name, func(t *testing.T) {
				b := &bodied{protocol: b.protocol, server: b.server}
				_, at := test.server.serve(t)
				got, err := b.start(t, at, test.fields...).call(within(t, long), "hello", "you")
				switch {
				case b.name == "grpc" && status.Code(err) != test.grpc:
					t.Errorf("the call ended with %v, want %v", err, test.grpc)
				case b.name == "http" && test.http == "" && (err != nil || got[0] != "HELLOYOU"):
					t.Errorf("got %q, %v", got, err)
				case b.name == "http" && test.http != "" && (err == nil || test.http != "anything" && !strings.Contains(err.Error(), test.http)):
					t.Errorf("the call ended with %q, %v, want %s", got, err, test.http)
				}
				test.server.wait(t)
			})
		}
	})
}
