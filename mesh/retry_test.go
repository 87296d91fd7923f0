package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// again is a retry policy with hardly any backoff.
const again = "attempts: 4, on: [gateway-error, unavailable], backOff: {baseInterval: 1ms}"

// retrying is a mesh with the service orders, of these limits, and one route, of these
// fields.
func (p protocol) retrying(tb testing.TB, limits, route string, backends ...*scripted) *mesh.Mesh {
	tb.Helper()
	var addresses []string
	for _, b := range backends {
		addresses = append(addresses, `"`+b.Addr+`"`)
	}
	return meshtest.New(tb, mesh.WithPolicy(fmt.Appendf(nil, "services:\n  orders: {protocol: %s, "+inTime+", endpoints: [%s], limits: {%s}}\nroutes:\n  orders:\n    - {to: orders, %s}\n",
		p.name, strings.Join(addresses, ", "), limits, route)))
}

// TestRetry counts the attempts of one call, whose backend does as it is told (row Z1, Z2,
// Z9).
func TestRetry(t *testing.T) {
	always := func(a act) func(int) act { return func(int) act { return a } }
	first := func(a act) func(int) act {
		return func(n int) act {
			if n == 1 {
				return a
			}
			return act{}
		}
	}
	for _, c := range []struct {
		name          string
		limits, route string
		script        func(int) act
		attempts      int64
		fails         bool
		only          string // a protocol
	}{
		{"no policy", "", "", failFirst(1), 1, true, ""},
		{"succeeds", "", "retry: {" + again + "}", failFirst(3), 4, false, ""},
		{"exhausted", "", "retry: {" + again + "}", failFirst(4), 4, true, ""},
		{"not named", "", "retry: {" + again + "}", always(act{fail: codes.NotFound}), 1, true, ""},
		{"status code", "", "retry: {statusCodes: [404], backOff: {baseInterval: 1ms}}", first(act{fail: codes.NotFound}), 2, false, "http"},
		{"response header", "", "retry: {headers: {x-again: {present: true}}}", first(act{header: map[string]string{"x-again": "1"}, fail: codes.NotFound}), 2, false, ""},
		{"request header", "", "retry: {" + again + ", requestHeaders: {x-idempotent: {present: true}}}", failFirst(1), 1, true, ""},
		{"method", "", "retry: {" + again + ", methods: [PUT]}", failFirst(1), 1, true, ""},
		{"request header, hedged", "", "retry: {" + again + ", requestHeaders: {x-idempotent: {present: true}}}, hedge: {delay: 1ms}", failFirst(1), 1, true, ""},
		{"no retries at a time", "maxRetries: 0", "retry: {" + again + "}", failFirst(1), 1, true, ""},
		{"no budget", "retryBudget: {minRetryConcurrency: 0}", "retry: {" + again + "}", failFirst(1), 1, true, ""},
		{"budget", "retryBudget: {budgetPercent: 0%, minRetryConcurrency: 1}", "retry: {" + again + "}", failFirst(3), 4, false, ""},
		{"throttled", "retryThrottling: {maxTokens: 4, tokenRatio: 100%}", "retry: {" + again + "}", failFirst(4), 2, true, ""},
		{"too late", "", "retry: {on: [5xx, unavailable], backOff: {baseInterval: 100000h, maxInterval: 100000h}}", failFirst(1), 1, true, ""},
		{"told not to", "", "retry: {" + again + "}", always(act{fail: codes.Unavailable, header: map[string]string{"grpc-retry-pushback-ms": "-1"}}), 1, true, "grpc"},
		{"told when", "", "retry: {on: [unavailable], backOff: {baseInterval: 100000h, maxInterval: 100000h}}", first(act{fail: codes.Unavailable, header: map[string]string{"grpc-retry-pushback-ms": "1"}}), 2, false, "grpc"},
		{"told when", "", "retry: {on: [gateway-error], backOff: {baseInterval: 100000h, maxInterval: 100000h}, rateLimitedBackOff: {resetHeaders: {retry-after: seconds}}}",
			first(act{fail: codes.Unavailable, header: map[string]string{"Retry-After": "0"}}), 2, false, "http"},
		{"begun", "", "retry: {on: [unavailable]}", always(act{early: true, fail: codes.Unavailable}), 1, true, "grpc"},
		{"reset", "", "retry: {on: [reset], backOff: {baseInterval: 1ms}}", first(act{reset: true}), 2, false, "http"},
		{"reset, not named", "", "retry: {on: [connect-failure, refused-stream]}", first(act{reset: true}), 1, true, "http"},
		{"per-try timeout", "", "retry: {on: [5xx], perTryTimeout: 2s, backOff: {baseInterval: 1ms}}", first(act{hang: true}), 2, false, ""},
		{"per-try timeout, by its status", "", "retry: {on: [deadline-exceeded], perTryTimeout: 2s, backOff: {baseInterval: 1ms}}", first(act{hang: true}), 2, false, "grpc"},
		{"per-try idle timeout", "", "retry: {on: [5xx], perTryIdleTimeout: 2s, backOff: {baseInterval: 1ms}}", first(act{hang: true}), 2, false, ""},
		{"per-try timeout, not named", "", "retry: {on: [connect-failure], perTryTimeout: 2s}", first(act{hang: true}), 1, true, ""},
	} {
		for _, p := range protocols {
			if c.only != "" && c.only != p.name {
				continue
			}
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := p.scripted(t, "b", c.script)
				m := p.retrying(t, c.limits, c.route, b)
				got, err := p.client(t, m, "orders")(within(t, long), request{})
				if (err != nil) != c.fails || !c.fails && !strings.HasPrefix(got, "b") {
					t.Errorf("answer %q, %v; want a failure: %v", got, err, c.fails)
				}
				if errors.Is(err, context.DeadlineExceeded) && !strings.HasPrefix(c.name, "per-try") {
					t.Errorf("the failure is that of the deadline: %v", err)
				}
				if n := b.Calls(); n != c.attempts {
					t.Errorf("%d attempts, want %d", n, c.attempts)
				}
			})
		}
	}
}

