package mesh_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// subsetPolicy has routes, by path, to a raw cluster "orders" whose endpoints are
// divided by their labels.
type subsetPolicy struct {
	protocol  protocol
	selectors string   // fields of lb_subset_config
	endpoints []string // LbEndpoints
	routes    []string // fields of route actions; the n-th has the path /shop.Orders/Rn
}

func (p subsetPolicy) yaml() string {
	var b strings.Builder
	b.WriteString("routes: {orders: [{to: orders}]}\nresources:\n")
	options := ""
	if p.protocol.name == "grpc" {
		options = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}`
	}
	fmt.Fprintf(&b, `  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: orders
    type: STATIC
    lb_subset_config: {%s}
    load_assignment: {cluster_name: orders, endpoints: [{lb_endpoints: [%s]}]}%s
`, p.selectors, strings.Join(p.endpoints, ", "), options)
	fmt.Fprint(&b, `  - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
    name: subsets
    api_listener:
      api_listener:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: subsets
        http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
        route_config:
          name: subsets
          virtual_hosts:
            - name: subsets
              domains: ["*"]
              routes:
`)
	for i, r := range p.routes {
		fmt.Fprintf(&b, "                - {match: {path: /shop.Orders/R%d}, route: {%s}}\n", i, r)
	}
	return b.String()
}

func labelled(b *meshtest.Backend, labels string) string {
	host, port, _ := strings.Cut(b.Addr, ":")
	return fmt.Sprintf(`{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}, metadata: {filter_metadata: {envoy.lb: {%s}}}}`, host, port, labels)
}

// TestSubsets has routes ask for labels, and finds which backends answer (rows L4, R4).
func TestSubsets(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b, c := p.backend(t, "a"), p.backend(t, "b"), p.backend(t, "c")
		match := func(labels string) string {
			return `cluster: orders, metadata_match: {filter_metadata: {envoy.lb: {` + labels + `}}}`
		}
		const selectors = `subset_selectors: [{keys: [version]}, {keys: [stage, version], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [version]}, {keys: [shard], single_host_per_subset: true}], `
		for _, test := range []struct {
			name, selectors, route string
			want                   []string // nil for an error
		}{
			{"no match asked for", selectors + `fallback_policy: ANY_ENDPOINT`, `cluster: orders`, []string{"a", "b", "c"}},
			{"no match asked for, no fallback", selectors + `fallback_policy: NO_FALLBACK`, `cluster: orders`, nil},
			{"a subset", selectors + `fallback_policy: ANY_ENDPOINT`, match(`version: v1`), []string{"a", "b"}},
			{"two keys", selectors, match(`version: v1, stage: prod`), []string{"a"}},
			{"two keys, of which one has no subset", selectors, match(`version: v2, stage: test`), []string{"c"}},
			{"one endpoint a subset", selectors, match(`shard: 1`), []string{"a"}},
			{"a string is not a number", selectors, match(`shard: "1"`), nil},
			{"no such subset", selectors, match(`version: v9`), nil},
			{"any as fallback", selectors + `fallback_policy: ANY_ENDPOINT`, match(`version: v9`), []string{"a", "b", "c"}},
			{"the default subset as fallback", selectors + `fallback_policy: DEFAULT_SUBSET, default_subset: {stage: prod}`, match(`version: v9`), []string{"a", "c"}},
			{"an empty default subset", selectors + `fallback_policy: DEFAULT_SUBSET, default_subset: {stage: none}`, match(`version: v9`), nil},
			{"any in panic", selectors + `fallback_policy: DEFAULT_SUBSET, default_subset: {stage: none}, panic_mode_any: true`, match(`version: v9`), []string{"a", "b", "c"}},
			{"an element of a list", selectors + `list_as_any: true`, match(`version: v3`), []string{"b"}},
			{"a list of fallbacks", selectors + `metadata_fallback_policy: FALLBACK_LIST`, match(`fallback_list: [{version: v9}, {version: v2}]`), []string{"c"}},
			{"a weighted cluster's", selectors, `metadata_match: {filter_metadata: {envoy.lb: {version: v1, stage: prod}}},
                    weighted_clusters: {clusters: [{name: orders, weight: 1, metadata_match: {filter_metadata: {envoy.lb: {version: v2}}}}, {name: orders, weight: 1}]}`, []string{"a", "c"}},
		} {
			t.Run(test.name, func(t *testing.T) {
				b2 := `version: v1, stage: test, shard: 1`
				if strings.Contains(test.selectors, "list_as_any") {
					b2 = `version: [v3, v4]`
				}
				policy := subsetPolicy{protocol: p, selectors: test.selectors, routes: []string{test.route}, endpoints: []string{
					labelled(a, `version: v1, stage: prod, shard: 1`), labelled(b, b2), labelled(c, `version: v2, stage: prod`)}}
				call := p.client(t, meshtest.New(t, mesh.WithPolicy([]byte(policy.yaml()))), "subsets")
				if test.want == nil {
					if _, err := call(within(t, long), request{path: "/shop.Orders/R0"}); !errors.Is(err, mesh.ErrNoEndpoints) {
						t.Errorf("%v is not ErrNoEndpoints", err)
					}
					return
				}
				eventually(t, call, request{path: "/shop.Orders/R0"}, test.want...)
				if got := slices.Sorted(maps.Keys(counts(t, call, request{path: "/shop.Orders/R0"}, 30))); !cmp.Equal(test.want, got) {
					t.Errorf("answered by %v, want %v", got, test.want)
				}
			})
		}
	})
}

// TestSubsetsChange moves a backend from one subset to another under load, and stops one:
// each subset goes on with what it has, and no call fails or goes to a backend that does
// not have what it asks for.
func TestSubsetsChange(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b, c := p.backend(t, "a"), p.backend(t, "b"), p.backend(t, "c")
		cp := meshtest.NewControlPlane(t)
		policy := func(ofB string) string {
			return subsetPolicy{
				protocol:  p,
				selectors: `subset_selectors: [{keys: [version]}]`,
				endpoints: []string{labelled(a, `version: v1`), labelled(b, `version: `+ofB), labelled(c, `version: v2`)},
				routes: []string{
					`cluster: orders, retry_policy: {retry_on: reset}, metadata_match: {filter_metadata: {envoy.lb: {version: v1}}}`,
					`cluster: orders, retry_policy: {retry_on: reset}, metadata_match: {filter_metadata: {envoy.lb: {version: v2}}}`,
				},
			}.yaml()
		}
		cp.Apply(policy("v1"))
		call := p.client(t, cp.Mesh(), "subsets")
		v1, v2 := request{path: "/shop.Orders/R0"}, request{path: "/shop.Orders/R1"}
		l := startLoad(t, 2, call, v1, v2)
		eventually(t, call, v1, "a", "b")
		eventually(t, call, v2, "c")
		cp.Apply(policy("v2"))
		eventually(t, call, v1, "a")
		eventually(t, call, v2, "b", "c")
		b.Stop()
		eventually(t, call, v2, "c")
		eventually(t, call, v1, "a")
		b.Start()
		eventually(t, call, v2, "b", "c")
		l.end(t)
	})
}
