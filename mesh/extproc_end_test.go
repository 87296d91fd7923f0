package mesh_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestExternalProcessingTooLarge has bodies that are more than is buffered end the call, as
// in Envoy, or begin without the server.
func TestExternalProcessingTooLarge(t *testing.T) {
	const size = 2 << 20
	eachBodied(t, func(t *testing.T, b *bodied) {
		if b.name != "http" {
			return // its messages are not buffered
		}
		for _, test := range []struct{ mode, want string }{
			{"requestBodyMode: BUFFERED", "413: Payload Too Large"},
			{"responseBodyMode: BUFFERED", "500: Internal Server Error"},
			{"requestBodyMode: BUFFERED_PARTIAL, responseBodyMode: BUFFERED_PARTIAL", ""},
		} {
			t.Run(test.mode, func(t *testing.T) {
				b := &bodied{protocol: b.protocol, server: b.server}
				server := &processor{answer: func(in *servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
					if body, response := bodyOf(in); body != nil {
						return []*servicev3.ProcessingResponse{answerBody(response, nil)}
					}
					return leaving(in)
				}}
				_, at := server.serve(t)
				c := b.start(t, at, "failureModeAllow: true", "processingMode: {"+test.mode+"}")
				got, err := c.call(within(t, long), strings.Repeat("a", size))
				switch {
				case test.want == "" && (err != nil || len(got[0]) != size):
					t.Errorf("got %d bytes, %v", len(strings.Join(got, "")), err)
				case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)):
					t.Errorf("the call ended with %v, want %s", err, test.want)
				}
				server.wait(t)
			})
		}
	})
}

// TestExternalProcessingEndOfLength has the server that observes a body of known length told
// of its end with the last piece: nobody has to read on to find that there is no more.
func TestExternalProcessingEndOfLength(t *testing.T) {
	eachBodied(t, func(t *testing.T, b *bodied) {
		if b.name != "http" {
			return // its bodies tell no length
		}
		server := &processor{answer: func(*servicev3.ProcessingRequest) []*servicev3.ProcessingResponse { return nil }}
		_, at := server.serve(t)
		c := b.start(t, at, "observabilityMode: true", "deferredCloseTimeout: 60s", "processingMode: {requestBodyMode: STREAMED}")
		r, w := io.Pipe() // which does not end before the test does
		defer w.Close()
		go func() { _, _ = io.WriteString(w, "hello") }()
		req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://"+c.host+"/shop.Orders/Get", r)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(len("hello"))
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		var ends bool
		until(t, "the response's header", func() bool {
			server.mu.Lock()
			defer server.mu.Unlock()
			for _, e := range server.events {
				ends = ends || e.GetRequestBody().GetEndOfStream()
			}
			return len(server.events) > 0 && server.events[len(server.events)-1].GetResponseHeaders() != nil
		})
		if !ends {
			t.Errorf("the server was told %v", server.kinds())
		}
	})
}

// TestExternalProcessingAbandoned has callers leave calls whose bodies are at the server,
// in each way that there is: the stream to the server ends.
func TestExternalProcessingAbandoned(t *testing.T) {
	eachBodied(t, func(t *testing.T, b *bodied) {
		mode := "requestBodyMode: STREAMED, responseBodyMode: STREAMED"
		ways := []string{"canceled", "closed"}
		if b.name == "grpc" {
			mode, ways = "requestBodyMode: GRPC, responseBodyMode: GRPC", append(ways, "canceled, unread")
		}
		for _, way := range ways {
			t.Run(way, func(t *testing.T) {
				b := &bodied{protocol: b.protocol, server: b.server}
				server := rewriting(b.name == "grpc")
				_, at := server.serve(t)
				c := b.start(t, at, "processingMode: {"+mode+"}")
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				c.leave(ctx, t, way, cancel)
				server.wait(t)
			})
		}
	})
}

// leave begins a call, and goes away.
func (c *bodiedCaller) leave(ctx context.Context, t *testing.T, way string, cancel func()) {
	t.Helper()
	if c.http != nil {
		r, w := io.Pipe()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.host+"/shop.Orders/Get", r)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(w, "hello") }()
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, len("hello"))); err != nil {
			t.Fatal(err)
		}
		if way == "canceled" {
			cancel()
		}
		_ = resp.Body.Close()
		_ = w.Close()
		return
	}
	s, err := c.grpc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/shop.Orders/Get")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(wrapperspb.String("hello")); err != nil {
		t.Fatal(err)
	}
	if way != "canceled, unread" {
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			t.Fatal(err)
		}
	}
	if way == "closed" {
		_ = c.grpc.Close()
	} else {
		cancel()
	}
}
