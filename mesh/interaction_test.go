package mesh_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/mesh"
)

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// TestInteractions plays the table in package resilience's documentation through the door,
// by gRPC, HTTP/1.1 and h2c. In a trace "2@60" is the second attempt, which the backend got
// after 60 ms, and "ok@70" the call's end.
func TestInteractions(t *testing.T) {
	const (
		retry     = "retry: {attempts: 4, on: [5xx, unavailable, deadline-exceeded], backOff: {baseInterval: 1ms, maxInterval: 1ms}"
		patient   = "retry: {attempts: 4, on: [5xx, unavailable], backOff: {baseInterval: 100000h, maxInterval: 100000h}"
		byTimeout = retry + ", perTryTimeout: 50ms}, hedge: {onPerTryTimeout: true}"
		byDelay   = retry + "}, hedge: {delay: 20ms}"
		after     = retry + ", rateLimitedBackOff: {resetHeaders: {retry-after: seconds}, maxInterval: 2s}}"
	)
	ok, fails, fatal, hangs := act{}, act{fail: codes.Unavailable}, act{fail: codes.NotFound}, act{hang: true}
	asks := func(seconds, ms string) act {
		return act{fail: codes.Unavailable, header: map[string]string{"retry-after": seconds, "grpc-retry-pushback-ms": ms}}
	}
	type step struct {
		ms int
		do act
	}
	for _, c := range []struct {
		name          string
		limits, route string
		script        []step
		deadline      int // ms
		cancel        int // ms
		learn         int // ms that 500 calls before take
		want          string
		grpc          string // if gRPC differs
	}{
		{name: "no-time-for-backoff", route: patient + "}", script: []step{{6, fails}}, deadline: 1000, want: "1@0 failed@0"},
		{name: "no-time-for-attempt", route: retry + "}", learn: 200, script: []step{{10, fails}}, deadline: 100, want: "1@0 failed@10"},
		{name: "no-time-for-hedge", route: byDelay, limits: "maxRetries: 0", learn: 100, script: []step{{50, ok}}, deadline: 100, want: "1@0 ok@50"},
		{name: "no-time-for-pushback", route: after, script: []step{{5, asks("1", "1000")}}, deadline: 500, want: "1@0 failed@0"},
		{name: "per-try-beyond-deadline", route: retry + ", perTryTimeout: 100ms}", script: []step{{0, hangs}}, deadline: 50, want: "1@0 deadline@50"},

		{name: "per-try", route: retry + ", perTryTimeout: 50ms}", script: []step{{0, hangs}, {10, ok}}, want: "1@0 2@50 ok@60"},
		{name: "per-try breaks", limits: "}, breaker: {endpoint: {consecutiveFailures: 1, openTime: 1h}", route: retry + ", perTryTimeout: 50ms}", script: []step{{0, hangs}}, want: "1@0 overloaded@50"},
		{name: "per-try-not-named", route: "retry: {on: [connect-failure], perTryTimeout: 50ms}", script: []step{{0, hangs}}, want: "1@0 deadline@50"},
		{name: "per-try-in-hedge", route: byTimeout, script: []step{{80, ok}, {0, hangs}}, want: "1@0 2@50 ok@80"},
		{name: "per-try-in-hedge, second wins", route: byTimeout, script: []step{{0, hangs}, {10, ok}}, want: "1@0 2@50 ok@60"},
		{name: "per-try-late-failure", route: byTimeout, script: []step{{70, fails}, {40, ok}}, want: "1@0 2@50 ok@90"},
		{name: "per-try-all-fail", route: strings.Replace(byTimeout, "attempts: 4", "attempts: 2", 1), script: []step{{70, fails}, {40, fails}}, want: "1@0 2@50 failed@90"},
		{name: "per-try-no-budget", route: byTimeout, limits: "maxRetries: 0", script: []step{{70, ok}}, want: "1@0 ok@70"},

		{name: "hedge-wins", route: byDelay, script: []step{{0, hangs}, {10, ok}}, want: "1@0 2@20 ok@30"},
		{name: "hedge-loses", route: byDelay, script: []step{{30, ok}, {0, hangs}}, want: "1@0 2@20 ok@30"},
		{name: "hedge-wins, quantile", route: retry + "}, hedge: {delay: 1h, quantile: 90%}", learn: 40, script: []step{{0, hangs}, {10, ok}}, want: "1@0 2@40 ok@50"},
		{name: "hedge-fatal", route: byDelay, script: []step{{0, hangs}, {10, fatal}}, want: "1@0 2@20 failed@30"},
		{name: "hedge-failure-advances", route: byDelay, script: []step{{10, fails}, {0, hangs}, {10, ok}}, want: "1@0 2@10 3@30 ok@40"},
		{name: "hedge-exhausted", route: strings.Replace(byDelay, "attempts: 4", "attempts: 3", 1), script: []step{{100, fails}, {30, fails}, {10, fails}}, want: "1@0 2@20 3@40 failed@100"},
		{name: "hedge-no-budget", route: byDelay, limits: "maxRetries: 0", script: []step{{100, ok}}, want: "1@0 ok@100"},
		{name: "hedge-budget-in-flight", route: byDelay, limits: "maxRetries: 1", script: []step{{30, fails}, {50, ok}}, want: "1@0 2@20 ok@70"},
		{name: "hedge-throttled", route: byDelay, limits: "retryThrottling: {maxTokens: 2, tokenRatio: 1%}", script: []step{{10, fails}}, want: "1@0 failed@10"},
		{name: "hedge-pushback", route: byDelay, script: []step{{10, asks("9", "50")}, {0, hangs}, {10, ok}}, want: "1@0 2@10 3@30 ok@40", grpc: "1@0 2@60 3@80 ok@90"},
		{name: "hedge-pushback-never", route: byDelay, script: []step{{40, ok}, {10, asks("9", "-1")}, {0, hangs}}, want: "1@0 2@20 3@30 ok@40", grpc: "1@0 2@20 ok@40"},

		{name: "pushback", route: after, script: []step{{10, asks("0", "100")}, {10, ok}}, want: "1@0 2@10 ok@20", grpc: "1@0 2@110 ok@120"},
		{name: "pushback-never", route: retry + "}", script: []step{{10, asks("", "-1")}, {10, ok}}, want: "1@0 2@10 ok@20", grpc: "1@0 failed@10"},
		{name: "reset-header, too long", route: after, script: []step{{10, asks("3", "0")}, {10, ok}}, want: "1@0 2@10 ok@20"},

		{name: "budget", route: retry + "}", limits: "maxRetries: 0", script: []step{{10, fails}}, want: "1@0 failed@10"},
		{name: "budget-returned", route: retry + "}", limits: "maxRetries: 1", script: []step{{10, fails}, {10, fails}, {10, fails}, {10, ok}}, want: "1@0 2@10 3@20 4@30 ok@40"},
		{name: "throttled", route: retry + "}", limits: "retryThrottling: {maxTokens: 2, tokenRatio: 1%}", script: []step{{10, fails}}, want: "1@0 failed@10"},
		{name: "partial", route: retry + "}", script: []step{{10, act{early: true, fail: codes.Unavailable}}, {10, ok}}, want: "1@0 2@10 ok@20", grpc: "1@0 failed@10"},
		{name: "partial, later", route: retry + "}", script: []step{{10, fails}, {10, act{early: true, fail: codes.Unavailable}}, {10, ok}}, want: "1@0 2@10 3@20 ok@30", grpc: "1@0 2@10 failed@20"},

		{name: "cancel", route: retry + "}", script: []step{{0, hangs}}, cancel: 30, want: "1@0 canceled@30"},
		{name: "cancel-in-backoff", route: patient + "}", script: []step{{10, fails}}, cancel: 30, want: "1@0 canceled@30"},
		{name: "cancel-in-backoff, hedged", route: after + ", hedge: {delay: 1h}", script: []step{{10, asks("1", "1000")}}, cancel: 30, want: "1@0 canceled@30"},
		{name: "cancel-in-pick", route: retry + "}", script: nil, cancel: 30, want: "unreachable@0", grpc: "unreachable@0"},

		{name: "refused", route: patient + "}", limits: "maxRequests: 0", script: []step{{0, ok}}, want: "overloaded@0"},
		{name: "refused-hedge", route: byDelay, limits: "maxRequests: 1", script: []step{{100, ok}}, want: "1@0 ok@100"},
		{name: "route timeout", route: "timeout: 70ms, " + retry + "}", script: []step{{10, fails}, {0, hangs}}, want: "1@0 2@10 deadline@70"},
	} {
		for _, p := range append(protocols[:len(protocols):len(protocols)], h2c) {
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					backends := min(len(c.script), 1)
					learning := c.learn > 0
					var attempts atomic.Int64
					var b *bubble
					b = newBubble(t, p, c.limits, c.route, backends, func(int) act {
						if learning {
							return sleepy(c.learn, act{})
						}
						n := int(attempts.Add(1))
						if n > len(c.script) {
							t.Errorf("there is an attempt %d", n)
							return act{}
						}
						b.say("%d", n)
						s := c.script[n-1]
						return sleepy(s.ms, s.do)
					})
					call := b.client(t)
					for i := 0; learning && i < 500; i++ {
						if _, err := call(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					learning = false
					b.restart()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if c.deadline > 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(c.deadline)*time.Millisecond)
						defer cancel()
					}
					if c.cancel > 0 {
						time.AfterFunc(time.Duration(c.cancel)*time.Millisecond, cancel)
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
					if n := kept(b); n != 0 {
						t.Errorf("%d bytes of requests are kept", n)
					}
				})
			})
		}
	}
}

func kept(b *bubble) int64 { return mesh.Kept(b.Mesh) }
