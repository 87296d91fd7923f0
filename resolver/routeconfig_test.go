package resolver_test

import (
	"errors"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resolver"
)

// routeJSON is a route configuration of one route.
func routeJSON(route string) string {
	return `{"name": "r", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [` + route + `]}]}`
}

func TestRefusedRoutes(t *testing.T) {
	action := func(action string) string { return routeJSON(`{"match": {"prefix": "/"}, "route": ` + action + `}`) }
	match := func(match string) string { return routeJSON(`{"match": ` + match + `, "route": {"cluster": "c"}}`) }
	tests := []struct{ json, path, what string }{
		{`{"name": "r", "vhostHeader": "x"}`, "vhost_header:", "not supported"},
		{`{"name": "r", "virtualHosts": [{"name": "h"}]}`, "virtual_hosts[0].domains:", "empty"},
		{`{"name": "r", "virtualHosts": [{"domains": ["a"]}, {"domains": ["b", "A"]}]}`, "virtual_hosts[1].domains[1]:", `"A" is already`},
		{`{"name": "r", "virtualHosts": [{"domains": ["*", "*"]}]}`, "virtual_hosts[0].domains[1]:", "already"},
		{`{"name": "r", "virtualHosts": [{"domains": ["*.a", "*.A"]}]}`, "virtual_hosts[0].domains[1]:", "already"},
		{`{"name": "r", "virtualHosts": [{"domains": ["*"], "matcher": {}}]}`, "virtual_hosts[0].matcher:", "not supported"},
		{routeJSON(`{"route": {"cluster": "c"}}`), "virtual_hosts[0].routes[0].match:", "required"},
		{routeJSON(`{"match": {"prefix": "/"}}`), "virtual_hosts[0].routes[0]:", "must have an action"},
		{match(`{}`), "routes[0].match:", "which paths"},
		{match(`{"safeRegex": {"regex": "("}}`), "routes[0].match.safe_regex.regex:", "bad regex"},
		{match(`{"safeRegex": {"regex": ""}}`), "routes[0].match.safe_regex.regex:", "empty"},
		{match(`{"pathSeparatedPrefix": "/a/"}`), "match.path_separated_prefix:", "slash at the end"},
		{match(`{"pathSeparatedPrefix": "/a?b"}`), "match.path_separated_prefix:", `"/a?b"`},
		{match(`{"pathMatchPolicy": {"name": "x"}}`), "match.path_match_policy.typed_config:", "not supported"},
		{match(`{"prefix": "/", "dynamicMetadata": [{}]}`), "match.dynamic_metadata:", "not supported"},
		{match(`{"prefix": "/", "filterState": [{}]}`), "match.filter_state:", "not supported"},
		{match(`{"prefix": "/", "headers": [{"name": "a"}, {}]}`), "match.headers[1].name:", "empty"},
		{match(`{"prefix": "/", "headers": [{"name": "a", "stringMatch": {}}]}`), "match.headers[0].string_match:", "how to match"},
		{match(`{"prefix": "/", "headers": [{"name": "a", "safeRegexMatch": {"regex": "["}}]}`), "match.headers[0].safe_regex_match.regex:", "bad regex"},
		{match(`{"prefix": "/", "headers": [{"name": "a", "stringMatch": {"safeRegex": {"regex": "["}}}]}`), "headers[0].string_match.safe_regex.regex:", "bad regex"},
		{match(`{"prefix": "/", "headers": [{"name": "a", "stringMatch": {"custom": {}}}]}`), "headers[0].string_match:", "not supported"},
		{match(`{"prefix": "/", "queryParameters": [{}]}`), "match.query_parameters[0].name:", "empty"},
		{match(`{"prefix": "/", "cookies": [{}]}`), "match.cookies[0].name:", "empty"},
		{match(`{"prefix": "/", "runtimeFraction": {"defaultValue": {"denominator": 9}}}`), "match.runtime_fraction.default_value.denominator:", "9"},
		{action(`{}`), "routes[0].route:", "which cluster"},
		{action(`{"cluster": ""}`), "routes[0].route.cluster:", "empty"},
		{action(`{"cluster": "c", "timeout": "-1s"}`), "routes[0].route.timeout:", "negative"},
		{action(`{"cluster": "c", "maxStreamDuration": {"grpcTimeoutHeaderMax": "-1s"}}`), "route.max_stream_duration.grpc_timeout_header_max:", "negative"},
		{action(`{"weightedClusters": {}}`), "route.weighted_clusters:", "add up to 0"},
		{action(`{"weightedClusters": {"clusters": [{"name": "a", "weight": 0}]}}`), "route.weighted_clusters:", "add up to 0"},
		{action(`{"weightedClusters": {"clusters": [{"name": "a", "weight": 4294967295}, {"name": "b", "weight": 1}]}}`), "route.weighted_clusters:", "4294967296"},
		{action(`{"weightedClusters": {"clusters": [{"weight": 1}]}}`), "route.weighted_clusters.clusters[0].name:", "empty"},
	}
	for _, test := range tests {
		_, err := decode(t, parse(t, &routev3.RouteConfiguration{}, test.json))
		wantError(t, err, test.path, test.what)
	}
}

