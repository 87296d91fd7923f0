package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// sessionCall calls with headers and returns who answered and, in lower case, the
// headers of the response.
type sessionCall func(ctx context.Context, path string, header map[string]string) (name string, response metadata.MD, err error)

func sessionClient(tb testing.TB, p protocol, m *mesh.Mesh, target string) sessionCall {
	if p.name == "grpc" {
		conn := dial(tb, m, target)
		return func(ctx context.Context, path string, header map[string]string) (string, metadata.MD, error) {
			ctx = metadata.NewOutgoingContext(ctx, metadata.New(header))
			var response metadata.MD
			reply := new(wrapperspb.StringValue)
			err := conn.Invoke(ctx, path, wrapperspb.String("7"), reply, grpc.Header(&response))
			return reply.GetValue(), response, err
		}
	}
	client := m.HTTPClient()
	tb.Cleanup(client.CloseIdleConnections)
	return func(ctx context.Context, path string, header map[string]string) (string, metadata.MD, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+path, nil)
		if err != nil {
			return "", nil, err
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		response := metadata.MD{}
		for k, v := range resp.Header {
			response[strings.ToLower(k)] = v
		}
		return string(body), response, err
	}
}

// begin calls without a session until the given backend answers, and returns the
// session's header to send.
func (call sessionCall) begin(t *testing.T, path, backend string, session func(metadata.MD) (key, value string)) map[string]string {
	t.Helper()
	for ctx := within(t, long); ctx.Err() == nil; {
		name, response, err := call(ctx, path, nil)
		if err != nil {
			t.Fatalf("a first call: %v", err)
		}
		if name == backend {
			key, value := session(response)
			if value == "" {
				t.Fatalf("the response has no session: %v", response)
			}
			return map[string]string{key: value}
		}
	}
	t.Fatalf("%s never answers", backend)
	return nil
}

func cookieOf(response metadata.MD) (key, value string) {
	value, _, _ = strings.Cut(strings.Join(response.Get("set-cookie"), ""), ";")
	return "cookie", value
}

func headerOf(response metadata.MD) (key, value string) {
	return "x-session", strings.Join(response.Get("x-session"), "")
}

// stays expects the calls of a session to be answered by one backend, with nothing new
// about the session.
func (call sessionCall) stays(t *testing.T, when, path, backend string, header map[string]string) {
	t.Helper()
	for range 20 {
		name, response, err := call(within(t, long), path, header)
		if err != nil || name != backend {
			t.Fatalf("%s: %q, %v, want %q", when, name, err, backend)
		}
		if len(response.Get("set-cookie"))+len(response.Get("x-session")) > 0 {
			t.Fatalf("%s: the response has a new session: %v", when, response)
		}
	}
}

const (
	sessionFilterType = `"@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession`
	sessionCookieType = `session_state: {name: cookie, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState, cookie: {name: sticky, path: /shop.Orders, ttl: 120s}}}`
	sessionHeaderType = `session_state: {name: header, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState, name: x-session}}`
)

const sessionPath = "/shop.Orders/Get"

// TestSession keeps a session at its backend by a cookie and by a header: through a
// change of policy and while the backend drains if policy allows that; not when it is
// gone, unless the session is strict (row L5).
func TestSession(t *testing.T) {
	for name, state := range map[string]struct {
		config  string
		session func(metadata.MD) (key, value string)
	}{
		"cookie": {sessionCookieType, cookieOf},
		"header": {sessionHeaderType, headerOf},
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				a, b, c := p.backend(t, "a"), p.backend(t, "b"), p.backend(t, "c")
				cp := meshtest.NewControlPlane(t)
				apply := func(strict bool, endpoints ...string) {
					cp.Apply(fmt.Sprintf("services:\n  orders: {protocol: %s, connectTimeout: 60s, endpoints: [%s]}\nfilters:\n  orders: [{name: session, config: {%s, strict: %t, %s}}]\n",
						p.name, strings.Join(endpoints, ", "), sessionFilterType, strict, state.config))
				}
				up := func(b *meshtest.Backend) string { return fmt.Sprintf("%q", b.Addr) }
				apply(false, up(a), up(b))
				call := sessionClient(t, p, cp.Mesh(), "orders")
				plain := func(ctx context.Context, r request) (string, error) {
					name, _, err := call(ctx, sessionPath, r.header)
					return name, err
				}
				session := call.begin(t, sessionPath, "b", state.session)
				call.stays(t, "at first", sessionPath, "b", session)

				apply(false, up(a), up(b), up(c))
				eventually(t, plain, request{}, "a", "b", "c")
				call.stays(t, "with another backend", sessionPath, "b", session)

				apply(false, up(a), up(c))
				eventually(t, plain, request{}, "a", "c")
				moved, response, err := call(within(t, long), sessionPath, session)
				if err != nil || moved == "b" {
					t.Fatalf("without its backend: %q, %v", moved, err)
				}
				key, value := state.session(response)
				call.stays(t, "where it moved to", sessionPath, moved, map[string]string{key: value})

				apply(true, up(a), up(c))
				for ctx := within(t, long); ; {
					if _, _, err = call(ctx, sessionPath, session); errors.Is(err, mesh.ErrNoEndpoints) {
						break
					}
					if ctx.Err() != nil {
						t.Fatalf("strict, without its backend: %v", err)
					}
				}
				call.stays(t, "strict", sessionPath, moved, map[string]string{key: value})
			})
		})
	}
}

