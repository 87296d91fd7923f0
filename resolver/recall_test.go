package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/resolver"
)

// TestRoutesOfPathsAreRecalled asks for more paths than are kept, from several goroutines,
// each several times and with other headers.
func TestRoutesOfPathsAreRecalled(t *testing.T) {
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
	var asking sync.WaitGroup
	for _, kind := range []resolver.Request{{GRPC: true}, {}, {Unescaped: true}} {
		asking.Go(func() {
			for n := range 3 * methods {
				for _, user := range []string{"", "u", "v"} {
					i, r := n%methods, kind
					r.Path, r.Headers = fmt.Sprintf("/shop.Orders/Method%d", i), headers{"x-user": {user}}
					if got := routedTo(table, &r); got != want(i, user) {
						t.Errorf("%s of user %q, %+v: route %q, want %q", r.Path, user, kind, got, want(i, user))
					}
				}
			}
		})
	}
	asking.Wait()
}

// TestPathsAreNotAllThatCounts asks for one path again and again in ways of which a route
// takes one and leaves the other to the next.
func TestPathsAreNotAllThatCounts(t *testing.T) {
	request := func(r resolver.Request) resolver.Request {
		r.Path = "/p"
		return r
	}
	http, grpc := request(resolver.Request{}), request(resolver.Request{GRPC: true})
	for _, test := range []struct {
		match   string
		yes, no resolver.Request
	}{
		{`{"prefix": "/", "grpc": {}}`, grpc, http},
		{`{"prefix": "/", "grpc": {}}`, request(resolver.Request{Headers: headers{"content-type": {"application/grpc"}}}), http},
		{`{"prefix": "/", "tlsContext": {"presented": true}}`, grpc, http},
		{`{"path": "/p", "queryParameters": [{"name": "q"}]}`, request(resolver.Request{RawQuery: "q"}), http},
		{`{"path": "/p", "queryParameters": [{"name": "q"}]}`, request(resolver.Request{RawQuery: "q"}), grpc},
		{`{"prefix": "/", "headers": [{"name": ":method", "stringMatch": {"exact": "PUT"}}]}`, request(resolver.Request{Method: "PUT"}), http},
		{`{"prefix": "/", "headers": [{"name": ":path", "stringMatch": {"exact": "/p?q"}}]}`, request(resolver.Request{RawQuery: "q"}), http},
		{`{"prefix": "/", "cookies": [{"name": "c", "stringMatch": {"exact": "v"}}]}`, request(resolver.Request{Headers: headers{"cookie": {"c=v"}}}), http},
		{`{"connectMatcher": {}}`, request(resolver.Request{Method: "CONNECT"}), http},
	} {
		table := matchTable(t, test.match)
		for range 3 {
			yes, no := test.yes, test.no
			if got := routedTo(table, &yes); got != "yes" {
				t.Errorf("%s, %+v: route %q, want yes", test.match, test.yes, got)
			}
			if got := routedTo(table, &no); got != "no" {
				t.Errorf("%s, %+v: route %q, want no", test.match, test.no, got)
			}
		}
	}
}

// TestRouteEscapesPaths asks for paths of each byte, escaped and not, by turns: what looks
// the same in both forms may be different paths.
func TestRouteEscapesPaths(t *testing.T) {
	paths := []string{"/a b", "/a%20b", "/a%2520b", "*"}
	for c := range 256 {
		paths = append(paths, "/a"+string([]byte{byte(c)})+"b")
	}
	for _, path := range paths {
		escaped := (&url.URL{Path: path}).EscapedPath()
		rc := &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{Name: "h", Domains: []string{"*"}, Routes: []*routev3.Route{
			{Name: "escaped", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: escaped}}, Action: routeTo("c")},
			{Name: "other", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}}, Action: routeTo("c")},
		}}}}
		for _, ignoreParams := range []bool{false, true} {
			rc.IgnorePathParametersInPathMatching = ignoreParams
			table := routesTable(t, rc)
			asIs := routedTo(routesTable(t, rc), &resolver.Request{Path: path})
			want := routedTo(routesTable(t, rc), &resolver.Request{Path: escaped})
			for range 2 {
				r := resolver.Request{Path: path, Unescaped: true}
				if got := routedTo(table, &r); got != want || r.Path != escaped || r.Unescaped {
					t.Errorf("%q unescaped: route %q and path %q, want %q and %q", path, got, r.Path, want, escaped)
				}
				r = resolver.Request{Path: path}
				if got := routedTo(table, &r); got != asIs || r.Path != path {
					t.Errorf("%q: route %q and path %q, want %q and the same", path, got, r.Path, asIs)
				}
			}
		}
	}
}

