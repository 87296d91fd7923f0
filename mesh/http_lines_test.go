package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// lineServer does as the X-Act header of a request says.
type lineServer struct {
	mu      sync.Mutex
	hits    map[string]int       // by X-Id
	arrived map[string]chan bool // closed when a request came that hangs
}

func (s *lineServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Id")
	s.mu.Lock()
	s.hits[id]++
	n := s.hits[id]
	arrived := s.arrived[id]
	s.mu.Unlock()
	act := r.Header.Get("X-Act")
	if act != "early" {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	switch act {
	case "kill":
		panic(http.ErrAbortHandler)
	case "kill once":
		if n == 1 {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "at last")
	case "half":
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half of it")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "none":
		w.WriteHeader(http.StatusNoContent)
	case "chunks":
		for range 3 {
			fmt.Fprint(w, "chunk")
			_ = http.NewResponseController(w).Flush()
		}
	case "close":
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "the last one")
	case "fail":
		http.Error(w, "no", http.StatusServiceUnavailable)
	case "hang":
		close(arrived)
		<-r.Context().Done()
	default:
		fmt.Fprint(w, "here")
	}
}

// lineStep is a request.
type lineStep struct{ method, act, body, read string }

func (s lineStep) String() string {
	return fmt.Sprintf("%s, %s body, server: %s, answer: %s", s.method, s.body, s.act, s.read)
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func randomLineStep(r *rand.Rand, http2 bool) lineStep {
	s := lineStep{
		method: pick(r, "GET", "POST", "POST", "PUT", "HEAD"),
		act:    pick(r, "", "", "", "none", "chunks", "close", "fail", "kill", "kill once", "half", "early", "hang"),
		body:   pick(r, "no", "bytes", "bytes", "stream", "renewable"),
		read:   pick(r, "all", "all", "all", "none"),
	}
	if http2 && s.act == "close" {
		s.act = "" // GOAWAY comes when it will
	}
	if http2 && s.act == "kill once" {
		s.act = "kill"
	}
	if s.act == "half" && s.method == "HEAD" {
		s.act = "" // whether the client notices before its next request depends on who is first
	}
	if s.act == "half" || s.act == "chunks" {
		s.read = "all" // else what comes of it depends on who is first
	}
	return s
}

// lineClient plays steps and tells what comes of them.
type lineClient struct {
	rt      http.RoundTripper
	url     string
	server  *lineServer
	backend *meshtest.Backend
}

func newLineServer(t *testing.T) (*lineServer, *meshtest.Backend) {
	s := &lineServer{hits: map[string]int{}, arrived: map[string]chan bool{}}
	return s, meshtest.HTTP(t, s)
}

func (c *lineClient) play(t *testing.T, id string, s lineStep) string {
	ctx, cancel := context.WithCancel(within(t, long))
	defer cancel()
	var closed atomic.Int64
	text := []byte("a body of some bytes")
	counted := func() io.ReadCloser { return &closesCounted{bytes.NewReader(text), &closed} }
	req, err := http.NewRequestWithContext(ctx, s.method, c.url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	switch s.body {
	case "bytes":
		req, err = http.NewRequestWithContext(ctx, s.method, c.url, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
	case "renewable":
		req.GetBody = func() (io.ReadCloser, error) { return counted(), nil }
		fallthrough
	case "stream":
		req.Body, req.ContentLength = counted(), int64(len(text))
	}
	req.Header.Set("X-Id", id)
	req.Header.Set("X-Act", s.act)
	arrived := make(chan bool)
	c.server.mu.Lock()
	c.server.arrived[id] = arrived
	c.server.mu.Unlock()
	if s.act == "hang" {
		go func() {
			select {
			case <-arrived:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	var got, reused int
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if got++; i.Reused {
			reused++
		}
	}}))
	var b strings.Builder
	resp, err := c.rt.RoundTrip(req)
	if err != nil {
		fmt.Fprintf(&b, "error (canceled %v, EOF %v)", errors.Is(err, context.Canceled), errors.Is(err, io.EOF))
	} else {
		fmt.Fprintf(&b, "%d", resp.StatusCode)
		if s.read == "all" {
			body, err := io.ReadAll(resp.Body)
			fmt.Fprintf(&b, " %q, error %v", body, err != nil)
		}
		if err := resp.Body.Close(); err != nil {
			b.WriteString(", error of Close")
		}
		if resp.Request != req {
			b.WriteString(", not the request's")
		}
	}
	until(t, "the request's body to be closed", func() bool { return closed.Load() > 0 || req.GetBody == nil && s.body != "stream" || s.body == "bytes" })
	c.server.mu.Lock()
	hits := c.server.hits[id]
	c.server.mu.Unlock()

	fmt.Fprintf(&b, ", %d times at the server, connections got %d, used before %d", hits, got, reused)
	return b.String()
}

type closesCounted struct {
	io.Reader
	closed *atomic.Int64
}

func (c *closesCounted) Close() error { c.closed.Add(1); return nil }

// TestLinesDoAsNetHTTP plays the same requests, one after the other, by way of a mesh whose
// policy says nothing of retries and by way of an http.Transport, and compares what comes of
// them, how often they came to the server, and what connections they got.
func TestLinesDoAsNetHTTP(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		for n := range uint64(12) {
			r := rand.New(rand.NewPCG(n, 0))
			oracle := newTransport(protocol)
			bareServer, bareBackend := newLineServer(t)
			bare := &lineClient{rt: oracle, url: "http://" + bareBackend.Addr + "/", server: bareServer, backend: bareBackend}
			meshServer, meshBackend := newLineServer(t)
			m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: %s, endpoints: [%q]}", protocol, meshBackend.Addr))
			weft := &lineClient{rt: m.Transport(nil), url: "http://orders/", server: meshServer, backend: meshBackend}
			var before []string
			for i := range 40 {
				s := randomLineStep(r, protocol == "http2")
				id := fmt.Sprint(i)
				want, got := bare.play(t, id, s), weft.play(t, id, s)
				if got != want {
					t.Fatalf("run %d, step %d: %v\nWeft:     %s\nnet/http: %s\nbefore it: %s", n, i, s, got, want, strings.Join(before[max(0, len(before)-4):], "\n  "))
				}
				before = append(before, s.String())
			}
			oracle.CloseIdleConnections()
		}
	})
}

