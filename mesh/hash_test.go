package mesh_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

var hashPolicies = []string{"ring_hash", "maglev"}

// keyed is a call of one of many users.
func keyed(user int) request {
	return request{header: map[string]string{"x-user": fmt.Sprint("u", user)}}
}

// owners returns which backend answers each of n users.
func owners(t *testing.T, call func(context.Context, request) (string, error), n int) []string {
	t.Helper()
	list := make([]string, n)
	for user := range list {
		name, err := call(within(t, long), keyed(user))
		if err != nil {
			t.Fatalf("call: %v", err)
		}
		list[user] = name
	}
	return list
}

// TestHash has calls go by the hash of a header: always to the same backend, through a
// change of policy that has nothing to do with it, and with one of four backends less,
// only its own keys and a few more go elsewhere (rows R7, L2).
func TestHash(t *testing.T) {
	const users = 300
	for _, balance := range hashPolicies {
		t.Run(balance, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				var all []*meshtest.Backend
				for _, name := range []string{"a", "b", "c", "d"} {
					all = append(all, p.backend(t, name))
				}
				cp := meshtest.NewControlPlane(t)
				apply := func(more string, backends ...*meshtest.Backend) {
					cp.Apply(fmt.Sprintf("services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {policy: %s}, endpoints: [%s]}\nroutes:\n  orders:\n%s    - {to: orders, hash: [{header: X-User}]}\n",
						p.name, balance, addresses(backends), more))
				}
				apply("", all...)
				call := p.client(t, cp.Mesh(), "orders")
				before := owners(t, call, users)
				seen := map[string]int{}
				for _, name := range before {
					seen[name]++
				}
				if len(seen) != 4 {
					t.Errorf("%d users are divided as %v", users, seen)
				}
				if diff := cmp.Diff(before, owners(t, call, users)); diff != "" {
					t.Errorf("the same again (-before +after):\n%s", diff)
				}

				apply("    - {to: orders, match: {path: {exact: /shop.Orders/New}}}\n", all...)
				eventually(t, call, request{path: "/shop.Orders/New"}, "a", "b", "c", "d") // without a hash: anywhere
				if diff := cmp.Diff(before, owners(t, call, users)); diff != "" {
					t.Errorf("after a change of something else (-before +after):\n%s", diff)
				}

				apply("", all[:3]...)
				eventually(t, call, request{path: "/shop.Orders/New"}, "a", "b", "c")
				moved := 0
				for user, name := range owners(t, call, users) {
					if name != before[user] && before[user] != "d" {
						moved++
					}
				}
				// A ring gives each of fewer endpoints more points.
				if moved > users/5 {
					t.Errorf("%d of %d users moved between backends that stay", moved, users)
				}
			})
		})
	}
}

// TestHashIsOneForBothProtocols has gRPC and HTTP choose the same endpoint for the same
// key among the same addresses: a gRPC service's, which an HTTP client can ask as well.
func TestHashIsOneForBothProtocols(t *testing.T) {
	for _, balance := range hashPolicies {
		var backends []*meshtest.Backend
		for _, name := range []string{"a", "b", "c"} {
			backends = append(backends, grpcBackend(t, name))
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
			"services:\n  orders: {protocol: grpc, balance: {policy: %s}, endpoints: [%s]}\nroutes:\n  orders: [{to: orders, hash: [{header: x-user}, {query: q}]}]\n",
			balance, addresses(backends)))))
		byGRPC := owners(t, grpcClient(t, m, "orders"), 100)

		client := m.HTTPClient()
		byHTTP := make([]string, len(byGRPC))
		for user := range byHTTP {
			// An empty stream in gRPC's form, which the backend answers with its name.
			req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/shop.Orders/Get", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "X-User": {fmt.Sprint("u", user)}}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			byHTTP[user] = resp.Header.Get("End")
			if byHTTP[user] == "" {
				byHTTP[user] = resp.Trailer.Get("End")
			}
		}
		client.CloseIdleConnections()
		if diff := cmp.Diff(byGRPC, byHTTP); diff != "" {
			t.Errorf("%s (-gRPC +HTTP):\n%s", balance, diff)
		}
	}
}

