package mesh_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
)

// TestRateLimitActions makes descriptors of requests by what they say, and by who sends
// them, and none where an action has no entry and may not be left out (row Z7).
func TestRateLimitActions(t *testing.T) {
	header := `{requestHeaders: {headerName: x-team, descriptorKey: team`
	matches := func(kind, fields string) string { return `{` + kind + `: {descriptorValue: yes` + fields + `}}` }
	blue, red := map[string]string{"x-team": "blue"}, map[string]string{"x-team": "red"}
	const path = "/shop.Orders/Get"
	for _, test := range []struct {
		name, action string
		path         string
		header       map[string]string
		want         string // empty if it makes no descriptor
		http         bool   // only: paths of gRPC have no query
	}{
		{"a header", header + `}}`, path, blue, "shop: k=v,team=blue", false},
		{"no header", header + `}}`, path, nil, "", false},
		{"no header, which is left out", header + `, skipIfAbsent: true}}`, path, nil, "shop: k=v", false},
		{"a parameter", `{queryParameters: {queryParameterName: p, descriptorKey: p}}`, path + "?o=1&p=a%20b&p=c", nil, "shop: k=v,p=a b", true},
		{"no parameter", `{queryParameters: {queryParameterName: p, descriptorKey: p}}`, path + "?o=1", nil, "", true},
		{"headers", matches("headerValueMatch", `, headers: [{name: x-team, stringMatch: {exact: blue}}]`), path, blue, "shop: k=v,header_match=yes", false},
		{"other headers", matches("headerValueMatch", `, headers: [{name: x-team, stringMatch: {exact: blue}}]`), path, red, "", false},
		{"headers that must not be", matches("headerValueMatch", `, expectMatch: false, headers: [{name: x-team, stringMatch: {exact: blue}}]`), path, red, "shop: k=v,header_match=yes", false},
		{"headers that must not be and are", matches("headerValueMatch", `, expectMatch: false, headers: [{name: x-team, stringMatch: {exact: blue}}]`), path, blue, "", false},
		{"parameters", matches("queryParameterValueMatch", `, queryParameters: [{name: p, stringMatch: {exact: "1"}}]`), path + "?p=1", nil, "shop: k=v,query_match=yes", true},
		{"other parameters", matches("queryParameterValueMatch", `, queryParameters: [{name: p, stringMatch: {exact: "1"}}]`), path + "?p=2", nil, "", true},
		{"an address", matches("remoteAddressMatch", `, addressMatcher: {ranges: [{addressPrefix: 127.0.0.0, prefixLen: 8}]}`), path, nil, "shop: k=v,remote_address_match=yes", false},
		{"another address", matches("remoteAddressMatch", `, addressMatcher: {ranges: [{addressPrefix: 10.0.0.0, prefixLen: 8}]}`), path, nil, "", false},
		{"an address, a value of the request", `{remoteAddressMatch: {descriptorValue: "<%REQ(x-team)%>", addressMatcher: {ranges: [{addressPrefix: 127.0.0.0, prefixLen: 8}]}}}`, path, blue, "shop: k=v,remote_address_match=<blue>", false},
		{"an address, an empty value", `{remoteAddressMatch: {descriptorValue: "%REQ(x-team)%", addressMatcher: {ranges: [{addressPrefix: 127.0.0.0, prefixLen: 8}]}}}`, path, nil, "", false},
		{"an address, what stands in for an empty value", `{remoteAddressMatch: {descriptorValue: "%REQ(x-team)%", defaultValue: none, addressMatcher: {ranges: [{addressPrefix: 127.0.0.0, prefixLen: 8}]}}}`, path, nil, "shop: k=v,remote_address_match=none", false},
		{"any but an address", matches("remoteAddressMatch", `, addressMatcher: {invertMatch: true, ranges: [{addressPrefix: 10.0.0.0, prefixLen: 8}]}`), path, nil, "shop: k=v,remote_address_match=yes", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				if p.name == "grpc" && test.http {
					return
				}
				l := newLimiter(admits)
				_, at := l.serve(t)
				limits := `rateLimits: [{actions: [{genericKey: {descriptorKey: k, descriptorValue: v}}, ` + test.action + `]}, {actions: [{genericKey: {descriptorKey: asked, descriptorValue: "1"}}]}]`
				m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", serviceLimit(at, slowly, limits))}, inboundRoutes("", "", ""))+`]`))
				if got, err := plainClient(t, p, server(t, p, m).Addr)(within(t, long), test.path, test.header); err != nil || got.Status != 200 && got.Status != 0 {
					t.Fatalf("%+v, %v", got, err)
				}
				want := "shop: asked=1"
				if test.want != "" {
					want = test.want + "; asked=1"
				}
				if got := strings.Join(l.await(t, 1), " | "); got != want {
					t.Errorf("the service is asked %q, want %q", got, want)
				}
			})
		})
	}
}