func newTransport(protocol string) *http.Transport {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	if protocol == "http2" {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	return tr
}

// lineProtocols are the ways in which requests have connections: each its own, or together.
var lineProtocols = []string{"http", "http2"}

func eachLines(t *testing.T, test func(t *testing.T, protocol string)) {
	for _, p := range lineProtocols {
		t.Run(p, func(t *testing.T) { test(t, p) })
	}
}

func onLine(ctx context.Context, rt http.RoundTripper) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders/", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.ReadAll(resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// atOnce makes n requests at a time, which the server answers once all have come, and
// returns how many connections they took.
func atOnce(t *testing.T, b *meshtest.Backend, in *atomic.Int64, release func(), rt http.RoundTripper, n int) int64 {
	var wg sync.WaitGroup
	before := in.Load()
	for range n {
		wg.Go(func() {
			if err := onLine(within(t, long), rt); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "all requests", func() bool { return in.Load() == before+int64(n) })
	conns := b.Connections()
	release()
	wg.Wait()
	return conns
}

// gated is a server that answers when it is told to.
func gated(t *testing.T) (b *meshtest.Backend, in *atomic.Int64, release func()) {
	in = new(atomic.Int64)
	gate := make(chan struct{})
	b = meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.Add(1)
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "here")
	}))
	return b, in, sync.OnceFunc(func() { close(gate) })
}

// TestLinesIdle has connections that are idle be kept as http.Transport's fields say.
func TestLinesIdle(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		const n = 4
		want := map[string]int64{"http": n, "http2": 1}[protocol]
		b, in, release := gated(t)
		m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: %s, endpoints: [%q]}", protocol, b.Addr))
		t.Run("CloseIdleConnections", func(t *testing.T) {
			rt := m.Transport(&http.Transport{MaxIdleConnsPerHost: n})
			if got := atOnce(t, b, in, release, rt, n); got != want {
				t.Errorf("%d requests at a time have %d connections, want %d", n, got, want)
			}
			if got := b.Connections(); got != want {
				t.Errorf("%d connections are kept, want %d", got, want)
			}
			rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
			until(t, "idle connections to be closed", func() bool { return b.Connections() == 0 })
			if err := onLine(within(t, long), rt); err != nil {
				t.Error(err)
			}
			rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
			until(t, "the last connection to be closed", func() bool { return b.Connections() == 0 })
		})
		t.Run("IdleConnTimeout", func(t *testing.T) {
			rt := m.Transport(&http.Transport{IdleConnTimeout: 10 * time.Millisecond})
			for range 2 {
				if err := onLine(within(t, long), rt); err != nil {
					t.Error(err)
				}
				until(t, "an idle connection to be closed", func() bool { return b.Connections() == 0 })
			}
		})
	})
}

