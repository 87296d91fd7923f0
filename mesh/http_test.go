package mesh_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestHTTPVersions has a cluster's protocol decide between HTTP/1.1 and h2c, and the
// request reach the backend as it was written.
func TestHTTPVersions(t *testing.T) {
	b := httpBackend(t, "b")
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
		"services:\n  one: {protocol: http, endpoints: [%q]}\n  two: {protocol: http2, connectTimeout: 60s, endpoints: [%q]}\n", b.Addr, b.Addr))))
	for host, proto := range map[string]string{"one": "HTTP/1.1", "two": "HTTP/2.0"} {
		req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://"+host+"/a?b=c", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.example"
		resp, err := m.HTTPClient().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "bbody" {
			t.Errorf("%s: body %q, %v", host, body, err)
		}
		if got := resp.Header.Get("Proto"); got != proto {
			t.Errorf("%s: backend saw %s, want %s", host, got, proto)
		}
		if got := resp.Header.Get("Host"); got != "shop.example" {
			t.Errorf("%s: backend saw host %q", host, got)
		}
		if got := resp.Trailer.Get("End"); got != "b" {
			t.Errorf("%s: trailer %q", host, got)
		}
		if resp.Request != req {
			t.Errorf("%s: resp.Request is not the request", host)
		}
		resp.Body.Close()
	}
	m.HTTPClient().CloseIdleConnections()
}

// TestLargeBodies streams more than any buffer holds, both ways at once.
func TestLargeBodies(t *testing.T) {
	const size = 64 << 20
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	for _, proto := range []string{"http", "http2"} {
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf("services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q]}}", proto, b.Addr))))
		sent, got := sha256.New(), sha256.New()
		body := io.TeeReader(io.LimitReader(pattern{}, size), sent)
		req, err := http.NewRequestWithContext(within(t, long), http.MethodPut, "http://orders/", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := m.HTTPClient().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Request != req {
			t.Errorf("%s: resp.Request is not the request", proto)
		}
		n, err := io.Copy(got, resp.Body)
		resp.Body.Close()
		if err != nil || n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
			t.Errorf("%s: %d bytes of %d came back, the same %v, error %v", proto, n, size, bytes.Equal(sent.Sum(nil), got.Sum(nil)), err)
		}
	}
}

// pattern is an endless body.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}

// closeCounter is a body that net/http cannot make again.
type closeCounter struct {
	io.Reader
	closed atomic.Int32 // http.Transport closes from goroutines of its own
}

func (c *closeCounter) Close() error {
	c.closed.Add(1)
	return nil
}

// TestConnectFailureMovesOn has most backends dead: no request may fail, whatever its
// body, and each body is closed.
func TestConnectFailureMovesOn(t *testing.T) {
	backends := []*meshtest.Backend{httpBackend(t, "a"), httpBackend(t, "b")}
	for range 6 {
		dead := httpBackend(t, "dead")
		dead.Kill()
		backends = append(backends, dead)
	}
	m := oneService(t, protocols[1], backends...)
	client := m.HTTPClient()
	for i := range 30 {
		for name, body := range map[string]io.Reader{
			"none":      nil,
			"in memory": strings.NewReader("body"),
			"stream":    &closeCounter{Reader: iotest.OneByteReader(strings.NewReader("body"))},
		} {
			req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/", body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("request %d, body %s: %v", i, name, err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			want := "body"
			if body == nil {
				want = ""
			}
			if err != nil || !strings.HasSuffix(string(got), want) {
				t.Fatalf("request %d, body %s: answer %q, %v", i, name, got, err)
			}
			if c, ok := body.(*closeCounter); ok && c.closed.Load() != 1 {
				t.Fatalf("request %d: the body was closed %d times", i, c.closed.Load())
			}
		}
	}
}

// TestStreamBodyOutlivesDeadBackends sends a body that cannot be made again past
// several backends that accept no connection.
func TestStreamBodyOutlivesDeadBackends(t *testing.T) {
	backends := []*meshtest.Backend{httpBackend(t, "alive")}
	for range 7 {
		backends = append(backends, httpBackend(t, "dead"))
	}
	for _, dead := range backends[1:] { // now that none gets the port of another
		dead.Kill()
	}
	for range 10 { // each mesh has to find out for itself, beginning anywhere
		body := &closeCounter{Reader: strings.NewReader("body")}
		req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := oneService(t, protocols[1], backends...).HTTPClient().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != "alivebody" || body.closed.Load() != 1 {
			t.Errorf("answer %q, %v; the body was closed %d times", got, err, body.closed.Load())
		}
	}
}

// TestBackendGoesAway stops one of two backends under load, and brings it back: no
// call may fail, and the calls return.
func TestBackendGoesAway(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		policy := "services:\n" + p.service("orders", a, b) + "routes: {orders: [{to: orders, " + sentAgain + "}]}\n"
		call := p.client(t, meshtest.New(t, mesh.WithPolicy([]byte(policy))), "orders")
		eventually(t, call, request{}, "a", "b")
		l := startLoad(t, 4, call, request{})
		l.await(100)
		b.Stop()
		l.await(500)
		b.Start()
		before := b.Calls()
		if err := b.AwaitCalls(within(t, long), before+100); err != nil {
			t.Error(err)
		}
		l.end(t)
	})
}

// TestRefusedBodyIsClosed: a RoundTripper closes the body, whatever happens.
func TestRefusedBodyIsClosed(t *testing.T) {
	dead := httpBackend(t, "dead")
	dead.Kill()
	m := oneService(t, protocols[1], dead)
	for _, url := range []string{"http://nowhere/", "http://orders/", "ftp://orders/"} {
		body := &closeCounter{Reader: strings.NewReader("body")}
		req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Transport(nil).RoundTrip(req); err == nil {
			t.Errorf("%s: no error", url)
		}
		if body.closed.Load() != 1 {
			t.Errorf("%s: the body was closed %d times", url, body.closed.Load())
		}
	}
}

// TestUpgrade hands an upgraded connection through.
func TestUpgrade(t *testing.T) {
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, line)
		rw.Flush()
	}))
	m := oneService(t, protocols[1], b)
	req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://orders/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := m.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("status %s, body %T", resp.Status, resp.Body)
	}
	fmt.Fprint(conn, "hello\n")
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello\n" {
		t.Errorf("echo %q, %v", got, err)
	}
}

// TestOneTransportPerBase: clients of one mesh share their connections.
func TestOneTransportPerBase(t *testing.T) {
	m := meshtest.New(t, mesh.WithPolicy([]byte("services: {}")))
	base := &http.Transport{}
	if m.Transport(base) != m.Transport(base) || m.HTTPClient().Transport != m.Transport(nil) {
		t.Error("the same base has two transports")
	}
	if m.Transport(base) == m.Transport(nil) {
		t.Error("two bases have one transport")
	}
}

// TestHTTPCancellation ends a request whose caller gives up, before and while the
// response's body is read.
func TestHTTPCancellation(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		begun <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer close(release)
	client := oneService(t, protocols[1], b).HTTPClient()
	for _, path := range []string{"/head", "/body"} {
		ctx, cancel := context.WithCancel(within(t, long))
		go func() {
			<-begun
			cancel()
		}()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", path, err)
		}
	}
}
