package resolver_test

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/resolver"
)

func mirrored(t *testing.T, policy string) (*resolver.Route, error) {
	rc := parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
		{"match": {"prefix": "/"}, "route": {"cluster": "a", "requestMirrorPolicies": [`+policy+`]}}]}]}`)
	if _, err := decode(t, rc); err != nil {
		return nil, err
	}
	table := table(t, resolver.TargetName{RouteConfig: "r"}, rc, staticCluster("a", "192.0.2.1"), staticCluster("b", "192.0.2.2"))
	return table.Route(&resolver.Request{Path: "/"})
}

func TestMirrorHost(t *testing.T) {
	for _, c := range []struct{ policy, host, want string }{
		{`{"cluster": "b"}`, "shop", "shop-shadow"},
		{`{"cluster": "b"}`, "shop:80", "shop-shadow:80"},
		{`{"cluster": "b"}`, "[::1]:80", "[::1]-shadow:80"},
		{`{"cluster": "b"}`, "", ""},
		{`{"cluster": "b", "disableShadowHostSuffixAppend": true}`, "shop:80", "shop:80"},
		{`{"cluster": "b", "hostRewriteLiteral": "x:1"}`, "shop:80", "x:1"},
	} {
		route, err := mirrored(t, c.policy)
		if err != nil {
			t.Fatal(err)
		}
		if got := route.Mirrors()[0].Host(c.host, false); got != c.want {
			t.Errorf("%s: a copy for %q names %q, want %q", c.policy, c.host, got, c.want)
		}
	}
}

func TestRefusedMirrors(t *testing.T) {
	for policy, text := range map[string]string{
		`{}`:                                     "request_mirror_policies[0].cluster: must not be empty",
		`{"cluster": "b", "clusterHeader": "x"}`: "cluster_header: must not stand beside cluster",
		`{"cluster": "b", "hostRewriteLiteral": "a b"}`:                                         "host_rewrite_literal:",
		`{"cluster": "b", "runtimeFraction": {"defaultValue": {"denominator": 9}}}`:             "runtime_fraction.default_value.denominator: unknown value 9",
		`{"cluster": "b", "requestHeadersMutations": [{"remove": "host"}]}`:                     "request_headers_mutations[0].remove:",
		`{"cluster": "b", "requestHeadersMutations": [{"append": {"header": {"key": "a b"}}}]}`: "request_headers_mutations[0].append",
	} {
		_, err := mirrored(t, policy)
		wantError(t, err, text)
	}
}
