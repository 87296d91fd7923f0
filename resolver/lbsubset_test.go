package resolver_test

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

// TestSubsetConfig reads both forms of subsets.
func TestSubsetConfig(t *testing.T) {
	legacy := func(config string) string {
		return `{"name": "c", ` + eds + `, "lbSubsetConfig": ` + config + `}`
	}
	typed := func(config string) string {
		return `{"name": "c", ` + eds + `, "lbSubsetConfig": {"subsetSelectors": [{"keys": ["ignored"]}]}, "loadBalancingPolicy": {"policies": [{"typedExtensionConfig": {"name": "x", "typedConfig":
			{"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset", "subsetLbPolicy": {"policies": [{"typedExtensionConfig": {"name": "x", "typedConfig":
				{"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}}}]}` + config + `}}}]}}`
	}
	const all = `"fallbackPolicy": "DEFAULT_SUBSET", "defaultSubset": {"v": "1", "n": 2.5, "b": false, "l": ["a", null], "o": {"y": 1, "x": "<"}},
		"subsetSelectors": [{"keys": ["b", "a"], "fallbackPolicy": "KEYS_SUBSET", "fallbackKeysSubset": ["a"]},
			{"keys": ["a"], "singleHostPerSubset": true, "fallbackPolicy": "ANY_ENDPOINT"}, {"keys": ["c"], "fallbackPolicy": "DEFAULT_SUBSET"}, {"keys": ["d"], "fallbackPolicy": "NO_FALLBACK"}, {"keys": ["e"]}],
		"localityWeightAware": true, "scaleLocalityWeight": true, "panicModeAny": true, "listAsAny": true, "metadataFallbackPolicy": "FALLBACK_LIST"`
	want := balancer.Subsets{
		Fallback: balancer.FallbackDefault,
		Default:  map[string]balancer.Value{"v": `"1"`, "n": "2.5", "b": "false", "l": `["a",null]`, "o": balancer.Value(`{"x":` + string(balancer.Text("<")) + `,"y":1}`)},
		Selectors: []balancer.SubsetSelector{
			{Keys: []string{"b", "a"}, Fallback: balancer.FallbackToKeys, FallbackKeys: []string{"a"}},
			{Keys: []string{"a"}, SingleHost: true, Fallback: balancer.FallbackAny},
			{Keys: []string{"c"}, Fallback: balancer.FallbackDefault},
			{Keys: []string{"d"}, Fallback: balancer.FallbackNone},
			{Keys: []string{"e"}},
		},
		LocalityWeights: true, ScaleLocalityWeights: true, PanicAny: true, ListAsAny: true, FallbackList: true,
	}
	redundant := want
	redundant.RedundantKeys = true
	for json, want := range map[string]*balancer.Subsets{
		legacy(`{}`): nil,
		legacy(`{"fallbackPolicy": "ANY_ENDPOINT", "defaultSubset": {"a": "b"}}`): nil,
		legacy(`{"fallbackPolicy": "ANY_ENDPOINT", "subsetSelectors": [{"keys": ["v"]}]}`): {
			Fallback: balancer.FallbackAny, Selectors: []balancer.SubsetSelector{{Keys: []string{"v"}}}},
		legacy(`{` + all + `}`):                       &want,
		typed(`, "allowRedundantKeys": true, ` + all): &redundant,
	} {
		if diff := cmp.Diff(want, decodedConfig(t, json).Subsets); diff != "" {
			t.Errorf("%s (-want +got):\n%s", json, diff)
		}
	}
	if got := decodedConfig(t, typed("")).Policy.Kind; got != balancer.Random {
		t.Errorf("within subsets: %v", got)
	}
	for json, field := range map[string]string{
		legacy(`{"subsetSelectors": [{}]}`):                                                                                 "lb_subset_config.subset_selectors[0].keys:",
		legacy(`{"subsetSelectors": [{"keys": ["a"], "fallbackPolicy": "KEYS_SUBSET"}]}`):                                   "subset_selectors[0].fallback_keys_subset:",
		legacy(`{"subsetSelectors": [{"keys": ["a"], "fallbackPolicy": "KEYS_SUBSET", "fallbackKeysSubset": ["a"]}]}`):      "subset_selectors[0].fallback_keys_subset:",
		legacy(`{"subsetSelectors": [{"keys": ["a", "b"], "fallbackPolicy": "KEYS_SUBSET", "fallbackKeysSubset": ["c"]}]}`): `"c" is not in keys`,
		legacy(`{"subsetSelectors": [{"keys": ["a", "b"], "fallbackKeysSubset": ["a"]}]}`):                                  "fallback_keys_subset:",
		legacy(`{"fallbackPolicy": 7, "subsetSelectors": [{"keys": ["a"]}]}`):                                               "lb_subset_config.fallback_policy:",
		legacy(`{"subsetSelectors": [{"keys": ["a"], "fallbackPolicy": -1}]}`):                                              "subset_selectors[0].fallback_policy:",
		`{"name": "c", ` + eds + `, "loadBalancingPolicy": {"policies": [{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset"}}}]}}`: "subset_lb_policy:",
	} {
		_, err := decode(t, parse(t, &clusterv3.Cluster{}, json))
		wantError(t, err, field)
	}
}

// TestMetadataMatch has a weighted cluster's metadata_match count over the route's, key
// by key.
func TestMetadataMatch(t *testing.T) {
	rc := parse(t, &routev3.RouteConfiguration{}, `{"name": "routes", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {
		"metadataMatch": {"filterMetadata": {"envoy.lb": {"version": "1", "stage": "prod"}, "other": {"version": "9"}}},
		"weightedClusters": {"clusters": [
			{"name": "c", "weight": 1, "metadataMatch": {"filterMetadata": {"envoy.lb": {"version": 2}}}},
			{"name": "c", "weight": 1, "metadataMatch": {"filterMetadata": {"other": {"version": 3}}}},
			{"name": "c", "weight": 1}]}}}]}]}`)
	table := table(t, resolver.TargetName{RouteConfig: "routes"}, rc, edsCluster("c"), assignment("c"))
	route, err := table.Route(&resolver.Request{Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for range 30 {
		to, err := route.Pick()
		if err != nil {
			t.Fatal(err)
		}
		got[to.Subset.String()]++
	}
	if diff := cmp.Diff(map[string]int{`{stage: "prod", version: 2}`: 10, `{stage: "prod", version: "1"}`: 20}, got); diff != "" {
		t.Errorf("calls ask for (-want +got):\n%s", diff)
	}
}