// TestNothingIsRecalledOfOldTables asks for paths by one table, and then by those that
// policy changes it to.
func TestNothingIsRecalledOfOldTables(t *testing.T) {
	to := func(route string) *routev3.RouteConfiguration {
		return parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
			{"name": "`+route+`", "match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]}`)
	}
	s := newStatic(t, to("0"), staticCluster("c"))
	target := newResolver(t, s).Target(resolver.TargetName{RouteConfig: "r"})
	t.Cleanup(target.Release)
	tables := make(chan *resolver.Table, 1)
	target.Subscribe(func(t *resolver.Table) { tables <- t })
	for n := range 5 {
		table, want := <-tables, fmt.Sprint(n)
		for i := range 300 {
			for range 2 {
				r := resolver.Request{Path: fmt.Sprintf("/%d", i), GRPC: i%2 == 0}
				if got := routedTo(table, &r); got != want {
					t.Fatalf("%s: route %q, want %q", r.Path, got, want)
				}
			}
		}
		if err := s.Set(resources(to(fmt.Sprint(n+1)), staticCluster("c"))); err != nil {
			t.Fatal(err)
		}
	}
	<-tables
}

// TestNewPathsAllocateNothing asks for ever new paths.
func TestNewPathsAllocateNothing(t *testing.T) {
	table := routesTable(t, largeRoutes(t, 100, benchRoutes["prefix"]))
	paths := make([]string, 20_000)
	for i := range paths {
		paths[i] = fmt.Sprintf("/shop.v1.Orders0/%d", i)
	}
	next := 0
	if n := testing.AllocsPerRun(len(paths)-1, func() {
		r := resolver.Request{Authority: "orders.example", Path: paths[next], Unescaped: true}
		next++
		if _, err := table.Route(&r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Route allocates %v times", n)
	}
}

// TestRequestsAreUsedAgain has one Request serve call after call, of paths, headers and tables
// in any order: what Again says is what Route says of a new one.
func TestRequestsAreUsedAgain(t *testing.T) {
	tables := make([]*resolver.Table, 0, 3)
	const more = `, {"name": "more", "domains": ["more"], "routes": [{"name": "more", "match": {"prefix": "/"}, "route": {"cluster": "c"}}]}`
	for _, others := range []string{"", "", more} { // where hosts differ, the path is not enough
		rc := parse(t, &routev3.RouteConfiguration{}, fmt.Sprintf(`{"name": "r", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
			{"name": "user-1", "match": {"path": "/keyed", "headers": [{"name": "x-user", "stringMatch": {"exact": "1"}}]}, "route": {"cluster": "c"}},
			{"name": "user-2", "match": {"path": "/keyed", "headers": [{"name": "x-user", "stringMatch": {"exact": "2"}}]}, "route": {"cluster": "c"}},
			{"name": "user-3", "match": {"path": "/keyed", "headers": [{"name": "x-user", "stringMatch": {"exact": "3"}}]}, "route": {"cluster": "c"}},
			{"name": "user-4", "match": {"path": "/keyed", "headers": [{"name": "x-user", "stringMatch": {"exact": "4"}}]}, "route": {"cluster": "c"}},
			{"name": "not-1", "match": {"path": "/listed", "headers": [{"name": "x-user", "stringMatch": {"exact": "1"}, "invertMatch": true, "treatMissingHeaderAsEmpty": true}]}, "route": {"cluster": "c"}},
			{"name": "both-1", "match": {"path": "/both", "headers": [{"name": "x-user", "stringMatch": {"exact": "1"}}]}, "route": {"cluster": "c"}},
			{"name": "both-2", "match": {"path": "/both", "headers": [{"name": "x-user", "stringMatch": {"exact": "2"}}]}, "route": {"cluster": "c"}},
			{"name": "both-3", "match": {"path": "/both", "headers": [{"name": "x-user", "stringMatch": {"exact": "3"}}]}, "route": {"cluster": "c"}},
			{"name": "both-4", "match": {"path": "/both", "headers": [{"name": "x-user", "stringMatch": {"exact": "4"}}]}, "route": {"cluster": "c"}},
			{"name": "both", "match": {"path": "/both", "headers": [{"name": "x-other", "presentMatch": true}]}, "route": {"cluster": "c"}},
			{"name": "http", "match": {"path": "/rewritten"}, "route": {"cluster": "c", "hostRewrite": "%%DOWNSTREAM_LOCAL_ADDRESS%%"}},
			{"name": "exact-%[1]d", "match": {"path": "/exact"}, "route": {"cluster": "c"}},
			{"name": "rest-%[1]d", "match": {"prefix": "/"}, "route": {"cluster": "c"}}]}%[2]s]}`, len(tables), others))
		tables = append(tables, routesTable(t, rc))
	}
	said := 0
	var used resolver.Request
	for range 20_000 {
		table := tables[rand.IntN(len(tables))]
		fresh := resolver.Request{
			Path:      []string{"/keyed", "/listed", "/both", "/rewritten", "/exact", "/a b", "/x"}[rand.IntN(7)],
			Authority: []string{"one", "other", "more"}[rand.IntN(3)],
			GRPC:      rand.IntN(2) == 0,
			Unescaped: rand.IntN(2) == 0,
		}
		if rand.IntN(2) == 0 {
			fresh.Headers = headers{[]string{"x-user", "x-other"}[rand.IntN(2)]: {fmt.Sprint(rand.IntN(6))}}
		}
		used.Path, used.Authority, used.Headers = fresh.Path, fresh.Authority, fresh.Headers
		used.GRPC, used.Unescaped = fresh.GRPC, fresh.Unescaped
		again := table.Again(&used)
		want, wantErr := table.Route(&fresh)
		if used.Heeds() && used.HasHeeded() {
			again = nil
		}
		if again != nil {
			said++
			if again != want || used.Path != fresh.Path {
				t.Fatalf("again %v of %+v, want %v, %v", again, used, want, wantErr)
			}
			continue
		}
		if got, err := table.Route(&used); got != want || (err == nil) != (wantErr == nil) || err == nil && used.Path != fresh.Path {
			t.Fatalf("%v, %v of %+v, want %v, %v", got, err, used, want, wantErr)
		}
	}
	if said < 100 {
		t.Errorf("%d of 20,000 are known from the last time", said)
	}
}
