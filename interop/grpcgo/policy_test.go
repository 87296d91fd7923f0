package grpcgo

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// orders is a service with two versions, and routes of its own.
func orders(v1, v2 *meshtest.Backend, routes string) string {
	return `
services:
  orders:
    protocol: grpc
    ` + inTime + `
    endpoints:
      - {address: "` + v1.Addr + `", labels: {version: v1}}
      - {address: "` + v2.Addr + `", labels: {version: v2}}
    subsets: {v1: {version: v1}, v2: {version: v2}}
routes:
  orders:
` + routes
}

// TestRoutesAndSubsets drives each kind of match that both clients know. Three things
// are left out, in which grpc-go differs from gRFC A28 and Envoy: it takes a header
// with an empty value for absent when it is asked for presence, and when it routes
// it sees no content-type yet and still sees binary headers.
func TestRoutesAndSubsets(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	cp.Apply(orders(newBackend(t, "v1"), newBackend(t, "v2"), `
    - {match: {headers: {x-canary: {exact: "1"}}}, to: v2}
    - {match: {path: {exact: /shop.Orders/Exact}}, to: v2}
    - {match: {path: {exact: /shop.orders/folded, ignoreCase: true}}, to: v2}
    - {match: {path: {regex: "/shop\\.[A-Z][a-z]+/Get"}, headers: {x-user: {regex: "[0-9]+"}}}, to: v2}
    - {match: {path: {prefix: /shop.Ranges/}, headers: {x-shard: {range: {start: 10, end: 20}}}}, to: v2}
    - {match: {path: {prefix: /shop.Absent/}, headers: {x-any: {present: false}}}, to: v2}
    - {match: {path: {prefix: /shop.Inverted/}, headers: {x-any: {suffix: "!", invert: true}}}, to: v2}
    - {match: {path: {prefix: /shop.Query/}, query: {any: {present: true}}}, to: v2}
    - {match: {path: {prefix: /both.}}, to: orders}
    - {to: v1}
`))
	eachClient(t, cp, "orders", func(t *testing.T, c client) {
		c.eventually(t, request{path: "/both.Orders/Get"}, "v1", "v2")
		for _, k := range []struct {
			request
			want string
		}{
			{request{"/shop.Orders/Get", nil}, "v1"},
			{request{"/shop.Orders/Get", []string{"x-canary", "1"}}, "v2"},
			{request{"/shop.Orders/Get", []string{"X-Canary", "1"}}, "v2"},
			{request{"/shop.Orders/Get", []string{"x-canary", "2"}}, "v1"},
			{request{"/shop.Orders/Get", []string{"x-canary", "1", "x-canary", "1"}}, "v1"}, // is "1,1"
			{request{"/shop.Orders/Exact", nil}, "v2"},
			{request{"/shop.Orders/exact", nil}, "v1"},
			{request{"/shop.Orders/Exactly", nil}, "v1"},
			{request{"/SHOP.Orders/Folded", nil}, "v2"},
			{request{"/shop.Orders/Get", []string{"x-user", "42"}}, "v2"},
			{request{"/shop.Orders/Get", []string{"x-user", "42a"}}, "v1"},
			{request{"/shop.Orders/GetAll", []string{"x-user", "42"}}, "v1"},
			{request{"/shop.Ranges/Get", []string{"x-shard", "10"}}, "v2"},
			{request{"/shop.Ranges/Get", []string{"x-shard", "20"}}, "v1"},
			{request{"/shop.Ranges/Get", []string{"x-shard", "no"}}, "v1"},
			{request{"/shop.Absent/Get", nil}, "v2"},
			{request{"/shop.Absent/Get", []string{"x-any", "a"}}, "v1"},
			{request{"/shop.Inverted/Get", []string{"x-any", "a"}}, "v2"},
			{request{"/shop.Inverted/Get", []string{"x-any", "a!"}}, "v1"},
			{request{"/shop.Inverted/Get", nil}, "v1"},
			{request{"/shop.Query/Get?any=1", nil}, "v1"},
		} {
			for range 4 {
				if got := c.answer(t, k.request); got != k.want {
					t.Errorf("%v is answered by %s, want %s", k.request, got, k.want)
					break
				}
			}
		}
		if got := c.counts(t, request{path: "/both.Orders/Get"}, 40); got["v1"] != 20 {
			t.Errorf("round robin over both: %v", got)
		}
	})
}

