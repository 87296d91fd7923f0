package resolver_test

import (
	"fmt"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/resolver"
)

// matchTable has one route with the match, of name "yes", and then one for all
// else, of name "no".
func matchTable(t *testing.T, match string) *resolver.Table {
	t.Helper()
	return routesTable(t, parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
		{"name": "yes", "match": `+match+`, "route": {"cluster": "c"}},
		{"name": "no", "match": {"prefix": ""}, "route": {"cluster": "c"}}]}]}`))
}

func TestMatchPath(t *testing.T) {
	template := func(s string) string {
		return `{"pathMatchPolicy": {"name": "t", "typedConfig": {
			"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
			"pathTemplate": "` + s + `"}}}`
	}
	tests := []struct {
		match   string
		yes, no []string
	}{
		{`{"prefix": "/a"}`, []string{"/a", "/a/", "/ab"}, []string{"/", "/A", "", "/b/a"}},
		{`{"prefix": "/"}`, []string{"/", "/a"}, []string{"", "*"}},
		{`{"prefix": ""}`, []string{"/", "", "*"}, nil},
		{`{"prefix": "/aB", "caseSensitive": false}`, []string{"/ab", "/AB/c"}, []string{"/a"}},
		{`{"prefix": "/aB", "caseSensitive": true}`, []string{"/aB/c"}, []string{"/ab"}},
		{`{"path": "/a"}`, []string{"/a"}, []string{"/a/", "/", "/A"}},
		{`{"path": "/aB", "caseSensitive": false}`, []string{"/Ab"}, []string{"/ab/", "/a"}},
		{`{"path": ""}`, []string{""}, []string{"/"}},
		{`{"pathSeparatedPrefix": "/a/b"}`, []string{"/a/b", "/a/b/", "/a/b/c"}, []string{"/a/bc", "/a", "/A/b"}},
		{`{"pathSeparatedPrefix": "/a/B", "caseSensitive": false}`, []string{"/A/b", "/a/b/c"}, []string{"/a/bc"}},
		{`{"safeRegex": {"regex": "/a/[0-9]+"}}`, []string{"/a/1", "/a/12"}, []string{"/a/", "/a/1/", "/b/a/1"}},
		{`{"safeRegex": {"regex": "/a|/b"}}`, []string{"/a", "/b"}, []string{"/ab", "/a/"}},
		{`{"safeRegex": {"regex": "^/a/.*$"}}`, []string{"/a/", "/a/b"}, []string{"/a"}},
		{`{"safeRegex": {"regex": "(?i)/a.*"}}`, []string{"/A", "/ab"}, []string{"/b"}},
		{`{"safeRegex": {"regex": "(/a)+/b"}}`, []string{"/a/b", "/a/a/b"}, []string{"/b"}},
		{`{"safeRegex": {"regex": "/a(/b)?"}}`, []string{"/a", "/a/b"}, []string{"/b"}},
		{template("/a/*/c"), []string{"/a/b/c"}, []string{"/a//c", "/a/b/d/c", "/a/b/c/d"}},
		{template("/a/**"), []string{"/a/", "/a/b/c"}, []string{"/a", "/b"}},
		{template("/v/*/*.m4s"), []string{"/v/x/y.m4s"}, []string{"/v/x.m4s", "/v/x/y.mp4"}},
		{template("/**.mpd"), []string{"/a/b.mpd", "/.mpd"}, []string{"/a/b"}},
		{template("/a/{x}/{y=b/*}"), []string{"/a/1/b/2"}, []string{"/a/1/2", "/a/1/b/2/3"}},
		{template("/api/v{version}/users/{id}.json"), []string{"/api/v2/users/456.json"}, []string{"/api/2/users/456.json", "/api/v2/users/456"}},
		{template("/a/{rest=**}"), []string{"/a/b/c"}, []string{"/ab"}},
		{`{"connectMatcher": {}}`, nil, []string{"/", ""}},
	}
	for _, test := range tests {
		table := matchTable(t, test.match)
		check := func(paths []string, want string) {
			for _, path := range paths {
				if got := routedTo(table, &resolver.Request{Path: path}); got != want {
					t.Errorf("%s: path %q: %s, want %s", test.match, path, got, want)
				}
			}
		}
		check(test.yes, "yes")
		check(test.no, "no")
	}
}

func TestConnect(t *testing.T) {
	table := matchTable(t, `{"connectMatcher": {}}`)
	if got := routedTo(table, &resolver.Request{Method: "CONNECT"}); got != "yes" {
		t.Error(got)
	}
}

func TestPathParameters(t *testing.T) {
	rc := parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "ignorePathParametersInPathMatching": true,
		"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [{"name": "yes", "match": {"path": "/a"}, "route": {"cluster": "c"}}]}]}`)
	if got := routedTo(routesTable(t, rc), &resolver.Request{Path: "/a;v=1"}); got != "yes" {
		t.Error(got)
	}
	rc.IgnorePathParametersInPathMatching = false
	if got := routedTo(routesTable(t, rc), &resolver.Request{Path: "/a;v=1"}); !strings.HasPrefix(got, "error") {
		t.Error(got)
	}
}

