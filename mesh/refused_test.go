package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// refuser speaks HTTP/2 by hand. It does to the n-th request, from 1, as it is told, and
// answers those for which it is told nothing.
type refuser struct {
	addr   string
	refuse func(n int, f *http2.Framer, stream uint32) bool

	mu    sync.Mutex
	seen  []string // method, attempt count or number, and body of each request
	ended []bool   // whether its headers ended it
}

func newRefuser(t *testing.T, refuse func(n int, f *http2.Framer, stream uint32) bool) *refuser {
	r := &refuser{refuse: refuse}
	r.addr = listen(t, r.serve)
	return r
}

func (r *refuser) serve(c net.Conn) {
	defer c.Close()
	if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	type incoming struct{ method, count, body string }
	streams := map[uint32]*incoming{}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		ended := false
		id := frame.Header().StreamID
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		case *http2.MetaHeadersFrame:
			in := &incoming{method: frame.PseudoValue("method")}
			for _, h := range frame.RegularFields() {
				if h.Name == "x-envoy-attempt-count" || h.Name == "grpc-previous-rpc-attempts" {
					in.count = h.Value
				}
				if h.Name == "expect" {
					_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x08, 3, '1', '0', '0'}, EndHeaders: true})
				}
			}
			streams[id] = in
			ended = frame.StreamEnded()
			r.mu.Lock()
			r.ended = append(r.ended, ended)
			r.mu.Unlock()
		case *http2.DataFrame:
			if in := streams[id]; in != nil {
				in.body += string(frame.Data())
				ended = frame.StreamEnded()
			}
		}
		if in := streams[id]; in != nil && ended {
			delete(streams, id)
			r.mu.Lock()
			r.seen = append(r.seen, strings.Join([]string{in.method, in.count, in.body}, " "))
			n := len(r.seen)
			r.mu.Unlock()
			if r.refuse != nil && r.refuse(n, f, id) {
				continue
			}
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true})
		}
	}
}

func (r *refuser) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// mesh is one whose orders are the refuser's.
func (r *refuser) mesh(t *testing.T, limits, route string) *mesh.Mesh {
	m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, `
services: {backends: {protocol: http2, connectTimeout: 60s, endpoints: [%q], limits: {%s}}}
resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: orders
  apiListener:
    apiListener:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      statPrefix: orders
      httpFilters: [{name: envoy.filters.http.router, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
      routeConfig:
        name: orders
        virtualHosts:
        - name: orders
          domains: ["*"]
          includeRequestAttemptCount: true
          routes: [{match: {prefix: /}, route: {cluster: backends%s}}]
`, r.addr, limits, route)))
	t.Cleanup(m.HTTPClient().CloseIdleConnections)
	return m
}

func resets(code http2.ErrCode) func(f *http2.Framer, stream uint32) {
	return func(f *http2.Framer, stream uint32) { _ = f.WriteRSTStream(stream, code) }
}

func goAway(code http2.ErrCode) func(f *http2.Framer, stream uint32) {
	return func(f *http2.Framer, stream uint32) { _ = f.WriteGoAway(max(stream, 2)-2, code, nil) }
}