// TestRetryElsewhere has a retry go to an endpoint that the call has not tried.
func TestRetryElsewhere(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		bad, good := p.scripted(t, "bad", failFirst(1<<30)), p.scripted(t, "good", failFirst(0))
		bad2 := p.scripted(t, "bad2", failFirst(1<<30))
		m := p.retrying(t, "maxRetries: 100}, balance: {policy: random", "retry: {attempts: 3, on: [gateway-error, unavailable], backOff: {baseInterval: 1ms}}", bad, good, bad2)
		call := p.client(t, m, "orders")
		ctx := within(t, long)
		for bad.Calls() < 3 || bad2.Calls() < 3 || good.Calls() < 3 {
			if got, err := call(ctx, request{}); err != nil || !strings.HasPrefix(got, "good") {
				if p.name == "grpc" && good.Calls() == 0 && ctx.Err() == nil {
					continue // has yet to connect
				}
				t.Fatalf("answer %q, %v", got, err)
			}
		}
	})
}

// counted is the listener of that name, to which fields of its virtual host are added.
const counted = `- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: counted
  apiListener:
    apiListener:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      statPrefix: counted
      httpFilters: [{name: envoy.filters.http.router, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
      routeConfig:
        name: counted
        virtualHosts:
        - name: counted
          domains: ["*"]
          includeRequestAttemptCount: true
`

// counting is a mesh with the target counted, whose requests and responses say how many
// attempts there were, under more fields of its route.
func (p protocol) counting(tb testing.TB, route string, b *scripted) *mesh.Mesh {
	tb.Helper()
	return meshtest.New(tb, mesh.WithPolicy([]byte(`
services: {orders: {protocol: `+p.name+`, endpoints: ["`+b.Addr+`"]}}
resources:
`+counted+`          includeAttemptCountInResponse: true
          routes: [{match: {prefix: /}, route: {cluster: orders`+route+`}}]
`)))
}