func TestMatchHeaders(t *testing.T) {
	get := func(values ...string) *resolver.Request {
		return &resolver.Request{Path: "/", Headers: headers{"X-A": values}}
	}
	none := &resolver.Request{Path: "/"}
	grpc := func(name string, values ...string) *resolver.Request {
		return &resolver.Request{Path: "/s/m", GRPC: true, Headers: headers{name: values}}
	}
	type requests []*resolver.Request
	tests := []struct {
		header  string
		yes, no requests
	}{
		{`{"name": "x-a", "exactMatch": "v"}`, requests{get("v"), get("v", "w"), get("w", "v")}, requests{get("V"), get("u", "w"), none}},
		{`{"name": "X-a", "exactMatch": "v,w"}`, requests{get("v,w")}, requests{get("v"), get("v", "w")}},
		{`{"name": "x-a", "exactMatch": ""}`, requests{get("v"), get("")}, requests{none}},
		{`{"name": "x-a", "stringMatch": {"exact": ""}}`, requests{get("")}, requests{get("v"), none}},
		{`{"name": "x-a", "exactMatch": "v", "invertMatch": true}`, requests{get("w"), get("u", "w")}, requests{get("v"), get("w", "v"), none}},
		{`{"name": "x-a", "exactMatch": "v", "invertMatch": true, "treatMissingHeaderAsEmpty": true}`, requests{get("w"), none}, requests{get("v")}},
		{`{"name": "x-a", "prefixMatch": "v"}`, requests{get("vw")}, requests{get("wv"), none}},
		{`{"name": "x-a", "suffixMatch": "v"}`, requests{get("wv")}, requests{get("vw"), none}},
		{`{"name": "x-a", "containsMatch": "v"}`, requests{get("wvw")}, requests{get("w"), none}},
		{`{"name": "x-a", "safeRegexMatch": {"regex": "v+"}}`, requests{get("vv")}, requests{get("vw"), none}},
		{`{"name": "x-a", "stringMatch": {"safeRegex": {"regex": "^$"}}, "treatMissingHeaderAsEmpty": true}`, requests{get(""), none}, requests{get("v")}},
		{`{"name": "x-a", "stringMatch": {"exact": "V", "ignoreCase": true}}`, requests{get("v"), get("V")}, requests{get("w")}},
		{`{"name": "x-a", "rangeMatch": {"start": -10, "end": 0}}`, requests{get("-10"), get("-1")}, requests{get("0"), get("x"), get("-1.5"), none}},
		{`{"name": "x-a", "rangeMatch": {"start": 0, "end": 10}, "invertMatch": true}`, requests{get("10"), get("x")}, requests{get("0"), none}},
		{`{"name": "x-a", "rangeMatch": {"start": 0, "end": 10}, "invertMatch": true, "treatMissingHeaderAsEmpty": true}`, requests{none}, requests{get("0")}},
		{`{"name": "x-a"}`, requests{get("v"), get("")}, requests{none}},
		{`{"name": "x-a", "presentMatch": true}`, requests{get("v")}, requests{none}},
		{`{"name": "x-a", "presentMatch": false}`, requests{none}, requests{get("v")}},
		{`{"name": "x-a", "presentMatch": true, "invertMatch": true}`, requests{none}, requests{get("v")}},
		{`{"name": "x-a", "presentMatch": false, "invertMatch": true}`, requests{get("v")}, requests{none}},
		{`{"name": ":method", "exactMatch": "POST"}`, requests{{Path: "/", Method: "POST"}, grpc("x")}, requests{none}},
		{`{"name": ":method", "exactMatch": "GET"}`, requests{none}, requests{{Path: "/", Method: "HEAD"}}},
		{`{"name": ":path", "exactMatch": "/p?q=1"}`, requests{{Path: "/p", RawQuery: "q=1"}}, requests{{Path: "/p"}}},
		{`{"name": ":authority", "exactMatch": "h:1"}`, requests{{Path: "/", Authority: "h:1"}}, requests{{Path: "/", Authority: "h"}}},
		{`{"name": "Host", "exactMatch": "h"}`, requests{{Path: "/", Authority: "h"}}, requests{none}},
		{`{"name": ":scheme", "exactMatch": "https"}`, requests{{Path: "/", Scheme: "https"}}, requests{none}},
		// gRFC A28
		{`{"name": "x-bin", "presentMatch": true}`, requests{{Path: "/", Headers: headers{"X-Bin": {"v"}}}}, requests{grpc("x-bin", "v")}},
		{`{"name": "content-type", "exactMatch": "application/grpc"}`, requests{grpc("content-type", "other")}, requests{none}},
		{`{"name": "x-a", "exactMatch": "v"}`, requests{grpc("x-a", "v")}, requests{grpc("x-a", "w"), grpc("x-a", "v", "w")}},
		{`{"name": "x-a", "exactMatch": "v,w"}`, requests{grpc("x-a", "v", "w")}, requests{grpc("x-a", "w")}},
	}
	for _, test := range tests {
		table := matchTable(t, `{"prefix": "/", "headers": [`+test.header+`]}`)
		check := func(list requests, want string) {
			for _, r := range list {
				if got := routedTo(table, r); got != want {
					t.Errorf("%s: %+v: %s, want %s", test.header, r, got, want)
				}
			}
		}
		check(test.yes, "yes")
		check(test.no, "no")
	}
}