// TestSessionPaths has sessions only under the cookie's path, and not where a route
// switches them off or has its own.
func TestSessionPaths(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(`
services:
  orders: {protocol: %s, connectTimeout: 60s, endpoints: [%s]}
filters:
  orders: [{name: session, config: {%s, %s}}]
routes:
  orders:
    - match: {path: {exact: /shop.Orders/Off}}
      to: orders
      filters: {session: {config: {"@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute, disabled: true}}}
    - match: {path: {exact: /shop.Orders/Own}}
      to: orders
      filters: {session: {config: {"@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute, stateful_session: {%s}}}}
    - to: orders
`, p.name, addresses([]*meshtest.Backend{a, b}), sessionFilterType, sessionCookieType, sessionHeaderType))))
		call := sessionClient(t, p, m, "orders")
		session := call.begin(t, sessionPath, "a", cookieOf)
		call.stays(t, "under the path", sessionPath, "a", session)
		own := call.begin(t, "/shop.Orders/Own", "b", headerOf)
		call.stays(t, "with a route's own", "/shop.Orders/Own", "b", own)
		for _, path := range []string{"/shop.Orders/Off", "/other.Service/Get"} {
			seen := map[string]bool{}
			for ctx := within(t, long); len(seen) < 2; {
				name, response, err := call(ctx, path, session)
				if err != nil || len(response.Get("set-cookie")) > 0 {
					t.Fatalf("%s: %v, %v", path, response, err)
				}
				seen[name] = true
			}
		}
	})
}

// TestSessionDrains has the policy file say that sessions are kept, also at a backend
// that is draining.
func TestSessionDrains(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		cp := meshtest.NewControlPlane(t)
		apply := func(health string) {
			cp.Apply(fmt.Sprintf("services:\n  orders:\n    protocol: %s\n    session: {cookie: {name: sticky, ttl: 1h}, keepDraining: true}\n    endpoints: [%q, {address: %q, health: %s}]\n",
				p.name, a.Addr, b.Addr, health))
		}
		apply("healthy")
		call := sessionClient(t, p, cp.Mesh(), "orders")
		plain := func(ctx context.Context, r request) (string, error) {
			name, _, err := call(ctx, sessionPath, r.header)
			return name, err
		}
		session := call.begin(t, sessionPath, "b", cookieOf)
		apply("draining")
		eventually(t, plain, request{}, "a") // new calls
		call.stays(t, "while it drains", sessionPath, "b", session)
	})
}

// TestSessionOfWeightedClusters has a gRPC session stay in the cluster that the first
// call went to, whatever the weights (gRFC A60). Envoy's cookie does not name it.
func TestSessionOfWeightedClusters(t *testing.T) {
	a, b := grpcBackend(t, "a"), grpcBackend(t, "b")
	p := protocols[0]
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
		"services:\n  one: {protocol: grpc, connectTimeout: 60s, endpoints: [%q]}\n  two: {protocol: grpc, endpoints: [%q]}\nfilters:\n  orders: [{name: session, config: {%s, %s}}]\nroutes:\n  orders: [{to: {one: 1, two: 1}}]\n",
		a.Addr, b.Addr, sessionFilterType, sessionCookieType))))
	call := sessionClient(t, p, m, "orders")
	for _, backend := range []string{"a", "b"} {
		session := call.begin(t, sessionPath, backend, cookieOf)
		call.stays(t, backend, sessionPath, backend, session)
	}
}

// TestOverrideHost has a header name the backend, with another policy to fall back to.
func TestOverrideHost(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		options := ""
		if p.name == "grpc" {
			options = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}`
		}
		var endpoints []string
		for _, backend := range []*meshtest.Backend{a, b} {
			endpoints = append(endpoints, labelled(backend, ""))
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(`
routes: {orders: [{to: orders}]}
resources:
  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: orders
    type: STATIC
    load_balancing_policy:
      policies:
        - typed_extension_config:
            name: override
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
              override_host_sources: [{header: X-Host}, {header: X-Second}]
              fallback_policy: {policies: [{typed_extension_config: {name: rr, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}}}]}
    load_assignment: {cluster_name: orders, endpoints: [{lb_endpoints: [%s]}]}%s
`, strings.Join(endpoints, ", "), options))))
		call := p.client(t, m, "orders")
		eventually(t, call, request{}, "a", "b")
		for _, c := range []struct {
			header map[string]string
			want   []string
		}{
			{map[string]string{"x-host": a.Addr}, []string{"a"}},
			{map[string]string{"x-host": b.Addr}, []string{"b"}},
			{map[string]string{"x-host": "192.0.2.1:1, " + b.Addr}, []string{"b"}},
			{map[string]string{"x-host": "192.0.2.1:1", "x-second": a.Addr}, []string{"a"}},
			{map[string]string{"x-host": "192.0.2.1:1"}, []string{"a", "b"}},
		} {
			eventually(t, call, request{header: c.header}, c.want...)
		}
	})
}