// TestRateLimitInternal asks about requests that say they come from within, and about
// those that do not, as policy wants it.
func TestRateLimitInternal(t *testing.T) {
	over := func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
		return &servicev3.RateLimitResponse{OverallCode: servicev3.RateLimitResponse_OVER_LIMIT}, nil
	}
	eachProtocol(t, func(t *testing.T, p protocol) {
		_, at := newLimiter(over).serve(t)
		for kind, want := range map[string][2]bool{"internal": {true, false}, "external": {false, true}, "both": {true, true}} {
			m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", serviceLimit(at, slowly, "requestType: "+kind, `rateLimits: [{actions: [{genericKey: {descriptorValue: a}}]}]`))}, inboundRoutes("", "", ""))+`]`))
			call := plainClient(t, p, server(t, p, m).Addr)
			for i, said := range []string{"true", "false"} {
				got, _ := call(within(t, long), "/shop.Orders/Get", map[string]string{"x-envoy-internal": said})
				if limited := got.Status == http.StatusTooManyRequests || got.Status == -int(codes.Unavailable); limited != want[i] {
					t.Errorf("%s, x-envoy-internal: %s: %+v, want limited: %v", kind, said, got, want[i])
				}
			}
		}
	})
}

// TestRateLimitNoService has a service that cannot be had fail the calls of servers,
// whatever the failure mode, and of clients by it.
func TestRateLimitNoService(t *testing.T) {
	const filter = `{"@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, domain: shop, failureModeDeny: false,
		rateLimitService: {transportApiVersion: V3, grpcService: {envoyGrpc: {clusterName: limits}}}, rateLimits: [{actions: [{genericKey: {descriptorValue: a}}]}]}`
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", filter)}, inboundRoutes("", "", ""))+`]`))
		if got, _ := plainClient(t, p, server(t, p, m).Addr)(within(t, long), "/shop.Orders/Get", nil); got.Status != 500 && got.Status != -int(codes.Unknown) {
			t.Errorf("a server: %+v", got)
		}
		m = newMesh(t, filtering(p.service("back", p.backend(t, "back")), []string{httpFilter("l", filter)}, levels("", "", "", "")))
		if got, err := limitedClient(t, p, m, "front")(within(t, long), "/shop.Orders/Get", nil); err != nil || got.Status != 200 && got.Status != 0 {
			t.Errorf("a client: %+v, %v", got, err)
		}
	})
}

// TestLocalRateLimitPart counts, and enforces, a limit for a part of the calls. Of 400
// calls half are 200, of which 140 and 260 are six standard deviations away.
func TestLocalRateLimitPart(t *testing.T) {
	for _, field := range []string{"filterEnabled", "filterEnforced"} {
		eachProtocol(t, func(t *testing.T, p protocol) {
			m := newMesh(t, filtering(p.service("back", p.backend(t, "back")), []string{httpFilter("l", localLimit(tokens(0), field+": {defaultValue: {numerator: 50}}"))}, levels("", "", "", "")))
			call, passed := limitedClient(t, p, m, "front"), 0
			for range 400 {
				if got, _ := call(within(t, long), "/shop.Orders/Get", nil); got.Status == 200 || got.Status == 0 {
					passed++
				}
			}
			if passed < 140 || passed > 260 {
				t.Errorf("%s: %d of 400 passed, want half of them", field, passed)
			}
		})
	}
}