// TestHashFailover stops the backend that a key belongs to: its calls go to one other,
// and return with it.
func TestHashFailover(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		backends := map[string]*meshtest.Backend{}
		var all []*meshtest.Backend
		for _, name := range []string{"a", "b", "c"} {
			backends[name] = p.backend(t, name)
			all = append(all, backends[name])
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
			"services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {policy: ring_hash}, endpoints: [%s]}\nroutes:\n  orders: [{to: orders, hash: [{header: x-user}], "+sentAgain+"}]\n", p.name, addresses(all)))))
		call := p.client(t, m, "orders")
		owner := owners(t, call, 1)[0]
		load := startLoad(t, 2, call, keyed(0))
		load.await(20)
		backends[owner].Stop()
		load.await(20)
		got := counts(t, call, keyed(0), 20)
		if len(got) != 1 || got[owner] > 0 {
			t.Errorf("without %s its calls go to %v, want one other", owner, got)
		}
		backends[owner].Start()
		eventually(t, call, keyed(0), owner)
		load.end(t)
	})
}

// TestHashChannel keeps the calls of one client together, and not those of all.
func TestHashChannel(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		policy := mesh.WithPolicy([]byte(fmt.Sprintf(
			"services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {policy: maglev}, endpoints: [%s]}\nroutes:\n  orders: [{to: orders, hash: [{channel: true}]}]\n", p.name, addresses([]*meshtest.Backend{a, b}))))
		seen := map[string]int{}
		for range 40 { // all alike once in 10^12
			got := counts(t, p.client(t, meshtest.New(t, policy), "orders"), request{}, 5)
			if len(got) != 1 {
				t.Fatalf("the calls of one client go to %v", got)
			}
			for name := range got {
				seen[name]++
			}
		}
		if len(seen) != 2 {
			t.Errorf("all clients go to %v", seen)
		}
	})
}

// TestHashCookie gives a browser without the cookie one that keeps it with its backend.
// A cluster that does not go by hashes gives none.
func TestHashCookie(t *testing.T) {
	a, b := httpBackend(t, "a"), httpBackend(t, "b")
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(`
services:
  shop: {balance: {policy: ring_hash}, endpoints: [%[1]s]}
  other: {endpoints: [%[1]s]}
routes:
  shop: [{to: shop, hash: [{cookie: {name: sticky, ttl: 60s, path: /shop.Orders}}, {query: q}]}]
  other: [{to: other, hash: [{cookie: {name: sticky, ttl: 60s}}]}]
`, addresses([]*meshtest.Backend{a, b})))))
	get := func(client *http.Client, host string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://"+host+"/shop.Orders/Get", nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return resp, err
	}
	client := m.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	if resp, err := get(client, "other"); err != nil || resp.Header.Get("Set-Cookie") != "" {
		t.Errorf("round_robin sets a cookie: %v, %v", resp, err)
	}
	for range 5 {
		var err error
		client.Jar, err = cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := get(client, "shop")
		if err != nil {
			t.Fatal(err)
		}
		set := resp.Header.Get("Set-Cookie")
		if !strings.HasPrefix(set, `sticky="`) || !strings.HasSuffix(set, `"; Max-Age=60; Path=/shop.Orders; HttpOnly`) {
			t.Errorf("Set-Cookie: %s", set)
		}
		if got := client.Jar.Cookies(&url.URL{Scheme: "http", Host: "shop", Path: "/shop.Orders/Get"}); len(got) != 1 {
			t.Fatalf("the jar has %v", got)
		}
		call := func(ctx context.Context, r request) (string, error) {
			return httpCall(ctx, client, "shop", r)
		}
		if got := counts(t, call, request{}, 20); len(got) != 1 {
			t.Errorf("with one cookie calls go to %v", got)
		}
	}
}

// TestHashOfWhatIsSent hashes a header as policy has changed it.
func TestHashOfWhatIsSent(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
			"services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {policy: ring_hash}, endpoints: [%s]}\nroutes:\n  orders: [{to: orders, headers: {request: {set: {x-user: one}}}, hash: [{header: x-user}]}]\n",
			p.name, addresses([]*meshtest.Backend{a, b})))))
		got := owners(t, p.client(t, m, "orders"), 40) // in two ways once in 10^12
		if slices.Sort(got); got[0] != got[len(got)-1] {
			t.Errorf("calls that are all of one user, as sent, go to %v", slices.Compact(got))
		}
	})
}

// TestHashCookies gives a client all the cookies that its next call is hashed by.
func TestHashCookies(t *testing.T) {
	a := httpBackend(t, "a")
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
		"services:\n  shop: {balance: {policy: maglev}, endpoints: [%s]}\nroutes:\n  shop: [{to: shop, hash: [{cookie: {name: one, ttl: 1s}}, {cookie: {name: two, ttl: 1s}}]}]\n",
		addresses([]*meshtest.Backend{a})))))
	client := m.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://shop/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	var names []string
	for _, c := range resp.Cookies() {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"one", "two"}, names); diff != "" {
		t.Errorf("cookies (-want +got):\n%s", diff)
	}
}