// TestSingleAttemptNumber has them say so where there is nothing to try again.
func TestSingleAttemptNumber(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", failFirst(0))
		if got := responseHeader(t, p, p.counting(t, "", b), "counted")("x-envoy-attempt-count"); got != "1" {
			t.Errorf("x-envoy-attempt-count of the response is %q, want 1", got)
		}
		if diff := cmp.Diff([]string{"1"}, b.headers("x-envoy-attempt-count")); diff != "" {
			t.Errorf("x-envoy-attempt-count of requests (-want +got):\n%s", diff)
		}
	})
}

// TestAttemptNumbers has requests and responses say how many attempts there were.
func TestAttemptNumbers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", func(i int) act {
			if i == 3 {
				return act{}
			}
			return act{fail: codes.Unavailable}
		})
		m := p.counting(t, `, retryPolicy: {retryOn: "gateway-error,unavailable", numRetries: 3}`, b)
		response := responseHeader(t, p, m, "counted")
		if diff := cmp.Diff([]string{"1", "2", "3"}, b.headers("x-envoy-attempt-count")); diff != "" {
			t.Errorf("x-envoy-attempt-count of requests (-want +got):\n%s", diff)
		}
		if got := response("x-envoy-attempt-count"); got != "3" {
			t.Errorf("x-envoy-attempt-count of the response is %q, want 3", got)
		}
		if p.name == "grpc" {
			if diff := cmp.Diff([]string{"", "1", "2"}, b.headers("grpc-previous-rpc-attempts")); diff != "" {
				t.Errorf("grpc-previous-rpc-attempts (-want +got):\n%s", diff)
			}
			var trailer metadata.MD // the one block of headers of an answer that is a status alone
			err := dial(t, m, "counted").Invoke(within(t, long), "/a/b", wrapperspb.String("7"), new(wrapperspb.StringValue), grpc.Trailer(&trailer))
			if got := trailer.Get("x-envoy-attempt-count"); err == nil || strings.Join(got, ",") != "4" {
				t.Errorf("x-envoy-attempt-count of a failure, %v, is %q, want 4", err, got)
			}
		}
	})
}

// TestHedgedAttemptNumbers has a hedge say its number.
func TestHedgedAttemptNumbers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", func(n int) act { return act{hang: n == 1} })
		m := p.counting(t, `, retryPolicy: {retryOn: 5xx, numRetries: 1, perTryTimeout: 0.05s}, hedgePolicy: {hedgeOnPerTryTimeout: true}`, b)
		if got := responseHeader(t, p, m, "counted")("x-envoy-attempt-count"); got != "2" {
			t.Errorf("x-envoy-attempt-count of the response is %q, want 2", got)
		}
		// On a machine that stalls for as long as an attempt may take, either may come first.
		numbers := slices.Sorted(slices.Values(b.headers("x-envoy-attempt-count")))
		if diff := cmp.Diff([]string{"1", "2"}, numbers); diff != "" {
			t.Errorf("x-envoy-attempt-count of requests (-want +got):\n%s", diff)
		}
	})
}

