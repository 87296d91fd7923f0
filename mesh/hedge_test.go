package mesh_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestHedgedRequestReused has the application change its request, and the memory of its
// body, once it is answered: no attempt that is under way then sees that. The memory of a body
// that comes as a stream is its own until it is closed, and is left alone here.
func TestHedgedRequestReused(t *testing.T) {
	const size = 100 << 10 // more than is sent at once
	reuse := map[string]func(t *testing.T, m *mesh.Mesh) func(context.Context) error{
		"grpc": func(t *testing.T, m *mesh.Mesh) func(context.Context) error {
			conn := dial(t, m, "orders")
			return func(ctx context.Context) error {
				in := wrapperspb.String("own")
				err := conn.Invoke(ctx, "/a/b", in, new(wrapperspb.StringValue))
				in.Value = "reused"
				return err
			}
		},
	}
	for _, name := range []string{"http", "http2", "http, streamed", "http2, streamed"} {
		streamed := strings.HasSuffix(name, "streamed")
		reuse[name] = func(t *testing.T, m *mesh.Mesh) func(context.Context) error {
			rt := m.Transport(nil)
			t.Cleanup(m.HTTPClient().CloseIdleConnections)
			return func(ctx context.Context) error {
				text := bytes.Repeat([]byte("o"), size)
				var body io.Reader = bytes.NewReader(text)
				if streamed {
					body = io.NopCloser(body)
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orders/own", body)
				if err != nil {
					return err
				}
				req.Header.Set("Owner", "own")
				resp, err := rt.RoundTrip(req)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				req.Header.Set("Owner", "reused")
				req.URL.Path = "/reused"
				if !streamed {
					copy(text, bytes.Repeat([]byte("r"), size))
				}
				return err
			}
		}
	}
	for name, client := range reuse {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b *meshtest.Backend
			protocol, _, _ := strings.Cut(name, ",")
			if protocol == "grpc" {
				b = protocols[0].backend(t, "")
			} else {
				b = meshtest.HTTP(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					text, _ := io.ReadAll(r.Body)
					if owner := r.Header.Get("Owner"); owner != "own" || r.URL.Path != "/own" || bytes.Contains(text, []byte("r")) {
						t.Errorf("an attempt for %s, whose header is %q", r.URL.Path, owner)
					}
				}))
			}
			m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil,
				"services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q], limits: {maxRetries: 1000}}}\nroutes: {orders: [{to: orders, hedge: {delay: 1us}}]}", protocol, b.Addr)))
			call := client(t, m)
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					for range 50 {
						// net/http may close a connection that was another call's before, of an
						// attempt that is cancelled: what comes of calls is not looked at.
						_ = call(within(t, long))
					}
				})
			}
			callers.Wait()
		})
	}
}

// TestHedgesLeakNoConnections has attempts fail, hang and lose. Of connections that are left
// then, some by attempts that were cancelled while they connected, all are idle.
func TestHedgesLeakNoConnections(t *testing.T) {
	for _, protocol := range []string{"http", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			var seen sync.Map // calls
			b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if _, again := seen.LoadOrStore(r.URL.Path, true); again {
					return
				}
				switch r.URL.Path[1] {
				case '0':
					<-r.Context().Done()
				case '1':
					w.WriteHeader(http.StatusServiceUnavailable)
					_, _ = w.Write(make([]byte, 10_000))
				}
			}))
			m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil,
				"services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q], limits: {maxRetries: 1000}}}\nroutes: {orders: [{to: orders, retry: {attempts: 3, on: [5xx]}, hedge: {delay: 1ms}}]}", protocol, b.Addr)))
			for i := range 60 {
				req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, fmt.Sprintf("http://orders/%d/%d", i%3, i),
					&closeCounter{Reader: bytes.NewReader(make([]byte, i<<10))})
				if err != nil {
					t.Fatal(err)
				}
				resp, err := m.Transport(nil).RoundTrip(req)
				if err != nil {
					continue // of a connection that a cancelled attempt had before, as above
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			until(t, "no connection is left but idle ones, which are closed", func() bool {
				m.HTTPClient().CloseIdleConnections()
				return b.Connections() == 0
			})
		})
	}
}

// ownCodec has replies read by functions.
type ownCodec struct{}

func (ownCodec) Name() string                       { return "proto" }
func (ownCodec) Marshal(v any) ([]byte, error)      { return []byte(v.(string)), nil }
func (ownCodec) Unmarshal(data []byte, v any) error { v.(func([]byte))(data); return nil }

// TestHedgeOfOwnReply has hedges wanted of a call whose reply is one of a kind: further
// attempts cannot have another like it, and are made one after another.
func TestHedgeOfOwnReply(t *testing.T) {
	p := protocols[0]
	b := p.scripted(t, "b", failFirst(1))
	conn := dial(t, p.retrying(t, "", "retry: {"+again+"}, hedge: {delay: 1us}", b), "orders")
	var got []byte
	err := conn.Invoke(within(t, long), "/a/b", "", func(data []byte) { got = data }, grpc.ForceCodec(ownCodec{}))
	if err != nil || !strings.Contains(string(got), "b") || b.Calls() != 2 {
		t.Errorf("reply %q, %v after %d attempts", got, err, b.Calls())
	}
}
