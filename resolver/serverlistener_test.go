package resolver_test

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weft-mesh/weft/resolver"
)

const serverListener = `{"name": "l", "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 8080}}, "filterChains": [{"filters": [{"name": "hcm", "typedConfig": {
	"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "statPrefix": "l",
	"stripMatchingHostPort": true, "httpFilters": [{"name": "router", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
	"routeConfig": {"name": "r", "virtualHosts": [{"name": "h", "domains": ["a"], "routes": [{"name": "in", "match": {"prefix": "/"}, "nonForwardingAction": {}}]}]}}}]}]}`

// FuzzServerListener has the listener of a server be anything at all.
func FuzzServerListener(f *testing.F) {
	for _, recording := range []string{"istio-echo-grpc", "istio-echo-envoy", "istio-echo-inbound"} {
		for _, r := range recorded(f, recording, allTypes)[resolver.ListenerURL] {
			f.Add(r.Raw)
		}
	}
	f.Add(marshal(parse(f, &listenerv3.Listener{}, serverListener)))
	decode := decoderOf(f, resolver.Types(resolver.TypesConfig{Warnings: resolver.NewWarnings(nil), Servers: true}), resolver.ListenerURL)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, value, err := decode(raw)
		if (err == nil) != (value != nil) {
			t.Errorf("value %v and error %v", value, err)
		}
	})
}

// TestServerTable has the table of a server's listener, which waits for no cluster, route
// what comes in.
func TestServerTable(t *testing.T) {
	source := resolver.NewStatic(resolver.Types(resolver.TypesConfig{Servers: true}))
	if err := source.Set(map[string][]resolver.StaticResource{
		resolver.ListenerURL: {{Name: "l", Version: "1", Raw: marshal(parse(t, &listenerv3.Listener{}, serverListener))}},
	}); err != nil {
		t.Fatal(err)
	}
	r, err := resolver.New(resolver.Config{Source: source})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	target := r.Target(resolver.TargetName{Listener: "l", Server: true})
	defer target.Release()
	table, err := target.Await(t.Context())
	if err != nil || table.Err() != nil {
		t.Fatal(err, table.Err())
	}
	route, err := table.Route(&resolver.Request{Authority: "a:8080", Path: "/x", GRPC: true})
	if err != nil || route.Name != "in" {
		t.Fatalf("routed to %v, %v", route, err)
	}
	if change, err := route.Inbound(); change != nil || err != nil {
		t.Errorf("inbound: %v, %v", change, err)
	}
	if _, err := route.Pick(); err == nil {
		t.Error("the route of a server sends calls on")
	}
}