// TestRetryStorm: a cluster that always fails, 1,000 callers and three retries each send
// at most the budget more than there are calls (row Z2). All attempts take as long, which
// they do in no other time than synctest's.
func TestRetryStorm(t *testing.T) {
	const callers, calls = 1000, 2
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts atomic.Int64
				b := newBubble(t, p, "maxConnections: 10000, maxPendingRequests: 10000, maxRequests: 10000, retryBudget: {budgetPercent: 20%, minRetryConcurrency: 3}",
					"retry: {attempts: 4, on: [gateway-error, unavailable], backOff: {baseInterval: 10ms}}", 1, func(int) act {
						attempts.Add(1)
						return sleepy(10, act{fail: codes.Unavailable})
					})
				call := b.client(t)
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for range calls {
							if _, err := call(t.Context()); err == nil {
								t.Error("a call succeeded")
							}
						}
					})
				}
				wg.Wait()
				retries := attempts.Load() - callers*calls
				t.Logf("%d calls, %d retries", callers*calls, retries)
				// Of five attempts in flight one may be a retry: a quarter of the calls. Without
				// a budget there are three for each call.
				if retries <= 0 || retries > callers*calls/3 {
					t.Errorf("%d retries of %d calls, want some, and about a quarter", retries, callers*calls)
				}
			})
		})
	}
}

// TestHedge has another attempt sent while the first hangs (row Z3).
func TestHedge(t *testing.T) {
	for name, route := range map[string]string{
		"delay":   "retry: {attempts: 1000, on: [5xx]}, hedge: {delay: 10ms}",
		"timeout": "retry: {attempts: 1000, on: [5xx], perTryTimeout: 10ms, backOff: {baseInterval: 1ms}}, hedge: {onPerTryTimeout: true}",
	} {
		for _, p := range protocols {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				a, b := p.scripted(t, "a", func(int) act { return act{hang: true} }), p.scripted(t, "b", failFirst(0))
				// gRPC may have yet to connect to the one that answers.
				m := p.retrying(t, "maxRetries: 1000", route, a, b)
				call := p.client(t, m, "orders")
				ctx := within(t, long)
				for a.Calls() < 3 {
					if got, err := call(ctx, request{}); err != nil || got[:1] != "b" {
						t.Fatalf("answer %q, %v", got, err)
					}
				}
				a.awaitCancelled(t, 3)
			})
		}
	}
}

// TestHedgeDropsFailures has the attempts that lose fail: their failure is not the call's.
func TestHedgeDropsFailures(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", failFirst(2))
		m := p.retrying(t, "maxRetries: 10", "retry: {"+again+"}, hedge: {delay: 10s}", b)
		if _, err := p.client(t, m, "orders")(within(t, long), request{}); err != nil {
			t.Fatal(err)
		}
		if n := b.Calls(); n != 3 {
			t.Errorf("%d attempts, want 3: failures have the next sent at once", n)
		}
	})
}

// TestMaxRequests refuses what is over the limit at once, for all targets that use the
// cluster (row Z4).
func TestMaxRequests(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", func(n int) act { return act{hang: n == 1} })
		m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, `
services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q], limits: {maxRequests: 1}}}
routes: {other: [{match: {headers: {x-high: {present: true}}}, to: orders, priority: high}, {to: orders, retry: {attempts: 3, on: [5xx, unavailable]}}]}
`, p.name, b.Addr)))
		ctx, cancel := context.WithCancel(within(t, long))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := p.client(t, m, "orders")(ctx, request{}); err == nil {
				t.Error("the call that hangs ended well")
			}
		})
		if err := b.AwaitCalls(within(t, long), 1); err != nil {
			t.Fatal(err)
		}
		other := p.client(t, m, "other")
		_, err := other(within(t, long), request{})
		if !errors.Is(err, mesh.ErrOverloaded) || !strings.Contains(err.Error(), "max_requests is 1") {
			t.Errorf("over the limit: %v", err)
		}
		if _, err := other(within(t, long), request{header: map[string]string{"x-high": "1"}}); err != nil {
			t.Errorf("calls of high priority are not counted apart: %v", err)
		}
		cancel()
		wg.Wait()
		if _, err := other(within(t, long), request{}); err != nil {
			t.Errorf("the place is not given back: %v", err)
		}
		if n := b.Calls(); n != 3 {
			t.Errorf("%d calls reached the backend, want 3", n)
		}
	})
}
