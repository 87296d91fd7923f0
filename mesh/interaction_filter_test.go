package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh"
)

// TestFaultInteractions has a fault's delay meet the deadlines of a call, as the table of
// TestInteractions does other parts.
func TestFaultInteractions(t *testing.T) {
	const delay = `retry: {attempts: 4, on: [5xx, unavailable, deadline-exceeded], backOff: {baseInterval: 1ms, maxInterval: 1ms}}, fault: {delay: {fixedDelay: 50ms, percentage: 100%}}`
	for _, c := range []struct {
		name     string
		route    string
		script   []act
		deadline int // ms
		want     string
		grpc     string // if gRPC differs
	}{
		{name: "in time", route: delay, script: []act{{}}, deadline: 200, want: "1@50 ok@50"},
		{name: "once for all attempts", route: delay, script: []act{{fail: codes.Unavailable}, {}}, deadline: 200, want: "1@50 2@50 ok@50"},
		{name: "beyond the deadline", route: delay, deadline: 30, want: "deadline@30"},
		{name: "route timeout", route: "timeout: 70ms, " + delay, script: []act{{hang: true}}, want: "1@50 deadline@120", grpc: "1@50 deadline@70"},
		{name: "longer than the route timeout", route: "timeout: 30ms, " + delay, script: []act{{}}, want: "1@50 ok@50", grpc: "deadline@30"},
		{name: "longer than the timeout of HTTP", route: "timeout: 30ms, maxStreamDuration: 1m, " + delay, script: []act{{}}, want: "1@50 ok@50"},
	} {
		for _, p := range append(protocols[:len(protocols):len(protocols)], h2c) {
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var attempts atomic.Int64
					var b *bubble
					b = newBubble(t, p, "", c.route, 1, func(int) act {
						n := int(attempts.Add(1))
						b.say("%d", n)
						if n > len(c.script) {
							return act{}
						}
						return c.script[n-1]
					})
					call := b.client(t)
					b.restart()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if c.deadline > 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(c.deadline)*time.Millisecond)
						defer cancel()
					}
					b.ended(call(ctx))
					want := c.want
					if p.name == "grpc" && c.grpc != "" {
						want = c.grpc
					}
					if got := strings.Join(b.trace, " "); got != want {
						t.Errorf("got  %s\nwant %s", got, want)
					}
					time.Sleep(time.Second) // what lost has ended
				})
			})
		}
	}
}

// TestRateLimitInteractions has calls that are tried again pass a limit of two: each counts
// once, and the one that is refused makes no attempt, which its retry policy cannot mend.
func TestRateLimitInteractions(t *testing.T) {
	for kind, route := range map[string]string{
		"retry": "retry: {attempts: 3, on: [5xx, unavailable, resource-exhausted], statusCodes: [429], backOff: {baseInterval: 1ms}}",
		"hedge": "retry: {attempts: 3, on: [5xx, unavailable, resource-exhausted], statusCodes: [429]}, hedge: {delay: 10s}",
	} {
		for _, p := range protocols {
			t.Run(kind+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := p.scripted(t, "b", func(n int) act {
					if n%3 != 0 {
						return act{fail: codes.Unavailable}
					}
					return act{}
				})
				m := p.retrying(t, "maxRetries: 100}, rateLimit: {tokenBucket: {maxTokens: 2, fillInterval: 1h}", route, b)
				call := p.client(t, m, "orders")
				for i, want := range []int64{3, 6, 6, 6} {
					_, err := call(within(t, long), request{})
					if refused := i >= 2; (err != nil) != refused || refused && !errors.Is(err, mesh.ErrOverloaded) {
						t.Errorf("call %d: %v", i+1, err)
					}
					if n := b.Calls(); n != want {
						t.Errorf("after call %d there were %d attempts, want %d", i+1, n, want)
					}
				}
			})
		}
	}
}

// TestRequestCancel ends HTTP requests by Request.Cancel, which http.Client sets, too, in an
// attempt and in a backoff.
func TestRequestCancel(t *testing.T) {
	const patient = "retry: {attempts: 4, on: [5xx], backOff: {baseInterval: 100000h, maxInterval: 100000h}"
	for name, c := range map[string]struct {
		route  string
		script act
	}{
		"attempt":        {patient + "}", act{hang: true}},
		"backoff":        {patient + "}", act{fail: codes.Unavailable}},
		"hedged attempt": {patient + "}, hedge: {delay: 100h}", act{hang: true}},
		"hedged backoff": {patient + ", rateLimitedBackOff: {resetHeaders: {retry-after: seconds}}}, hedge: {delay: 100h}",
			act{fail: codes.Unavailable, header: map[string]string{"retry-after": "60"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts atomic.Int64
				b := newBubble(t, protocols[1], "", c.route, 1, func(int) act {
					attempts.Add(1)
					return c.script
				})
				cancel := make(chan struct{})
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://orders/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Cancel = cancel //nolint:staticcheck // what is tested
				began := time.Now()
				time.AfterFunc(time.Second, func() { close(cancel) })
				resp, err := b.transport(t).RoundTrip(req)
				if err == nil {
					_ = resp.Body.Close()
					t.Error("the request succeeded")
				}
				if took := fmt.Sprint(time.Since(began).Truncate(10 * time.Millisecond)); took != "1s" || attempts.Load() != 1 {
					t.Errorf("%d attempts, and the end after %s: %v", attempts.Load(), took, err)
				}
				time.Sleep(time.Second) // what was cancelled has ended
			})
		})
	}
}