// TestLocalRateLimitRetryAfter has refusals say when to come back: where policy says so
// of the status 429, and only if its own headers do not.
func TestLocalRateLimitRetryAfter(t *testing.T) {
	p := protocols[1]
	for _, test := range []struct{ name, field, want string }{
		{"of 429", "", "3600"},
		{"of another status", ", status: {code: 503}", ""},
		{"what policy adds", `, responseHeadersToAdd: [{header: {key: Retry-After, value: "7"}}]`, "7"},
	} {
		m := newMesh(t, filtering(p.service("back", p.backend(t, "back")), []string{httpFilter("l", localLimit(tokens(1), "enableRetryAfterHeader: true"+test.field))}, levels("", "", "", "")))
		call := limitedClient(t, p, m, "front")
		for i, want := range []string{"", test.want} {
			if got, _ := call(within(t, long), "/shop.Orders/Get", nil); got.Header["retry-after"] != want {
				t.Errorf("%s: call %d: %+v, want %q", test.name, i, got, want)
			}
		}
	}
}

// TestLocalRateLimitOption has each limit say whether responses tell of it.
func TestLocalRateLimitOption(t *testing.T) {
	p := protocols[1]
	for _, test := range []struct {
		name, filter, limit string
		told                bool
	}{
		{"the filter tells", "enableXRatelimitHeaders: DRAFT_VERSION_03", "", true},
		{"and the limit does not", "enableXRatelimitHeaders: DRAFT_VERSION_03", ", xRatelimitOption: OFF", false},
		{"the limit tells", "enableXRatelimitHeaders: OFF", ", xRatelimitOption: DRAFT_VERSION_03", true},
		{"neither", "enableXRatelimitHeaders: OFF", "", false},
	} {
		m := newMesh(t, filtering(p.service("back", p.backend(t, "back")), []string{httpFilter("l", localLimit(tokens(9), test.filter,
			`rateLimits: [{actions: [{genericKey: {descriptorValue: a}}]`+test.limit+`}]`, `descriptors: [{entries: [{key: generic_key, value: a}], `+tokens(3)+`}]`))}, levels("", "", "", "")))
		got, _ := limitedClient(t, p, m, "front")(within(t, long), "/shop.Orders/Get", nil)
		if told := got.Header["x-ratelimit-limit"] == "3"; told != test.told {
			t.Errorf("%s: %+v, want told: %v", test.name, got, test.told)
		}
	}
}

// TestLocalRateLimitApart has requests whose values look like one another when they are
// written one after another, however, have buckets of their own.
func TestLocalRateLimitApart(t *testing.T) {
	config := localLimit(tokens(100), `rateLimits: [{actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}, {requestHeaders: {headerName: x-team, descriptorKey: team}}]}]`,
		`descriptors: [{entries: [{key: user}, {key: team}], `+tokens(1)+`}]`)
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, filtering(p.service("back", p.backend(t, "back")), []string{httpFilter("l", config)}, levels("", "", "", "")))
		call := limitedClient(t, p, m, "front")
		for i, join := range []string{"", "team", ",team=", ";team=", "|team:", "/team/", "&team=", " team ", "4 ", "4 team", "4 team1 "} {
			n := fmt.Sprint(i)
			for _, user := range [][2]string{{"a", "b" + join + "c" + n}, {"a" + join + "b", "c" + n}} {
				for k, pass := range []bool{true, false} {
					got, _ := call(within(t, long), "/shop.Orders/Get", map[string]string{"x-user": user[0], "x-team": user[1]})
					if passed := got.Status == http.StatusOK || got.Status == 0; passed != pass {
						t.Errorf("call %d of user %q of team %q passed: %v", k+1, user[0], user[1], passed)
					}
				}
			}
		}
	})
}
