package resolver_test

import (
	"math/bits"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resolver"
)

// hashing is a route that has this hash policy.
func hashing(t testing.TB, policy string) *resolver.Route {
	t.Helper()
	table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"domains": ["*"], "routes": [
		{"match": {"prefix": "/"}, "route": {"cluster": "c", "hashPolicy": [`+policy+`]}}]}]}`))
	route, err := table.Route(&resolver.Request{Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return route
}

type header map[string][]string

func (h header) Values(n *resolver.HeaderName) []string { return h[n.Lower] }

func TestHash(t *testing.T) {
	sum := func(s string) uint64 { return xxhash.Sum64String(s) }
	seeded := func(s string, seed uint64) uint64 {
		d := xxhash.NewWithSeed(seed)
		_, _ = d.WriteString(s)
		return d.Sum64()
	}
	const (
		xUser = `{"header": {"headerName": "X-User"}}`
		q     = `{"queryParameter": {"name": "q"}}`
	)
	http := func(query string, h header) resolver.Request {
		return resolver.Request{Path: "/p", RawQuery: query, Headers: h}
	}
	grpc := func(h header) resolver.Request { return resolver.Request{Path: "/p", GRPC: true, Headers: h} }
	user := header{"x-user": {"ann"}}
	for _, test := range []struct {
		name, policy string
		request      resolver.Request
		want         uint64
		ok           bool
	}{
		// The published digest of XXH64 for this text and seed 0.
		{"published", xUser, http("", header{"x-user": {"abc"}}), 0x44bc2cf5ad770999, true},
		{"header", xUser, http("", user), sum("ann"), true},
		{"header, gRPC", xUser, grpc(user), sum("ann"), true},
		{"no header", xUser, http("", nil), 0, false},
		{"empty header", xUser, http("", header{"x-user": {""}}), sum(""), true},
		{"path", `{"header": {"headerName": ":path"}}`, http("a=b", nil), sum("/p?a=b"), true},
		{"binary header, gRPC", `{"header": {"headerName": "x-bin"}}`, grpc(header{"x-bin": {"v"}}), 0, false},
		{"several values", xUser, http("", header{"x-user": {"b", "a"}}), seeded("b", sum("a")), true},
		{"several values, gRPC", xUser, grpc(header{"x-user": {"b", "a"}}), sum("b,a"), true},
		{"rewrite", `{"header": {"headerName": "x-user", "regexRewrite": {"pattern": {"regex": "^(\\w+)/(\\w+)$"}, "substitution": "\\2$\\\\\\1"}}}`,
			http("", header{"x-user": {"a/b"}}), sum(`b$\a`), true},
		{"rewrite of several", `{"header": {"headerName": "x-user", "regexRewrite": {"pattern": {"regex": "[0-9]"}, "substitution": ""}}}`,
			http("", header{"x-user": {"9a", "1b"}}), seeded("b", sum("a")), true},
		{"query", q, http("x=1&q=v%20w&q=2", nil), sum("v%20w"), true},
		{"no query", q, http("x=1", nil), 0, false},
		{"cookie", `{"cookie": {"name": "c"}}`, http("", header{"cookie": {`a=1; c="v"`}}), sum("v"), true},
		{"no cookie", `{"cookie": {"name": "c"}}`, http("", nil), 0, false},
		{"cookie, gRPC", `{"cookie": {"name": "c", "ttl": "9s"}}`, grpc(header{"cookie": {"c=v"}}), 0, false},
		{"channel", `{"filterState": {"key": "io.grpc.channel_id"}}`, grpc(nil), 77, true},
		{"other state", `{"filterState": {"key": "x"}}`, grpc(nil), 0, false},
		{"source address", `{"connectionProperties": {"sourceIp": true}}`, http("", nil), 0, false},
		{"of the future", `{}`, http("", nil), 0, false},
		{"combined", xUser + "," + q, http("q=v", user), bits.RotateLeft64(sum("ann"), 1) ^ sum("v"), true},
		{"the same twice", xUser + "," + xUser, http("", user), bits.RotateLeft64(sum("ann"), 1) ^ sum("ann"), true},
		{"one is missing", xUser + "," + q, http("q=v", nil), sum("v"), true},
		{"terminal", strings.Replace(xUser, "{", `{"terminal": true, `, 1) + "," + q, http("q=v", user), sum("ann"), true},
		{"terminal without a hash", strings.Replace(xUser, "{", `{"terminal": true, `, 1) + "," + q, http("q=v", nil), sum("v"), true},
		// Envoy ends at a terminal rule when any rule before it gave a hash.
		{"terminal after a hash", q + "," + strings.Replace(xUser, "{", `{"terminal": true, `, 1) + "," + q, http("q=v", nil), sum("v"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok, cookie := hashing(t, test.policy).Hash(&test.request, 77)
			if got != test.want || ok != test.ok || cookie != "" {
				t.Errorf("Hash = %#x, %v, %q; want %#x, %v and no cookie", got, ok, cookie, test.want, test.ok)
			}
		})
	}
}

func TestHashGeneratesCookie(t *testing.T) {
	r := hashing(t, `{"cookie": {"name": "c", "ttl": "90.5s", "path": "/p", "attributes": [{"name": "SameSite", "value": "Strict"}, {"name": "Secure"}]}}`)
	hash, ok, set := r.Hash(&resolver.Request{Path: "/"}, 1)
	value, rest, _ := strings.Cut(strings.TrimPrefix(set, `c="`), `"`)
	if diff := cmp.Diff("; Max-Age=90; Path=/p; SameSite=Strict; Secure; HttpOnly", rest); diff != "" || !ok {
		t.Fatalf("ok = %v; attributes (-want +got):\n%s", ok, diff)
	}
	again, _, set := r.Hash(&resolver.Request{Path: "/", Headers: header{"cookie": {`c="` + value + `"`}}}, 1)
	if again != hash || set != "" {
		t.Errorf("with the cookie the hash is %#x and another is set: %q; want %#x", again, set, hash)
	}
	if other, _, _ := r.Hash(&resolver.Request{Path: "/"}, 1); other == hash {
		t.Error("two clients got the same cookie")
	}
	r = hashing(t, `{"cookie": {"name": "c", "ttl": "0s"}}`)
	if _, _, set := r.Hash(&resolver.Request{Path: "/"}, 1); !strings.HasSuffix(set, `"; HttpOnly`) {
		t.Errorf("a cookie for as long as the client runs is %s", set)
	}
}

func TestRefusedHashPolicies(t *testing.T) {
	const at = "virtual_hosts[0].routes[0].route.hash_policy[0]."
	for policy, texts := range map[string][]string{
		`{"header": {}}`:                                        {at + "header.header_name:", "empty"},
		`{"queryParameter": {}}`:                                {at + "query_parameter.name:", "empty"},
		`{"cookie": {}}`:                                        {at + "cookie.name:", "not the name"},
		`{"cookie": {"name": "a b"}}`:                           {at + "cookie.name:", "a b"},
		`{"cookie": {"name": "a", "ttl": "-1s"}}`:               {at + "cookie.ttl:", "negative"},
		`{"cookie": {"name": "a", "ttl": "1s", "path": "/\n"}}`: {at + "cookie:", "characters"},
		`{"header": {"headerName": "x", "regexRewrite": {"pattern": {"regex": "("}}}}`:                          {at + "header.regex_rewrite.pattern.regex:"},
		`{"header": {"headerName": "x", "regexRewrite": {"pattern": {"regex": "(a)"}, "substitution": "\\2"}}}`: {at + "header.regex_rewrite.substitution:", "1 groups"},
		`{"header": {"headerName": "x", "regexRewrite": {"pattern": {"regex": "a"}, "substitution": "\\"}}}`:    {at + "header.regex_rewrite.substitution:", "backslash"},
	} {
		_, err := decode(t, parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"domains": ["*"], "routes": [
			{"match": {"prefix": "/"}, "route": {"cluster": "c", "hashPolicy": [`+policy+`]}}]}]}`))
		wantError(t, err, texts...)
	}
}

func TestHashDoesNotAllocate(t *testing.T) {
	r := hashing(t, `{"header": {"headerName": "x-user"}}, {"cookie": {"name": "c"}}, {"queryParameter": {"name": "q"}}`)
	req := &resolver.Request{Path: "/", RawQuery: "q=v", Headers: header{"x-user": {"ann"}, "cookie": {"c=d"}}}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = r.Hash(req, 1) }); n != 0 {
		t.Errorf("Hash allocates %v times", n)
	}
}
