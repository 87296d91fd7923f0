package mesh_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestUpgradeCounts has an upgraded connection count as a call until it is closed, and not
// be tried again (rows Z1, Z4).
func TestUpgradeCounts(t *testing.T) {
	p := protocols[1]
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		_, _ = io.Copy(conn, rw)
	}))
	m := p.retrying(t, "maxRequests: 1", "timeout: 1m, retry: {attempts: 3, on: [5xx, reset], statusCodes: [101]}", &scripted{Backend: b})
	client := m.HTTPClient()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://orders/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("status %s, body %T", resp.Status, resp.Body)
	}
	fmt.Fprint(conn, "hello\n")
	got := make([]byte, 6)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello\n" {
		t.Errorf("echo %q, %v", got, err)
	}
	if _, err := httpCall(within(t, long), client, "orders", request{}); !errors.Is(err, mesh.ErrOverloaded) {
		t.Errorf("beside an upgraded connection: %v, want ErrOverloaded", err)
	}
	if c, ok := conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		t.Errorf("%T cannot end what is sent", conn)
	}
	if _, err := conn.Read(got); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	conn.Close()
	conn.Close()
	if _, err := httpCall(within(t, long), client, "orders", request{}); err != nil {
		t.Errorf("once it is closed: %v", err)
	}
	if n := b.Calls(); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

// TestRetryMethods tries requests of all kinds again: with and without a body, and one that
// waits to be told to send it.
func TestRetryMethods(t *testing.T) {
	for _, p := range []protocol{protocols[1], h2c} {
		for name, c := range map[string]struct {
			method string
			body   func() io.Reader
			header string
			want   string
		}{
			"HEAD":        {http.MethodHead, func() io.Reader { return nil }, "", ""},
			"no body":     {http.MethodPost, func() io.Reader { return http.NoBody }, "", "b"},
			"continue":    {http.MethodPut, func() io.Reader { return strings.NewReader("body") }, "100-continue", "bbody"},
			"continue, 2": {http.MethodPut, func() io.Reader { return &closeCounter{Reader: strings.NewReader("body")} }, "100-continue", "bbody"},
		} {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := protocols[1].scripted(t, "b", failFirst(2))
				m := p.retrying(t, "", "retry: {"+again+"}", b)
				body := c.body()
				req, err := http.NewRequestWithContext(within(t, long), c.method, "http://orders/", body)
				if err != nil {
					t.Fatal(err)
				}
				if c.header != "" {
					req.Header.Set("Expect", c.header)
				}
				resp, err := m.Transport(nil).RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || string(got) != c.want {
					t.Errorf("%s, %q, %v; want %q", resp.Status, got, err, c.want)
				}
				if n := b.Calls(); n != 3 {
					t.Errorf("%d attempts, want 3", n)
				}
				if counter, ok := body.(*closeCounter); ok && counter.closed.Load() != 1 {
					t.Errorf("the body was closed %d times", counter.closed.Load())
				}
				m.HTTPClient().CloseIdleConnections()
			})
		}
	}
}

// TestResendsAddUp: net/http itself sends a request again that does no harm and whose idle
// connection turned out to be dead, once for each such connection. That adds to the
// attempts of policy, and does not multiply with them.
func TestResendsAddUp(t *testing.T) {
	p := protocols[1]
	for method, idle := range map[string]int64{http.MethodGet: 1, http.MethodPost: 0} {
		var dies atomic.Bool
		b := p.scripted(t, "b", func(int) act { return act{reset: dies.Load(), fail: codes.OK} })
		m := p.retrying(t, "", "retry: {attempts: 4, on: [reset], backOff: {baseInterval: 1ms}}", b)
		client := m.HTTPClient()
		if _, err := httpCall(within(t, long), client, "orders", request{}); err != nil {
			t.Fatal(err)
		}
		dies.Store(true)
		req, err := http.NewRequestWithContext(within(t, long), method, "http://orders/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			t.Error("a request succeeded")
		}
		if n := b.Calls() - 1; n != 4+idle {
			t.Errorf("%s: sent %d times, want 4 and %d", method, n, idle)
		}
		client.CloseIdleConnections()
	}
}