// TestSplitByWeight allows for chance: grpc-go draws lots for each call. Six standard
// deviations are exceeded once in 500 million runs.
func TestSplitByWeight(t *testing.T) {
	const n, share = 600, 0.75
	cp := meshtest.NewControlPlane(t)
	cp.Apply(orders(newBackend(t, "v1"), newBackend(t, "v2"), "    - to: {v1: 75, v2: 25}\n"))
	eachClient(t, cp, "orders", func(t *testing.T, c client) {
		got := c.counts(t, request{path: "/shop.Orders/Get"}, n)
		if off, may := float64(got["v1"])-n*share, 6*math.Sqrt(n*share*(1-share)); math.Abs(off) > may {
			t.Errorf("%v, want %.0f and %.0f give or take %.0f", got, n*share, n*(1-share), may)
		}
	})
}

// TestEndpointsComeAndGo removes and adds endpoints under load.
func TestEndpointsComeAndGo(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	a, b, c := newBackend(t, "a"), newBackend(t, "b"), newBackend(t, "c")
	get := request{path: "/shop.Orders/Get"}
	apply := func(backends ...*meshtest.Backend) { cp.Apply("services:\n" + service("orders", backends...)) }
	apply(a, b)
	clients := bothClients(t, cp, "orders")
	var loads []*load
	for _, c := range clients {
		loads = append(loads, startLoad(t, c, get))
	}
	for range 3 {
		for _, step := range []struct {
			serve []*meshtest.Backend
			want  []string
		}{
			{[]*meshtest.Backend{a, b}, []string{"a", "b"}},
			{[]*meshtest.Backend{b}, []string{"b"}},
			{[]*meshtest.Backend{b, c}, []string{"b", "c"}},
			{[]*meshtest.Backend{c, a}, []string{"a", "c"}},
		} {
			apply(step.serve...)
			for _, c := range clients {
				c.eventually(t, get, step.want...)
			}
		}
	}
	for _, l := range loads {
		l.stop(t)
	}
}

// generations is a policy that calls go to the last of some generations by, each a
// service of its own, named after its number.
func generations(services map[int]*meshtest.Backend, last int) string {
	text := "services:\n"
	for _, n := range slices.Sorted(maps.Keys(services)) {
		text += service(fmt.Sprintf("service-%d", n), services[n])
	}
	return text + fmt.Sprintf("routes:\n  orders:\n    - {match: {headers: {x-no: {exact: '%d'}}}, to: service-%d}\n    - to: service-%d\n", last, last, last)
}

// TestPolicyReload changes routes, clusters and services under load, and restarts the
// control plane. A service stays for one policy after the last that uses it.
func TestPolicyReload(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	backends := []*meshtest.Backend{newBackend(t, "a"), newBackend(t, "b"), newBackend(t, "c")}
	get := request{path: "/shop.Orders/Get"}
	var clients []client
	var loads []*load
	before := backends[0]
	for n := range 20 {
		// apply waits until the policy is in force, in which one backend serves.
		apply := func(backend int) {
			backend %= len(backends)
			cp.Apply(generations(map[int]*meshtest.Backend{n - 1: before, n: backends[backend]}, n))
			if clients == nil {
				clients = bothClients(t, cp, "orders")
				for _, c := range clients {
					loads = append(loads, startLoad(t, c, get))
				}
			}
			for _, c := range clients {
				c.eventually(t, get, string(rune('a'+backend)))
			}
		}
		apply(n)
		if n%8 == 5 {
			cp.Kill()
			for _, l := range loads {
				l.await(50)
			}
			cp.Start()
			apply(n + 1)
		}
		before = backends[n%len(backends)]
	}
	for _, l := range loads {
		l.stop(t)
	}
}