func TestRefusedTemplates(t *testing.T) {
	for _, template := range []string{
		"a",
		"/a?",
		"/{a",
		"/{a={b}}",
		"/{1}",
		"/{abcdefghijklmnopq}",
		"/{a}/{a}",
		"/{a}{b}{c}{d}{e}{f}",
		"/{a=}",
		"/**/*",
		"/**/{a}",
		"/a\\b",
		"/{a=**}/x/**",
		"/" + string([]byte{'}'}),
		"/{a=b{c}",
		"/***",
		"/a b",
		"/{a=*?}",
		"/{a-b}",
		"/{=*}",
		"//{}",
		"/{a}/{b=**}/{c}",
		"/{abc=def/*/ghi/**}/jkl/*",
	} {
		rc := parse(t, &routev3.RouteConfiguration{}, routeJSON(`{"match": {"pathMatchPolicy": {"typedConfig": {
			"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"}}}, "route": {"cluster": "c"}}`))
		policy := rc.VirtualHosts[0].Routes[0].Match.GetPathMatchPolicy()
		policy.TypedConfig = uriTemplate(template)
		_, err := decode(t, rc)
		wantError(t, err, "match.path_match_policy.typed_config.path_template:")
	}
}

func TestTimeouts(t *testing.T) {
	type timeouts struct{ Timeout, MaxStreamDuration, GRPCTimeout time.Duration }
	tests := []struct {
		route    string
		listener time.Duration // its max_stream_duration
		want     timeouts
	}{
		{`"cluster": "c"`, 0, timeouts{15 * time.Second, 0, 0}},
		{`"cluster": "c", "timeout": "0s"`, 0, timeouts{0, 0, 0}},
		{`"cluster": "c", "timeout": "2s"`, time.Minute, timeouts{2 * time.Second, time.Minute, time.Minute}},
		// The table of gRFC A31.
		{`"cluster": "c", "timeout": "0s", "maxStreamDuration": {"maxStreamDuration": "0s"}`, time.Minute, timeouts{0, 0, 0}},
		{`"cluster": "c", "timeout": "0s", "maxStreamDuration": {"maxStreamDuration": "10s"}`, time.Minute, timeouts{0, 10 * time.Second, 10 * time.Second}},
		{`"cluster": "c", "timeout": "0s", "maxStreamDuration": {"grpcTimeoutHeaderMax": "0s"}`, time.Minute, timeouts{0, time.Minute, 0}},
		{`"cluster": "c", "timeout": "0s", "maxStreamDuration": {"grpcTimeoutHeaderMax": "10s", "maxStreamDuration": "5s"}`, 0, timeouts{0, 5 * time.Second, 10 * time.Second}},
		// The older field gives way to the newer one.
		{`"cluster": "c", "timeout": "0s", "maxGrpcTimeout": "3s"`, time.Minute, timeouts{0, time.Minute, 3 * time.Second}},
		{`"cluster": "c", "timeout": "0s", "maxGrpcTimeout": "3s", "maxStreamDuration": {"grpcTimeoutHeaderMax": "4s"}`, 0, timeouts{0, 0, 4 * time.Second}},
	}
	for _, test := range tests {
		rc := parse(t, &routev3.RouteConfiguration{}, routeJSON(`{"name": "x", "match": {"prefix": "/"}, "route": {`+test.route+`}}`))
		table := table(t, resolver.TargetName{Listener: "l"}, inlineListener("l", rc, test.listener))
		route, err := table.Route(&resolver.Request{Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		got := timeouts{route.Timeout, route.MaxStreamDuration, route.GRPCTimeout}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.route, diff)
		}
	}
}