// sendOrders sends a request by way of the mesh.
func sendOrders(ctx context.Context, m *mesh.Mesh, method string, body io.Reader, header ...string) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://orders/", body)
	if err != nil {
		return err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := m.Transport(nil).RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// TestRefusedStreams has a server refuse streams: policy says whether, how often and with
// which numbers requests are sent again, and net/http sends none itself.
func TestRefusedStreams(t *testing.T) {
	const (
		named    = `, retryPolicy: {retryOn: refused-stream, numRetries: 2, retryBackOff: {baseInterval: 0.001s}}`
		notNamed = `, retryPolicy: {retryOn: connect-failure, numRetries: 2, retryBackOff: {baseInterval: 0.001s}}`
		ofReset  = `, retryPolicy: {retryOn: reset, numRetries: 2, retryBackOff: {baseInterval: 0.001s}}`
	)
	for _, c := range []struct {
		name          string
		refuse        func(*http2.Framer, uint32)
		times         int
		limits, route string
		attempts      int
		fails         bool
	}{
		{"REFUSED_STREAM", resets(http2.ErrCodeRefusedStream), 2, "", named, 3, false},
		{"REFUSED_STREAM, exhausted", resets(http2.ErrCodeRefusedStream), 9, "", named, 3, true},
		{"REFUSED_STREAM, by reset", resets(http2.ErrCodeRefusedStream), 2, "", ofReset, 3, false},
		{"REFUSED_STREAM, not named", resets(http2.ErrCodeRefusedStream), 9, "", notNamed, 1, true},
		{"REFUSED_STREAM, no budget", resets(http2.ErrCodeRefusedStream), 9, "maxRetries: 0", named, 1, true},
		{"GOAWAY", goAway(http2.ErrCodeNo), 2, "", named, 3, false},
		{"GOAWAY, not named", goAway(http2.ErrCodeNo), 9, "", notNamed, 1, true},
		{"GOAWAY, no budget", goAway(http2.ErrCodeNo), 9, "maxRetries: 0", named, 1, true},
		{"GOAWAY with an error", goAway(http2.ErrCodeEnhanceYourCalm), 2, "", named, 3, false},
		{"INTERNAL_ERROR", resets(http2.ErrCodeInternal), 9, "", named, 1, true},
		{"INTERNAL_ERROR, by reset", resets(http2.ErrCodeInternal), 2, "", ofReset, 3, false},
	} {
		for kind, send := range map[string]func(context.Context, *mesh.Mesh) error{
			"GET":  func(ctx context.Context, m *mesh.Mesh) error { return sendOrders(ctx, m, "GET", nil) },
			"HEAD": func(ctx context.Context, m *mesh.Mesh) error { return sendOrders(ctx, m, "HEAD", nil) },
			"POST": func(ctx context.Context, m *mesh.Mesh) error {
				return sendOrders(ctx, m, "POST", strings.NewReader("body"))
			},
			"stream": func(ctx context.Context, m *mesh.Mesh) error {
				return sendOrders(ctx, m, "PUT", io.MultiReader(strings.NewReader("body")))
			},
			"expect": func(ctx context.Context, m *mesh.Mesh) error {
				return sendOrders(ctx, m, "PATCH", strings.NewReader("body"), "Expect", "100-continue")
			},
		} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				r := newRefuser(t, func(n int, f *http2.Framer, stream uint32) bool {
					if n <= c.times {
						c.refuse(f, stream)
					}
					return n <= c.times
				})
				m := r.mesh(t, c.limits, c.route)
				if err := send(within(t, long), m); (err != nil) != c.fails {
					t.Errorf("%v, want a failure: %v", err, c.fails)
				}
				method, body := kind, ""
				switch kind {
				case "POST":
					body = "body"
				case "stream":
					method, body = "PUT", "body"
				case "expect":
					method, body = "PATCH", "body"
				}
				var want []string
				for n := range c.attempts {
					want = append(want, fmt.Sprintf("%s %d %s", method, n+1, body))
				}
				if got := r.requests(); !slices.Equal(got, want) {
					t.Errorf("the server saw %q, want %q", got, want)
				}
			})
		}
	}
}

// TestBareRequestsEndWithHeaders: nothing is added to requests without a body so that
// net/http sends them once.
func TestBareRequestsEndWithHeaders(t *testing.T) {
	r := newRefuser(t, nil)
	m := r.mesh(t, "", `, retryPolicy: {retryOn: refused-stream}`)
	if err := sendOrders(within(t, long), m, "GET", http.NoBody); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.ended, []bool{true}) {
		t.Errorf("headers end the request: %v", r.ended)
	}
}

