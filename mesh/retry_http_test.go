package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh"
)

// postBody sends a body and returns the response's.
func postBody(ctx context.Context, rt http.RoundTripper, body io.Reader) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orders/", body)
	if err != nil {
		return "", err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(got), err
}

// TestReplayBodies sends bodies of every kind again, under retries and hedges, and closes
// those that it was given once.
func TestReplayBodies(t *testing.T) {
	p := protocols[1]
	for name, c := range map[string]struct {
		route    string
		body     func() io.Reader
		attempts int64
		fails    bool
	}{
		"in memory":             {"retry: {" + again + "}", func() io.Reader { return strings.NewReader("body") }, 4, false},
		"stream":                {"retry: {" + again + "}", func() io.Reader { return &closeCounter{Reader: iotest.OneByteReader(strings.NewReader("body"))} }, 4, false},
		"too long":              {"retry: {" + again + ", bufferLimit: 3}", func() io.Reader { return &closeCounter{Reader: strings.NewReader("body")} }, 1, true},
		"hedge, in memory":      {"retry: {" + again + "}, hedge: {delay: 10ms}", func() io.Reader { return strings.NewReader("body") }, 4, false},
		"hedge, stream":         {"retry: {" + again + "}, hedge: {delay: 10s}", func() io.Reader { return &closeCounter{Reader: iotest.OneByteReader(strings.NewReader("body"))} }, 4, false},
		"no policy for methods": {"retry: {" + again + ", methods: [GET]}", func() io.Reader { return &closeCounter{Reader: strings.NewReader("body")} }, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := p.scripted(t, "b", failFirst(3))
			m := p.retrying(t, "maxRetries: 10", c.route, b)
			body := c.body()
			got, err := postBody(within(t, long), m.Transport(nil), body)
			if (err != nil) != c.fails || err == nil && got != "bbody" {
				t.Errorf("answer %q, %v", got, err)
			}
			if n := b.Calls(); n != c.attempts {
				t.Errorf("%d attempts, want %d", n, c.attempts)
			}
			if counter, ok := body.(*closeCounter); ok && err == nil && counter.closed.Load() != 1 {
				t.Errorf("the body was closed %d times", counter.closed.Load())
			}
			m.HTTPClient().CloseIdleConnections()
		})
	}
}

// TestRetriesLeakNoConnections has retried responses read so that their connections are
// used again, and gives those up that say too much.
func TestRetriesLeakNoConnections(t *testing.T) {
	p := protocols[1]
	b := p.scripted(t, "b", func(n int) act {
		if n%3 != 0 {
			return act{fail: codes.Unavailable}
		}
		return act{}
	})
	m := p.retrying(t, "", "retry: {"+again+"}", b)
	client := m.HTTPClient()
	defer client.CloseIdleConnections()
	for range 50 {
		if _, err := httpCall(within(t, long), client, "orders", request{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Connections(); n != 1 {
		t.Errorf("%d connections for one request at a time, want 1", n)
	}
}

// TestHTTPCallsEnd: a mesh has nothing in flight once its responses are closed, whatever
// became of their attempts.
func TestHTTPCallsEnd(t *testing.T) {
	p := protocols[1]
	for name, route := range map[string]string{
		"retry": "retry: {attempts: 3, on: [5xx], perTryTimeout: 50ms, perTryIdleTimeout: 40ms, backOff: {baseInterval: 1ms}}",
		"hedge": "retry: {attempts: 3, on: [5xx], perTryTimeout: 10ms, backOff: {baseInterval: 1ms}}, hedge: {onPerTryTimeout: true, delay: 5ms}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := p.scripted(t, "b", func(n int) act {
				return []act{{}, {fail: codes.Unavailable}, {hang: true}, {reset: true}, {fail: codes.NotFound}}[n%5]
			})
			m := p.retrying(t, "maxRetries: 1000", route, b)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 20 {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(200))*time.Millisecond)
						_, _ = postBody(ctx, m.Transport(nil), &closeCounter{Reader: strings.NewReader("body")})
						cancel()
					}
				})
			}
			wg.Wait()
			if err := m.Close(within(t, long)); err != nil {
				t.Errorf("calls are in flight: %v", err)
			}
			if n := mesh.Kept(m); n != 0 {
				t.Errorf("%d bytes of requests are kept", n)
			}
		})
	}
}

// TestHedgedBody has hedges read one body at the same time.
func TestHedgedBody(t *testing.T) {
	p := protocols[1]
	b := p.scripted(t, "b", failFirst(0))
	m := p.retrying(t, "maxRetries: 1000", "hedge: {delay: 100us}", b)
	text := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				got, err := postBody(within(t, long), m.Transport(nil), &closeCounter{Reader: iotest.HalfReader(bytes.NewReader(text))})
				if err != nil || got != "b"+string(text) {
					t.Errorf("%d bytes came back, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	m.HTTPClient().CloseIdleConnections()
}

// TestPerTryIdleTimeoutOfBody ends a response that stops coming.
func TestPerTryIdleTimeoutOfBody(t *testing.T) {
	b := httpStalling(t)
	m := protocols[1].retrying(t, "", "retry: {on: [5xx], perTryIdleTimeout: 100ms}", &scripted{Backend: b})
	_, err := postBody(within(t, long), m.Transport(nil), nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "per_try_idle_timeout") {
		t.Errorf("%v, want the idle timeout", err)
	}
	m.HTTPClient().CloseIdleConnections()
}