func TestMatchTheRest(t *testing.T) {
	type requests []*resolver.Request
	query := func(q string) *resolver.Request { return &resolver.Request{Path: "/", RawQuery: q} }
	header := func(name, value string) *resolver.Request {
		return &resolver.Request{Path: "/", Headers: headers{name: {value}}}
	}
	grpc := &resolver.Request{Path: "/s/m", GRPC: true}
	tests := []struct {
		match   string
		yes, no requests
	}{
		{`{"prefix": "/", "queryParameters": [{"name": "a"}]}`, requests{query("a"), query("a=1"), query("b&a")}, requests{query("b=a"), query(""), grpc}},
		{`{"prefix": "/", "queryParameters": [{"name": "a", "presentMatch": false}]}`, requests{query("")}, requests{query("a"), grpc}},
		{`{"prefix": "/", "queryParameters": [{"name": "a", "stringMatch": {"exact": "1"}}]}`, requests{query("a=1"), query("a=1&a=2")}, requests{query("a=2&a=1"), query("a"), query("")}},
		{`{"prefix": "/", "queryParameters": [{"name": "a", "stringMatch": {"exact": "%31"}}]}`, requests{query("a=%31")}, requests{query("a=1")}},
		{`{"prefix": "/", "cookies": [{"name": "a", "stringMatch": {"exact": "1"}}]}`, requests{header("Cookie", "b=2; a=1"), header("Cookie", `a="1"`)}, requests{header("Cookie", "a=2"), query("")}},
		{`{"prefix": "/", "cookies": [{"name": "a", "stringMatch": {"exact": "1"}, "invertMatch": true}]}`, requests{header("Cookie", "a=2"), query("")}, requests{header("Cookie", "a=1")}},
		{`{"prefix": "/", "grpc": {}}`, requests{grpc, header("Content-Type", "application/grpc"), header("Content-Type", "application/grpc+proto")}, requests{query(""), header("Content-Type", "application/grpc-web")}},
		{`{"prefix": "/", "tlsContext": {"presented": true}}`, requests{grpc}, requests{query("")}},
		{`{"prefix": "/", "tlsContext": {"presented": false}}`, requests{grpc, query("")}, nil},
		{`{"prefix": "/", "runtimeFraction": {"defaultValue": {"numerator": 100}}}`, requests{grpc, query("")}, nil},
		{`{"prefix": "/", "runtimeFraction": {"defaultValue": {"numerator": 2000000, "denominator": "MILLION"}}}`, requests{grpc}, nil},
		{`{"prefix": "/", "runtimeFraction": {"defaultValue": {"numerator": 0}, "runtimeKey": "k"}}`, nil, requests{grpc, query("")}},
	}
	for _, test := range tests {
		table := matchTable(t, test.match)
		check := func(list requests, want string) {
			for _, r := range list {
				if got := routedTo(table, r); got != want {
					t.Errorf("%s: %+v: %s, want %s", test.match, r, got, want)
				}
			}
		}
		check(test.yes, "yes")
		check(test.no, "no")
	}
}