// TestBareRequestsInTurn has a server refuse some of the requests without a body that follow
// one another: those fail, and no others, whoever else traces them.
func TestBareRequestsInTurn(t *testing.T) {
	refused := func(n int) bool { return n%3 == 0 }
	r := newRefuser(t, func(n int, f *http2.Framer, stream uint32) bool {
		if refused(n) {
			resets(http2.ErrCodeRefusedStream)(f, stream)
		}
		return refused(n)
	})
	m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, `
services: {orders: {protocol: http2, endpoints: [%q]}}
routes: {orders: [{to: orders, retry: {attempts: 2, on: [connect-failure]}}]}
`, r.addr)))
	t.Cleanup(m.HTTPClient().CloseIdleConnections)
	for n := 1; n <= 24; n++ {
		ctx, traced, told := within(t, long), n%4 == 0, false
		if traced {
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { told = true }})
		}
		if err := sendOrders(ctx, m, "GET", nil); (err != nil) != refused(n) {
			t.Errorf("%d: %v, want a failure: %v", n, err, refused(n))
		}
		if told != traced {
			t.Errorf("%d: the application's trace was told: %v, want %v", n, told, traced)
		}
	}
	if n := len(r.requests()); n != 24 {
		t.Errorf("the server saw %d requests, want 24", n)
	}
}

// TestRefusedStreamsWithoutPolicy leaves streams to net/http where there is no policy.
func TestRefusedStreamsWithoutPolicy(t *testing.T) {
	for _, body := range []string{"", "body"} {
		r := newRefuser(t, func(n int, f *http2.Framer, stream uint32) bool {
			if n == 1 {
				resets(http2.ErrCodeRefusedStream)(f, stream)
			}
			return n == 1
		})
		m := r.mesh(t, "", "")
		if err := sendOrders(within(t, long), m, "POST", strings.NewReader(body)); err != nil {
			t.Error(err)
		}
		if n := len(r.requests()); n != 2 {
			t.Errorf("the server saw %d requests, want 2", n)
		}
	}
}

// TestStreamsOfConnectionsThatGoAway sends requests, from several callers, to a server that
// takes leave of each connection after a few streams, all of which it answers. A connection
// that goes away before there is a stream is no failure and no attempt.
func TestStreamsOfConnectionsThatGoAway(t *testing.T) {
	r := newRefuser(t, nil)
	r.refuse = func(_ int, f *http2.Framer, stream uint32) bool {
		if stream >= 5 && stream < 1<<20 {
			// All that may still come on it is answered, too: nothing is refused.
			_ = f.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
		}
		return false
	}
	m := r.mesh(t, "maxRetries: 0", `, retryPolicy: {retryOn: connect-failure, numRetries: 2, retryBackOff: {baseInterval: 0.001s}}`)
	const callers, calls = 8, 100
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := range calls {
				var body io.Reader
				switch (i + n) % 3 {
				case 1:
					body = strings.NewReader("body")
				case 2:
					body = io.MultiReader(strings.NewReader("body"))
				}
				if err := sendOrders(within(t, long), m, "POST", body); err != nil {
					t.Errorf("%d: %v", (i+n)%3, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.requests()); n != callers*calls {
		t.Errorf("the server saw %d requests of %d", n, callers*calls)
	}
}

// TestRefusedStreamNotRetried says why a call failed whose stream was refused.
func TestRefusedStreamNotRetried(t *testing.T) {
	for name, body := range map[string]io.Reader{"GET": nil, "POST": strings.NewReader("body")} {
		r := newRefuser(t, func(_ int, f *http2.Framer, stream uint32) bool {
			resets(http2.ErrCodeRefusedStream)(f, stream)
			return true
		})
		m := r.mesh(t, "", `, retryPolicy: {retryOn: connect-failure}`)
		err := sendOrders(within(t, long), m, name, body)
		if err == nil || !strings.Contains(err.Error(), "the server refused the stream") || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