func TestIdleTimeouts(t *testing.T) {
	for _, test := range []struct {
		route, listener string
		want            time.Duration
	}{
		{``, ``, 0},
		{``, `"streamIdleTimeout": "7s", `, 7 * time.Second},
		{`, "idleTimeout": "3s"`, `"streamIdleTimeout": "7s", `, 3 * time.Second},
		{`, "idleTimeout": "0s"`, `"streamIdleTimeout": "7s", `, 0},
	} {
		l := managerJSON(t, test.listener+`"routeConfig": `+routeJSON(`{"match": {"prefix": "/"}, "route": {"cluster": "c"`+test.route+`}}`)+`, "httpFilters": [`+routerJSON+`]`)
		route, err := table(t, resolver.TargetName{Listener: "l"}, l).Route(&resolver.Request{Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		if route.IdleTimeout != test.want {
			t.Errorf("%+v: %v", test, route.IdleTimeout)
		}
	}
}

func TestWeightedClusters(t *testing.T) {
	table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, routeJSON(`{"match": {"prefix": "/"}, "route": {"weightedClusters": {"clusters": [
		{"name": "a", "weight": 1}, {"name": "none", "weight": 0}, {"name": "b", "weight": 3}, {"name": "a", "weight": 1}]}}}`)))
	var names []string
	for _, c := range table.Clusters() {
		names = append(names, c.Name())
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("clusters (-want +got):\n%s", diff)
	}
	route, err := table.Route(&resolver.Request{Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for range 50 {
		to, err := route.Pick()
		if err != nil {
			t.Fatal(err)
		}
		count[to.Cluster.Name()]++
	}
	if diff := cmp.Diff(map[string]int{"a": 20, "b": 30}, count); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// A route whose action cannot be taken keeps its place, and the calls that match it
// fail.
func TestUnsupportedActions(t *testing.T) {
	for field, route := range map[string]string{
		"redirect.path_rewrite":                 `"redirect": {"pathRewrite": "/%DOWNSTREAM_LOCAL_PORT%"}`,
		"direct_response.body":                  `"directResponse": {"status": 200, "body": {"filename": "/etc/passwd"}}`,
		"direct_response.body_format":           `"directResponse": {"status": 200, "bodyFormat": {}}`,
		"route.path_rewrite":                    `"route": {"cluster": "c", "pathRewrite": "/%DOWNSTREAM_LOCAL_PORT%"}`,
		"route.path_rewrite_policy":             `"route": {"cluster": "c", "pathRewritePolicy": {"name": "x"}}`,
		"filter_action":                         `"filterAction": {}`,
		"non_forwarding_action":                 `"nonForwardingAction": {}`,
		"route.cluster_specifier_plugin":        `"route": {"clusterSpecifierPlugin": "x"}`,
		"route.inline_cluster_specifier_plugin": `"route": {"inlineClusterSpecifierPlugin": {}}`,
		"route.weighted_clusters":               `"route": {"weightedClusters": {"headerName": "x", "clusters": [{"name": "c", "weight": 1}]}}`,
	} {
		table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, routeJSON(`{"name": "odd", "match": {"prefix": "/a"}, `+route+`},
			{"name": "next", "match": {"prefix": "/"}, "route": {"cluster": "c"}}`)))
		for _, grpc := range []bool{false, true} {
			route, err := table.Route(&resolver.Request{Path: "/a", GRPC: grpc})
			if err != nil {
				t.Fatal(err)
			}
			_, err = route.Pick()
			wantError(t, err, `route "odd" of virtual host "h"`, field, "not supported")
			if !errors.Is(err, resolver.ErrUnsupported) {
				t.Errorf("%v is not ErrUnsupported", err)
			}
		}
		if got := routedTo(table, &resolver.Request{Path: "/b"}); got != "next" {
			t.Errorf("%s: the other route: %s", field, got)
		}
	}
}

// A request that policy would change must not be sent as it is. For gRPC this
// rewrite is not a part of what its clients do (gRFCs A28, A81).
func TestRewritesFailHTTP(t *testing.T) {
	for field, json := range map[string]string{
		"routes[0].route.host_rewrite": `{"match": {"prefix": "/"}, "route": {"cluster": "c", "hostRewrite": "%DOWNSTREAM_LOCAL_ADDRESS%"}}`,
	} {
		table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, routeJSON(json)))
		_, err := table.Route(&resolver.Request{Path: "/"})
		wantError(t, err, field, "not supported")
		if _, err := table.Route(&resolver.Request{Path: "/", GRPC: true}); err != nil {
			t.Errorf("%s fails gRPC: %v", field, err)
		}
	}
	table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"domains": ["*"], "requireTls": "ALL",
		"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]}`))
	_, err := table.Route(&resolver.Request{Path: "/"})
	wantError(t, err, "virtual_hosts[0].require_tls", "not supported")
}