func TestRuntimeFractionTakesItsShare(t *testing.T) {
	for denominator, of := range map[string]int{"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000} {
		table := matchTable(t, fmt.Sprintf(`{"prefix": "/", "runtimeFraction": {"defaultValue": {"numerator": %d, "denominator": %q}}}`, of/4, denominator))
		const n = 100_000
		taken := 0
		for i := range n {
			path := "/" + string(rune('a'+i%26)) // a share of each
			if routedTo(table, &resolver.Request{Path: path}) == "yes" {
				taken++
			}
		}
		// 25,000 ± 137 is one standard deviation: this fails once in 10^22 runs.
		if taken < 23_650 || taken > 26_350 {
			t.Errorf("%s: took %d of %d, want a quarter", denominator, taken, n)
		}
	}
}

func TestVirtualHosts(t *testing.T) {
	rc := parse(t, &routev3.RouteConfiguration{}, `{"name": "r"}`)
	for _, domain := range []string{"a.com", "A.com:80", "*.b.com", "*-x.b.com", "*.c.b.com", "d.*", "d.e.*", "f*.g", "[::1]:8080", "[::2]", "*"} {
		rc.VirtualHosts = append(rc.VirtualHosts, parse(t, &routev3.VirtualHost{}, `{"name": "`+domain+`", "domains": ["`+domain+`"],
			"routes": [{"name": "`+domain+`", "match": {"prefix": "/"}, "route": {"cluster": "c"}}]}`))
	}
	tests := []struct{ authority, want, ignorePort string }{
		{"a.com", "a.com", "a.com"},
		{"A.COM", "a.com", "a.com"},
		{"a.com:80", "A.com:80", "a.com"},
		{"a.com:81", "*", "a.com"},
		{"x.b.com", "*.b.com", "*.b.com"},
		{"X.B.com", "*.b.com", "*.b.com"},
		{".b.com", "*", "*"},
		{"b.com", "*", "*"},
		{"y-x.b.com", "*-x.b.com", "*-x.b.com"}, // the longest
		{"y.c.b.com", "*.c.b.com", "*.c.b.com"},
		{"x.b.com:1", "*", "*.b.com"},
		{"d.b.com", "*.b.com", "*.b.com"}, // suffixes first
		{"d.x", "d.*", "d.*"},
		{"d.e.x", "d.e.*", "d.e.*"},
		{"d.", "*", "*"},
		{"d.x:1", "d.*", "d.*"},
		{"f*.g", "f*.g", "f*.g"},
		{"fx.g", "*", "*"},
		{"[::1]:8080", "[::1]:8080", "*"},
		{"[::2]:8080", "*", "[::2]"},
		{"::2", "*", "*"},
		{"", "*", "*"},
	}
	strict := routesTable(t, rc)
	rc.IgnorePortInHostMatching = true
	lax := routesTable(t, rc)
	for _, test := range tests {
		r := &resolver.Request{Authority: test.authority, Path: "/"}
		if got := routedTo(strict, r); got != test.want {
			t.Errorf("%q: %s, want %s", test.authority, got, test.want)
		}
		if got := routedTo(lax, r); got != test.ignorePort {
			t.Errorf("%q, ports ignored: %s, want %s", test.authority, got, test.ignorePort)
		}
	}
}

func TestNoRoute(t *testing.T) {
	table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"name": "h", "domains": ["h"], "routes": [
		{"match": {"path": "/a"}, "route": {"cluster": "c"}}]}]}`))
	_, err := table.Route(&resolver.Request{Authority: "h", Path: "/b", Method: "PUT"})
	wantError(t, err, resolver.ErrNoRoute.Error(), `virtual host "h"`, `route configuration "r"`, "PUT /b", "table 1")
	_, err = table.Route(&resolver.Request{Authority: "x", Path: "/a"})
	wantError(t, err, resolver.ErrNoRoute.Error(), `route configuration "r"`, `"x"`)
}