// TestLinesKeepFew keeps no more idle connections than http.Transport's fields allow.
func TestLinesKeepFew(t *testing.T) {
	for name, base := range map[string]*http.Transport{
		"MaxIdleConnsPerHost":      {MaxIdleConnsPerHost: 2},
		"MaxIdleConns":             {MaxIdleConns: 2, MaxIdleConnsPerHost: 3},
		"MaxIdleConns for the one": {MaxIdleConns: 2},
	} {
		t.Run(name, func(t *testing.T) {
			b, in, release := gated(t)
			m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: http, endpoints: [%q]}", b.Addr))
			rt := m.Transport(base)
			atOnce(t, b, in, release, rt, 5)
			until(t, "connections to be closed", func() bool { return b.Connections() == 2 })
			if err := onLine(within(t, long), rt); err != nil {
				t.Error(err)
			}
			if n := b.Connections(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// heldDials returns a transport that dials when it is told to.
func heldDials() (base *http.Transport, dialed *atomic.Int64, release func()) {
	held := make(chan struct{})
	dialed = new(atomic.Int64)
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		<-held
		return new(net.Dialer).DialContext(ctx, network, address)
	}}, dialed, sync.OnceFunc(func() { close(held) })
}

// TestLineOutlastsItsRequest has a request give up while its connection is made, which serves
// the next one.
func TestLineOutlastsItsRequest(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		_, b := newLineServer(t)
		m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: %s, endpoints: [%q]}", protocol, b.Addr))
		base, dialed, release := heldDials()
		rt := m.Transport(base)
		ctx, cancel := context.WithCancel(within(t, long))
		ended := make(chan error)
		go func() { ended <- onLine(ctx, rt) }()
		until(t, "the dial", func() bool { return dialed.Load() == 1 })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want it to be canceled", err)
		}
		release()
		until(t, "the connection", func() bool { return b.Connections() == 1 })
		if protocol == "http2" { // a request that comes now waits for the same, which may be ready later
			if err := onLine(within(t, long), rt); err != nil {
				t.Error(err)
			}
		}
		var reused bool
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
		for n := 0; !reused; n++ {
			if err := onLine(httptrace.WithClientTrace(within(t, long), trace), rt); err != nil {
				t.Error(err)
			}
		}
		if dials, conns := dialed.Load(), b.Connections(); conns != dials {
			t.Errorf("of %d connections that were made, %d are left", dials, conns)
		}
	})
}

// heldContext counts what waits for its end.
type heldContext struct {
	context.Context
	done chan struct{}
	held atomic.Int64
}

func (c *heldContext) Done() <-chan struct{} { return c.done }
func (c *heldContext) Err() error            { return nil }

func (c *heldContext) AfterFunc(func()) (stop func() bool) {
	c.held.Add(1)
	return func() bool { c.held.Add(-1); return true }
}

// TestLinesLeaveContextsAlone has many requests of one lasting context fail: nothing of them is
// held by it for good, but a little of few.
func TestLinesLeaveContextsAlone(t *testing.T) {
	_, b := newLineServer(t)
	m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: http, endpoints: [%q]}", b.Addr))
	rt := m.Transport(nil)
	ctx := &heldContext{Context: t.Context(), done: make(chan struct{})}
	for n := range 200 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orders/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			req.Header.Set("X-Act", "kill")
		}
		resp, err := rt.RoundTrip(req)
		if (err != nil) != (n%2 == 0) {
			t.Errorf("request %d: error %v", n, err)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	until(t, "contexts to be let go of", func() bool { return ctx.held.Load() <= 1 })
}