func TestRouteWarnings(t *testing.T) {
	warnings := resolver.NewWarnings(nil)
	types := resolver.Types(resolver.TypesConfig{Warnings: warnings})
	rc := parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "validateClusters": true, "requestHeadersToRemove": ["x"], "responseHeadersToAdd": [{"header": {"key": "x", "value": "%BYTES_SENT%"}}], "virtualHosts": [{"domains": ["*"],
		"retryPolicy": {}, "routes": [
		{"match": {"prefix": "/"}, "route": {"cluster": "c", "hashPolicy": [{}], "priority": "HIGH"}},
		{"match": {"prefix": "/"}, "route": {"cluster": "c", "hashPolicy": [{}], "pathRewritePolicy": {"name": "x"}}},
		{"match": {"prefix": "/"}, "filterAction": {}}]}]}`)
	for _, name := range []string{"r", "s", "r"} {
		rc.Name = name
		raw := append(marshal(rc), 0xfa, 0x3f, 1, 'x') // field 1023, of the future
		if _, _, err := decoderOf(t, types, resolver.RouteConfigURL)(raw); err != nil {
			t.Fatal(err)
		}
	}
	both := []string{"r", "s"}
	want := []resolver.Warning{
		{Type: "RouteConfiguration", Field: "(fields unknown to this version)", Resources: both},
		{Type: "RouteConfiguration", Field: "response_headers_to_add[].header.value", Resources: both},
		{Type: "RouteConfiguration", Field: "virtual_hosts[].routes[].filter_action", Resources: both, Fails: true},
		{Type: "RouteConfiguration", Field: "virtual_hosts[].routes[].route.hash_policy[]", Resources: both},
		{Type: "RouteConfiguration", Field: "virtual_hosts[].routes[].route.path_rewrite_policy", Resources: both, Fails: true},
	}
	if diff := cmp.Diff(want, warnings.List()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
