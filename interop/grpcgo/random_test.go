package grpcgo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestRandomPolicies makes up route tables and calls, and expects Weft to send every call
// where grpc-go sends it.
func TestRandomPolicies(t *testing.T) {
	const policies, calls = 40, 60
	g := newGenerator(t)

	cp := meshtest.NewControlPlane(t)
	services := "services:\n" + service("marker", newBackend(t, "marker"))
	for _, name := range destinations {
		services += service(name, newBackend(t, name))
	}
	var clients []client
	reached := map[string]int{}
	for n := range policies {
		// The first route is of this policy alone: who goes by it has the policy.
		marker := fmt.Sprintf("/marker/%d", n)
		policy := fmt.Sprintf("%sroutes:\n  orders:\n    - {match: {path: {exact: %s}}, to: marker}\n%s", services, marker, g.routes())
		cp.Apply(policy)
		if clients == nil {
			clients = bothClients(t, cp, "orders")
		}
		for _, c := range clients {
			c.until(t, "has the policy", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), long)
				defer cancel()
				name, _, _ := c.call(ctx, request{path: marker})
				return name == "marker"
			})
		}
		for range calls {
			r := g.request()
			var names []string
			for _, c := range clients {
				ctx, cancel := context.WithTimeout(context.Background(), long)
				name, code, err := c.call(ctx, r)
				cancel()
				switch code {
				case codes.OK:
				case codes.Unavailable:
					name = "no route"
				default:
					t.Fatalf("%s: %v: %v", c.name, r, err)
				}
				names = append(names, name)
			}
			reached[names[0]]++
			if names[0] != names[1] {
				t.Fatalf("%v: %s sends it to %s, %s to %s, by\n%s",
					r, clients[0].name, names[0], clients[1].name, names[1], policy[strings.Index(policy, "routes:"):])
			}
		}
	}
	t.Logf("%d calls: %v", policies*calls, reached)
	for _, name := range append(destinations, "no route") {
		if reached[name] == 0 {
			t.Errorf("no call was sent to %s: the generator is no good", name)
		}
	}
}

var destinations = []string{"a", "b", "c"}

// generator draws from few words, so that routes and calls meet.
type generator struct{ *rand.Rand }

func (g generator) oneOf(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) path() string {
	return g.oneOf("/shop", "/Shop", "/shop.Orders", "/pay.Cards") + g.oneOf("", "/", "/Get", "/get", "/GetAll", "/List")
}

func (g generator) header() string { return g.oneOf("x-user", "x-canary", "x-Shard") }

func (g generator) value() string { return g.oneOf("1", "2", "12", "21", "-3", "a", "A", "ab", "a,b") }

// routes are the lines of a route table.
func (g generator) routes() string {
	var b strings.Builder
	for range g.IntN(12) {
		fmt.Fprintf(&b, "    - {match: {%s}, to: %s}\n", g.match(), g.oneOf(destinations...))
	}
	return b.String()
}

func (g generator) match() string {
	var parts []string
	if g.IntN(4) > 0 {
		parts = append(parts, "path: {"+g.pathMatch()+"}")
	}
	if g.IntN(2) == 0 {
		first, second := g.header(), g.header()
		headers := first + ": {" + g.headerMatch() + "}"
		if !strings.EqualFold(first, second) {
			headers += ", " + second + ": {" + g.headerMatch() + "}"
		}
		parts = append(parts, "headers: {"+headers+"}")
	}
	if g.IntN(10) == 0 {
		parts = append(parts, "query: {q: {present: true}}")
	}
	if g.IntN(10) == 0 {
		parts = append(parts, "fraction: "+g.oneOf("0%", "100%"))
	}
	return strings.Join(parts, ", ")
}

func (g generator) pathMatch() string {
	ignore := g.oneOf("", "", ", ignoreCase: true")
	switch g.IntN(5) {
	case 0:
		return "exact: " + g.path() + ignore
	case 1:
		return "regex: '" + g.oneOf("/shop.*", "/(shop|pay)[.].*/Get", ".*/[A-Z][a-z]+", "/shop", "(?i)/SHOP/.*") + "'"
	default:
		p := g.path()
		return "prefix: " + p[:1+g.IntN(len(p))] + ignore
	}
}

func (g generator) headerMatch() string {
	var m string
	ignore := true
	switch g.IntN(7) {
	case 0, 1:
		m = "exact: '" + g.value() + "'"
	case 2:
		m = "prefix: '" + g.value() + "'"
	case 3:
		m = g.oneOf("suffix", "contains") + ": '" + g.value() + "'"
	case 4:
		m, ignore = "regex: '"+g.oneOf("[0-9]+", "a.*", "[^a]", "A|1")+"'", false
	case 5:
		m, ignore = "present: "+g.oneOf("true", "false"), false
	default:
		m, ignore = fmt.Sprintf("range: {start: %d, end: %d}", -5+g.IntN(5), 1+g.IntN(20)), false
	}
	if ignore && g.IntN(4) == 0 {
		m += ", ignoreCase: true"
	}
	if g.IntN(4) == 0 {
		m += ", invert: true"
	}
	return m
}

func (g generator) request() request {
	r := request{path: g.path()}
	if !strings.Contains(r.path[1:], "/") {
		r.path += "/" // gRPC asks for a service and a method
	}
	for range g.IntN(4) {
		r.header = append(r.header, g.header(), g.value())
	}
	return r
}
