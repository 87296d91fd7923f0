package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestConnectionQueue has requests wait for one of the connections that there may be, each
// of which is used by one at a time (row Z4).
func TestConnectionQueue(t *testing.T) {
	p := protocols[1]
	var in, most atomic.Int64
	var once sync.Once
	two := make(chan struct{}) // closed once there were two at a time
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := in.Add(1)
		for {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		if n >= 2 {
			once.Do(func() { close(two) })
		}
		pause(r.Context(), two, long)
		in.Add(-1) // before the answer, upon which the caller may give up the connection
		_ = http.NewResponseController(w).Flush()
		if r.Header.Get("Abort") != "" {
			panic(http.ErrAbortHandler) // the connection is lost
		}
	}))
	m := p.retrying(t, "maxConnections: 2", "timeout: 0s", &scripted{Backend: b})
	rt := m.Transport(nil)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 20 {
				var body bytes.Buffer
				body.WriteString(strings.Repeat("x", n))
				req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/", &closeCounter{Reader: &body})
				if err != nil {
					t.Error(err)
					return
				}
				if (i+n)%5 == 0 {
					req.Header.Set("Abort", "1")
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					if req.Header.Get("Abort") == "" {
						t.Errorf("while others wait: %v", err)
					}
					continue
				}
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n != 2 {
		t.Errorf("%d requests at a time, want 2", n)
	}
	m.HTTPClient().CloseIdleConnections()
}

// TestConnectionLimits says what becomes of requests that would need more connections than
// policy allows.
func TestConnectionLimits(t *testing.T) {
	for name, c := range map[string]struct {
		protocol, limits string
		waits            bool
		refusal          string
	}{
		"waits":          {"http", "maxConnections: 1", true, ""},
		"full queue":     {"http", "maxConnections: 1, maxPendingRequests: 1", true, "max_pending_requests is 1"},
		"no queue":       {"http", "maxConnections: 1, maxPendingRequests: 0", false, "max_pending_requests is 0"},
		"none for HTTP2": {"http2", "maxConnections: 1", true, ""}, // one connection takes both
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hangs := name != "no queue"
			b := protocols[1].scripted(t, "b", func(n int) act { return act{hang: n == 1 && hangs} })
			m := protocol{name: c.protocol}.retrying(t, c.limits, "timeout: 0s", b)
			rt := m.Transport(nil)
			ctx, cancel := context.WithCancel(within(t, long))
			var wg sync.WaitGroup
			if hangs {
				wg.Go(func() { _, _ = postBody(ctx, rt, nil) })
				if err := b.AwaitCalls(ctx, 1); err != nil {
					t.Fatal(err)
				}
			}
			if c.waits && c.protocol == "http" {
				short, stop := context.WithTimeout(ctx, 20*time.Millisecond)
				if _, err := postBody(short, rt, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, mesh.ErrOverloaded) {
					t.Errorf("%v, want to wait for as long as the request may take", err)
				}
				stop()
			}
			answers := make(chan error, 1)
			if c.waits {
				wg.Go(func() {
					_, err := postBody(ctx, rt, &closeCounter{Reader: strings.NewReader("body")})
					answers <- err
				})
			}
			for c.refusal != "" {
				short, stop := context.WithTimeout(ctx, 20*time.Millisecond) // until the other waits
				body := &closeCounter{Reader: strings.NewReader("body")}
				_, err := postBody(short, rt, body)
				stop()
				if ctx.Err() != nil {
					t.Fatalf("%v, want %s", err, c.refusal)
				}
				if errors.Is(err, mesh.ErrOverloaded) {
					if !strings.Contains(err.Error(), c.refusal) {
						t.Errorf("%v, want %s", err, c.refusal)
					}
					if body.closed.Load() != 1 {
						t.Errorf("the body was closed %d times", body.closed.Load())
					}
					break
				}
			}
			if c.waits {
				if c.protocol == "http" {
					cancel() // which costs the connection
					<-answers
				} else if err := <-answers; err != nil {
					t.Error(err)
				}
			}
			cancel()
			wg.Wait()
			m.HTTPClient().CloseIdleConnections()
		})
	}
}

// TestConnectionFreed hands a request that waits the connection that another has used, and
// a new one when another was lost.
func TestConnectionFreed(t *testing.T) {
	p := protocols[1]
	for _, lost := range []bool{false, true} {
		release := make(chan struct{})
		b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/first" {
				select {
				case <-release:
				case <-r.Context().Done():
				}
			}
		}))
		m := p.retrying(t, "maxConnections: 1", "timeout: 0s", &scripted{Backend: b})
		client := m.HTTPClient()
		ctx, cancel := context.WithCancel(within(t, long))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = httpCall(ctx, client, "orders", request{path: "/first"}) })
		if err := b.AwaitCalls(ctx, 1); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			wg.Go(func() {
				if _, err := httpCall(within(t, long), client, "orders", request{}); err != nil {
					t.Errorf("lost: %v: %v", lost, err)
				}
			})
		}
		if lost {
			cancel()
		} else {
			close(release)
		}
		wg.Wait()
		cancel()
		client.CloseIdleConnections()
	}
}
