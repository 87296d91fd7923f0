package resolver_test

import (
	"context"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resolver"
)

const routerJSON = `{"name": "router", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}`

// managerJSON is a connection manager with these fields.
func managerJSON(t *testing.T, fields string) *listenerv3.Listener {
	return listenerOf("l", parse(t, &hcmv3.HttpConnectionManager{}, `{`+fields+`}`))
}

func TestRefusedListeners(t *testing.T) {
	rds := `"rds": {"routeConfigName": "r"}, `
	filter := func(config string) string { return rds + `"httpFilters": [` + config + `, ` + routerJSON + `]` }
	for _, test := range []struct{ fields, path, what string }{
		{`"httpFilters": [` + routerJSON + `]`, "api_listener.api_listener:", "route_config or rds"},
		{`"rds": {}, "httpFilters": [` + routerJSON + `]`, "api_listener.api_listener.rds.route_config_name:", "empty"},
		{`"scopedRoutes": {}`, "scoped_routes:", "not supported"},
		{`"routeConfig": {"name": "r", "virtualHosts": [{}]}, "httpFilters": [` + routerJSON + `]`, "api_listener.api_listener.route_config.virtual_hosts[0].domains:", "empty"},
		{rds + `"commonHttpProtocolOptions": {"maxStreamDuration": "-1s"}, "httpFilters": [` + routerJSON + `]`, "common_http_protocol_options.max_stream_duration:", "negative"},
		{`"rds": {"routeConfigName": "r"}`, "http_filters:", "must be the router"},
		{rds + `"httpFilters": [` + routerJSON + `, {"name": "x", "isOptional": true}]`, "http_filters[0]:", "must be the last"},
		{rds + `"httpFilters": [{"name": "x", "isOptional": true}]`, "http_filters:", "must be the router"},
		{filter(`{"name": ""}`), "http_filters[0].name:", "empty"},
		{filter(`{"name": "router", "isOptional": true}`), "http_filters[1].name:", "another filter"},
		{filter(`{"name": "x"}`), "http_filters[0]:", "not supported"},
		{filter(`{"name": "x", "configDiscovery": {"defaultConfig": {"@type": "type.googleapis.com/google.protobuf.Empty"}}}`), "http_filters[0].config_discovery.default_config:", "unknown type"},
		// What authorizes must not be left out.
		{filter(`{"name": "rbac", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"}}`), "http_filters[0]:", "rbac.v3.RBAC: not supported"},
		{filter(`{"name": "x", "typedConfig": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "typeUrl": "x.example/Secret"}}`), "http_filters[0]:", "x.example/Secret: not supported"},
	} {
		_, err := decode(t, managerJSON(t, test.fields))
		wantError(t, err, test.path, test.what)
	}
	notHTTP := &listenerv3.Listener{Name: "l", ApiListener: &listenerv3.ApiListener{ApiListener: toAny(&routev3.Route{})}}
	_, err := decode(t, notHTTP)
	wantError(t, err, "api_listener.api_listener:", "envoy.config.route.v3.Route")
}

func TestFilters(t *testing.T) {
	fault := `{"name": "fault", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}}`
	stats := `{"name": "istio.stats", "typedConfig": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "typeUrl": "type.googleapis.com/stats.PluginConfig"}}`
	table := table(t, resolver.TargetName{Listener: "l"},
		managerJSON(t, `"rds": {"routeConfigName": "r"}, "httpFilters": [`+stats+`, `+fault+`, {"name": "x", "isOptional": true}, `+routerJSON+`]`),
		simpleRoutes("r", "c"))
	want := []resolver.Filter{
		{Name: "istio.stats", TypeURL: "type.googleapis.com/stats.PluginConfig"},
		{Name: "fault", TypeURL: "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"},
		{Name: "x"},
	}
	if diff := cmp.Diff(want, table.Filters()); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
}

