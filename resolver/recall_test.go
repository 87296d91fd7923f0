package resolver_test

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/resolver"
)

// TestRoutesOfMethodsAreRecalled calls more methods than are kept, each several times and
// with other headers, by gRPC, whose methods are kept, and by HTTP, whose paths are not.
func TestRoutesOfMethodsAreRecalled(t *testing.T) {
	const methods = 500
	rc := parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
		{"name": "of-user", "match": {"prefix": "/shop.Orders/", "headers": [{"name": "x-user", "stringMatch": {"exact": "u"}}]}, "route": {"cluster": "c"}},
		{"name": "exact", "match": {"path": "/shop.Orders/Method7"}, "route": {"cluster": "c"}},
		{"name": "folded", "match": {"prefix": "/SHOP.orders/Method8", "caseSensitive": false}, "route": {"cluster": "c"}},
		{"name": "regex", "match": {"safeRegex": {"regex": "/shop.Orders/.*9"}}, "route": {"cluster": "c"}},
		{"name": "orders", "match": {"prefix": "/shop.Orders/"}, "route": {"cluster": "c"}}]}]}`)
	table := routesTable(t, rc)
	want := func(i int, user string) string {
		switch path := fmt.Sprint(i); {
		case user == "u":
			return "of-user"
		case i == 7:
			return "exact"
		case path[0] == '8':
			return "folded"
		case path[len(path)-1] == '9':
			return "regex"
		}
		return "orders"
	}
	for range 3 {
		for i := range methods {
			for _, user := range []string{"", "u", "v"} {
				for _, grpc := range []bool{true, false} {
					r := &resolver.Request{Authority: "orders", Path: fmt.Sprintf("/shop.Orders/Method%d", i), GRPC: grpc, Headers: headers{"x-user": {user}}}
					if got := routedTo(table, r); got != want(i, user) {
						t.Fatalf("%s of user %q, gRPC %t: route %q, want %q", r.Path, user, grpc, got, want(i, user))
					}
				}
			}
		}
	}
}
