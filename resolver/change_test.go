package resolver_test

import (
	"maps"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/resolver"
)

func (h headers) Set(n *resolver.HeaderName, value string) { h[n.Lower] = []string{value} }
func (h headers) Add(n *resolver.HeaderName, value string) { h[n.Lower] = append(h[n.Lower], value) }
func (h headers) Del(n *resolver.HeaderName)               { delete(h, n.Lower) }
func (h headers) DelFunc(del func(string) bool) {
	maps.DeleteFunc(h, func(name string, _ []string) bool { return del(strings.ToLower(name)) })
}

// changingRoutes are routes that change calls, or answer them.
var changingRoutes = []string{
	`{"match": {"prefix": "/a"}, "requestHeadersToAdd": [{"header": {"key": "x", "value": "%REQ(x?:path):3%%%"}}],
		"responseHeadersToRemove": ["x"], "route": {"cluster": "c", "prefixRewrite": "/b"}}`,
	`{"match": {"prefix": "/"}, "route": {"cluster": "c", "regexRewrite": {"pattern": {"regex": "(a)|b"}, "substitution": "\\1$1\\\\"}, "hostRewriteHeader": "x"}}`,
	`{"match": {"path": "/a/b"}, "route": {"cluster": "c", "pathRewrite": "/%REQ(x)%", "hostRewritePathRegex": {"pattern": {"regex": "/(.*)"}, "substitution": "\\1"}}}`,
	`{"match": {"prefix": "/"}, "redirect": {"portRedirect": 1, "prefixRewrite": "/x", "stripQuery": true}}`,
	`{"match": {"prefix": "/"}, "redirect": {"pathRewrite": "/%ROUTE_NAME%%UPSTREAM_CLUSTER%"}}`,
	`{"match": {"prefix": "/"}, "directResponse": {"status": 200, "body": {"inlineBytes": "AAA="}}}`,
}

// What Envoy refuses is refused, with the field that is wrong.
func TestBadChanges(t *testing.T) {
	route := func(s string) string { return `{"match": {"prefix": "/"}, "route": {"cluster": "c", ` + s + `}}` }
	header := func(s string) string {
		return `{"match": {"prefix": "/"}, "route": {"cluster": "c"}, "requestHeadersToAdd": [` + s + `]}`
	}
	for json, want := range map[string]string{
		header(`{"header": {"key": ":path", "value": "/"}}`):                                                                           "routes[0].request_headers_to_add[0].header.key: ",
		header(`{"header": {"key": "Host", "value": "a"}}`):                                                                            "header.key: host",
		header(`{"header": {"key": "x y", "value": "a"}}`):                                                                             "header.key: ",
		header(`{"header": {"key": "x", "value": "100% a"}}`):                                                                          "header.value: bad format",
		header(`{"header": {"key": "x", "value": "%REQ()%"}}`):                                                                         "names no header",
		header(`{"header": {"key": "x", "value": "a\r\nb"}}`):                                                                          "line break",
		header(`{"header": {"key": "x", "value": "a", "rawValue": "YQ=="}}`):                                                           "both value and raw_value",
		header(`{"header": {"key": "x"}, "append": true, "appendAction": 1}`):                                                          "append: must not stand beside append_action",
		header(`{"header": {"key": "x"}, "appendAction": 9}`):                                                                          "append_action: unknown value 9",
		`{"match": {"prefix": "/"}, "route": {"cluster": "c"}, "responseHeadersToRemove": ["host"]}`:                                   "response_headers_to_remove[0]: host",
		route(`"prefixRewrite": "/a", "pathRewrite": "/b"`):                                                                            "only one of",
		route(`"regexRewrite": {"pattern": {"regex": "("}}`):                                                                           "regex_rewrite.pattern.regex: ",
		route(`"regexRewrite": {"pattern": {"regex": "a"}, "substitution": "\\1"}`):                                                    "regex_rewrite.substitution: \\1: the pattern has 0 groups",
		route(`"regexRewrite": {"pattern": {"regex": "a"}, "substitution": "\\x"}`):                                                    "regex_rewrite.substitution: ",
		route(`"hostRewriteLiteral": "a/b"`):                                                                                           "host_rewrite_literal: ",
		route(`"hostRewrite": "%"`):                                                                                                    "host_rewrite: bad format",
		`{"match": {"prefix": "/"}, "redirect": {"responseCode": 7}}`:                                                                  "redirect.response_code: unknown value 7",
		`{"match": {"prefix": "/"}, "redirect": {"portRedirect": 65536}}`:                                                              "redirect.port_redirect: ",
		`{"match": {"prefix": "/"}, "redirect": {"hostRedirect": "a/b"}}`:                                                              "redirect.host_redirect: ",
		`{"match": {"prefix": "/"}, "directResponse": {"status": 100}}`:                                                                "direct_response.status: ",
		`{"match": {"prefix": "/"}, "directResponse": {"status": 200, "body": {"inlineString": "` + strings.Repeat("x", 4097) + `"}}}`: "routes[0].direct_response.body: is 4097 bytes long",
	} {
		_, err := decode(t, parse(t, &routev3.RouteConfiguration{}, routeJSON(json)))
		wantError(t, err, want)
	}
}

// A route that changes nothing costs nothing, and one that does not read the call
// allocates only the headers' own values.
func TestChangesAllocateLittle(t *testing.T) {
	pick := func(route string) *resolver.Change {
		r, err := routesTable(t, parse(t, &routev3.RouteConfiguration{}, routeJSON(route))).Route(&resolver.Request{Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		to, err := r.Pick()
		if err != nil {
			t.Fatal(err)
		}
		return to.Change
	}
	if change := pick(`{"match": {"prefix": "/"}, "route": {"cluster": "c"}}`); change != nil {
		t.Errorf("the change is %v", change)
	}
	change := pick(`{"match": {"prefix": "/"}, "route": {"cluster": "c"}, "requestHeadersToAdd": [{"header": {"key": "x", "value": "y"}, "appendAction": "ADD_IF_ABSENT"}]}`)
	h, r := headers{"x": {"z"}}, &resolver.Request{Path: "/"}
	if n := testing.AllocsPerRun(100, func() { change.Request(r, h, "HTTP/1.1") }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