// TestLinesCountThoseThatWait has requests wait for one connection that is being made: each is
// pending, whether or not they will share it.
func TestLinesCountThoseThatWait(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		_, b := newLineServer(t)
		m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: %s, endpoints: [%q], limits: {maxPendingRequests: 2}}", protocol, b.Addr))
		base, _, release := heldDials()
		rt := m.Transport(base)
		var wg sync.WaitGroup
		var refused atomic.Int64
		for range 5 {
			wg.Go(func() {
				if err := onLine(within(t, long), rt); errors.Is(err, mesh.ErrOverloaded) {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		until(t, "requests to be refused", func() bool { return refused.Load() == 3 })
		release()
		wg.Wait()
		if n := refused.Load(); n != 3 {
			t.Errorf("%d of 5 requests were refused, want 3", n)
		}
		if err := onLine(within(t, long), rt); err != nil {
			t.Error(err)
		}
	})
}

// TestLinesHeedCancel cancels a request by its own field, which http.Client does, too.
func TestLinesHeedCancel(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		s, b := newLineServer(t)
		m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: %s, endpoints: [%q]}", protocol, b.Addr))
		arrived, canceled := make(chan bool), make(chan struct{})
		s.arrived["it"] = arrived
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://orders/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Act", "hang")
		req.Header.Set("X-Id", "it")
		req.Cancel = canceled //nolint:staticcheck // what this is about
		go func() {
			<-arrived
			close(canceled)
		}()
		if resp, err := m.Transport(nil).RoundTrip(req); err == nil {
			_ = resp.Body.Close()
			t.Error("it was answered")
		}
	})
}

// TestLinesGoAtAnyTime has connections be closed, by the client when they are idle and by the
// server with a warning, while requests come that policy does not try again: none of them fails.
func TestLinesGoAtAnyTime(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		var n atomic.Int64
		b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1)%20 == 0 {
				w.Header().Set("Connection", "close") // GOAWAY in HTTP/2
			}
			fmt.Fprint(w, "here")
		}))
		m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: %s, endpoints: [%q]}", protocol, b.Addr))
		rt := m.Transport(nil)
		done := make(chan struct{})
		var closing, calling sync.WaitGroup
		closing.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
				}
			}
		})
		for range 8 {
			calling.Go(func() {
				for range 500 {
					if err := onLine(within(t, long), rt); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		calling.Wait()
		close(done)
		closing.Wait()
	})
}

// TestLinesLendLongBodies has requests that are hedged answered at length after others failed.
func TestLinesLendLongBodies(t *testing.T) {
	const size = 4 << 20
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
		for range size / 1024 {
			_, _ = w.Write(make([]byte, 1024))
		}
	}))
	m := embedded(t, fmt.Sprintf(`services: {orders: {protocol: http, endpoints: [%q]}}
routes: {orders: [{match: {path: {prefix: /hedged}}, to: orders, hedge: {delay: 60s}}, {to: orders}]}`, b.Addr))
	rt := m.Transport(nil)
	for range 3 {
		for _, path := range []string{"/", "/hedged"} {
			failing, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := rt.RoundTrip(failing); err == nil {
				_ = resp.Body.Close()
				t.Error("no error")
			}
			req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://orders"+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
				t.Errorf("%s: %d bytes, error %v", path, n, err)
			}
			_ = resp.Body.Close()
		}
	}
}

// TestLinesCloseBodies has requests fail before they are sent: their bodies are closed, once.
func TestLinesCloseBodies(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		_, b := newLineServer(t)
		m := embedded(t, fmt.Sprintf("services:\n  orders: {protocol: %s, endpoints: [%q]}", protocol, b.Addr))
		for name, change := range map[string]func(*http.Request) *http.Request{
			"a header that cannot be sent": func(r *http.Request) *http.Request {
				r.Header.Set("Two lines", "a\nb")
				return r
			},
			"canceled before": func(r *http.Request) *http.Request {
				ctx, cancel := context.WithCancelCause(r.Context())
				cancel(errors.New("because"))
				return r.WithContext(ctx)
			},
		} {
			for _, renewable := range []bool{false, true} {
				var closed atomic.Int64
				open := func() io.ReadCloser { return &closesCounted{strings.NewReader("body"), &closed} }
				req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/", open())
				if err != nil {
					t.Fatal(err)
				}
				if renewable {
					req.GetBody = func() (io.ReadCloser, error) { return open(), nil }
				}
				resp, err := m.Transport(nil).RoundTrip(change(req))
				if err == nil {
					_ = resp.Body.Close()
					t.Errorf("%s: no error", name)
				}
				if n := closed.Load(); n != 1 {
					t.Errorf("%s, renewable %v: the body was closed %d times", name, renewable, n)
				}
			}
		}
	})
}