func TestStrippedHosts(t *testing.T) {
	rc := `"routeConfig": {"name": "r", "virtualHosts": [
		{"name": "a", "domains": ["a"], "routes": [{"name": "a", "match": {"prefix": "/"}, "route": {"cluster": "c"}}]},
		{"name": "a:80", "domains": ["a:80"], "routes": [{"name": "a:80", "match": {"prefix": "/"}, "route": {"cluster": "c"}}]},
		{"name": "*", "domains": ["*"], "routes": [{"name": "*", "match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]},
		"httpFilters": [` + routerJSON + `]`
	for _, test := range []struct {
		option string
		want   map[string]string
	}{
		{``, map[string]string{"a": "a", "a:80": "a:80", "a:81": "*", "a.": "*"}},
		{`"stripAnyHostPort": true, `, map[string]string{"a": "a", "a:80": "a", "a:81": "a", "a.": "*"}},
		{`"stripMatchingHostPort": true, `, map[string]string{"a:80": "a", "a:81": "*"}},
		{`"stripTrailingHostDot": true, `, map[string]string{"a.": "a", "a.:80": "a:80", "a:80": "a:80", "a.:81": "*"}},
		{`"stripTrailingHostDot": true, "stripAnyHostPort": true, `, map[string]string{"a.:80": "a", "a": "a"}},
	} {
		l := managerJSON(t, test.option+rc)
		l.Address = socketAddress("240.0.0.1", 80)
		table := table(t, resolver.TargetName{Listener: "l"}, l)
		for authority, want := range test.want {
			if got := routedTo(table, &resolver.Request{Authority: authority, Path: "/"}); got != want {
				t.Errorf("%s%s: %s, want %s", test.option, authority, got, want)
			}
		}
	}
}

// A listener that is not for clients is good, but no target can be made of it.
func TestListenerForProxies(t *testing.T) {
	s := newStatic(t, &listenerv3.Listener{Name: "0.0.0.0_80", Address: socketAddress("0.0.0.0", 80)})
	target := newResolver(t, s).Target(resolver.TargetName{Listener: "0.0.0.0_80"})
	table, err := target.Await(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, err = table.Route(&resolver.Request{Path: "/"})
	wantError(t, err, `listener "0.0.0.0_80" is not an API listener`)
	if table.Err() == nil {
		t.Error("the table has no error")
	}
}

// With an authority, the target has one virtual host for all its calls, and the
// clusters of no other.
func TestTargetAuthority(t *testing.T) {
	rc := parse(t, &routev3.RouteConfiguration{}, `{"name": "8080", "ignorePortInHostMatching": true, "virtualHosts": [
		{"name": "a", "domains": ["a"], "routes": [{"name": "a", "match": {"prefix": "/"}, "route": {"cluster": "ca"}}]},
		{"name": "b", "domains": ["b"], "routes": [{"name": "b", "match": {"prefix": "/"}, "route": {"cluster": "cb"}}]}]}`)
	one := table(t, resolver.TargetName{RouteConfig: "8080", Authority: "B:8080"}, rc)
	if got := routedTo(one, &resolver.Request{Authority: "a", Path: "/"}); got != "b" {
		t.Errorf("routed to %s, want the target's host", got)
	}
	if len(one.Clusters()) != 1 || one.Clusters()[0].Name() != "cb" {
		t.Errorf("clusters %v", one.Clusters())
	}
	all := table(t, resolver.TargetName{RouteConfig: "8080"}, rc)
	if got := routedTo(all, &resolver.Request{Authority: "a", Path: "/"}); got != "a" {
		t.Errorf("routed to %s, want the call's host", got)
	}
	if len(all.Clusters()) != 2 {
		t.Errorf("clusters %v", all.Clusters())
	}
	none := table(t, resolver.TargetName{RouteConfig: "8080", Authority: "c"}, rc)
	_, err := none.Route(&resolver.Request{Authority: "a", Path: "/"})
	wantError(t, err, `for "c"`, "no route")
}