// TestEverythingRenamed replaces the policy by one that knows none of the clusters in
// use, with the control plane there and away. By gRFC A53 grpc-go drops those at once
// and may fail calls until it has the new ones; by A88 Weft keeps them until then and
// may not.
func TestEverythingRenamed(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	backends := []*meshtest.Backend{newBackend(t, "a"), newBackend(t, "b")}
	get := request{path: "/shop.Orders/Get"}
	replace := func(n int) {
		cp.Apply(generations(map[int]*meshtest.Backend{n: backends[n%2]}, n))
	}
	replace(0)
	clients := bothClients(t, cp, "orders")
	for _, c := range clients {
		c.eventually(t, get, "a")
	}
	calls := startLoad(t, clients[1], get)
	for n := 1; n <= 10; n++ {
		if n%2 == 0 {
			cp.Kill()
			calls.await(50)
		}
		replace(n)
		cp.Start()
		for _, c := range clients {
			c.until(t, "has the new policy", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), long)
				defer cancel()
				name, _, _ := c.call(ctx, get)
				return name == string(rune('a'+n%2))
			})
		}
	}
	calls.stop(t)
}

// TestRefusedCalls compares the codes of calls that policy has no way for.
func TestRefusedCalls(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	slow := newBackend(t, "slow")
	slow.SetDelay(long)
	cp.Apply("services:\n" + service("orders", newBackend(t, "orders")) + service("slow", slow) + `
  none: {protocol: grpc, endpoints: []}
routes:
  orders:
    - {match: {path: {prefix: /shop.Orders/}}, to: orders}
    - {match: {path: {prefix: /shop.None/}}, to: none}
    - {match: {path: {prefix: /shop.Slow/}}, to: slow, timeout: 50ms}
`)
	eachClient(t, cp, "orders", func(t *testing.T, c client) {
		c.eventually(t, request{path: "/shop.Orders/Get"}, "orders")
		for path, want := range map[string]codes.Code{
			"/shop.Elsewhere/Get": codes.Unavailable, // no route
			"/shop.None/Get":      codes.Unavailable, // no endpoints
			"/shop.Slow/Get":      codes.DeadlineExceeded,
		} {
			ctx, cancel := context.WithTimeout(context.Background(), long)
			name, code, err := c.call(ctx, request{path: path})
			if code != want || ctx.Err() != nil {
				t.Errorf("%s is answered by %q with %v, want %v", path, name, err, want)
			}
			cancel()
		}
	})
}

// TestTargetRemoved removes a listener and brings it back. What a client does then is
// said in its bootstrap; Weft's default is that of gRFC A88, grpc-go's still that of A53.
func TestTargetRemoved(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	get := request{path: "/shop.Orders/Get"}
	first, last, other := newBackend(t, "first"), newBackend(t, "last"), newBackend(t, "other")
	there := func(b *meshtest.Backend) {
		cp.Apply("services:\n" + service("orders", b) + service("other", other))
	}
	there(first)
	dropping := []client{dialStock(t, cp, "orders"), dialWeft(t, cp, "orders", "fail_on_data_errors")}
	keeping := []client{dialStock(t, cp, "orders", "ignore_resource_deletion"), dialWeft(t, cp, "orders")}
	for _, c := range slices.Concat(dropping, keeping) {
		c.eventually(t, get, "first")
	}
	cp.Apply("services:\n" + service("other", other))
	for _, c := range dropping {
		c.until(t, "calls fail as the target is gone", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), long)
			defer cancel()
			_, code, err := c.call(ctx, get)
			if code != codes.OK && code != codes.Unavailable {
				t.Fatalf("%s: %v, want Unavailable", c.name, err)
			}
			return code == codes.Unavailable
		})
	}
	for _, c := range keeping {
		if got := c.answer(t, get); got != "first" {
			t.Errorf("%s: answered by %s", c.name, got)
		}
	}
	there(last)
	for _, c := range slices.Concat(dropping, keeping) {
		c.until(t, "calls succeed as the target is back", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), long)
			defer cancel()
			name, _, _ := c.call(ctx, get)
			return name == "last"
		})
	}
}
