package resolver_test

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

const eds = `"type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}`

func TestClusterConfig(t *testing.T) {
	typed := func(config string) string {
		return `{"name": "c", ` + eds + `, "loadBalancingPolicy": {"policies": [{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.` + config + `}}}]}}`
	}
	protocol := func(options string) string {
		return `{"name": "c", ` + eds + `, "typedExtensionProtocolOptions": {"other": {"@type": "type.googleapis.com/google.protobuf.Empty"}, "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
			{"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", ` + options + `}}}`
	}
	locality := `"localityLbConfig": {"localityWeightedLbConfig": {}}`
	endpoint := `"loadAssignment": {"endpoints": [{"lbEndpoints": [{"endpoint": {"address": {"socketAddress": {"address": "h.example", "portValue": 1}}}}]}]}`
	dnsEndpoints := &balancer.Assignment{Localities: []balancer.LocalityEndpoints{{Endpoints: []balancer.EndpointConfig{{Address: "h.example:1"}}}}}
	tests := map[string]balancer.Config{
		`{"name": "c", ` + eds + `}`: {PanicThreshold: 50, LegacyPolicy: true},
		`{"name": "c", "type": "EDS", "edsClusterConfig": {"edsConfig": {"self": {}}, "serviceName": "s"}, "connectTimeout": "1.5s", "commonLbConfig": {"healthyPanicThreshold": {}}}`: {
			EDSName: "s", LegacyPolicy: true, ConnectTimeout: 1500 * time.Millisecond},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"healthyPanicThreshold": {"value": 12.5}, "localityWeightedLbConfig": {}}}`: {
			PanicThreshold: 12.5, LegacyPolicy: true, LocalityWeighted: true},
		`{"name": "c", ` + eds + `, "lbPolicy": "RANDOM"}`:    {PanicThreshold: 50, LegacyPolicy: true, Policy: balancer.Policy{Kind: balancer.Random}},
		`{"name": "c", ` + eds + `, "lbPolicy": "RING_HASH"}`: {PanicThreshold: 50, LegacyPolicy: true, Policy: balancer.Policy{Kind: balancer.RingHash}},
		`{"name": "c", ` + eds + `, "lbPolicy": "RING_HASH", "ringHashLbConfig": {"minimumRingSize": 5, "maximumRingSize": 9}, "commonLbConfig": {"consistentHashingLbConfig": {"useHostnameForHashing": true}}}`: {
			PanicThreshold: 50, LegacyPolicy: true, Policy: balancer.Policy{Kind: balancer.RingHash, MinRingSize: 5, MaxRingSize: 9, HashHostname: true}},
		`{"name": "c", ` + eds + `, "lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": 7}}`: {PanicThreshold: 50, LegacyPolicy: true, Policy: balancer.Policy{Kind: balancer.Maglev, TableSize: 7}},
		`{"name": "c", ` + eds + `, "lbPolicy": "LEAST_REQUEST"}`:                              {PanicThreshold: 50, LegacyPolicy: true, Policy: balancer.Policy{Kind: balancer.LeastRequest, ActiveRequestBias: -1}},
		`{"name": "c", ` + eds + `, "lbPolicy": "LEAST_REQUEST", "leastRequestLbConfig": {"choiceCount": 5, "activeRequestBias": {"defaultValue": 0.5}}}`: {
			PanicThreshold: 50, LegacyPolicy: true, Policy: balancer.Policy{Kind: balancer.LeastRequest, ChoiceCount: 5, ActiveRequestBias: 0.5}},
		`{"name": "c", ` + eds + `, "lbPolicy": "MAGLEV", "commonLbConfig": {"consistentHashingLbConfig": {"hashBalanceFactor": 100}}}`: {
			PanicThreshold: 50, LegacyPolicy: true, Policy: balancer.Policy{Kind: balancer.Maglev, HashBalanceFactor: 100}},
		typed(`ring_hash.v3.RingHash", "hashBalanceFactor": 150, "useHostnameForHashing": true`): {
			PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.RingHash, HashBalanceFactor: 150, HashHostname: true}},
		typed(`ring_hash.v3.RingHash", "hashBalanceFactor": 150, "consistentHashingLbConfig": {"hashBalanceFactor": 120}`): {
			PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.RingHash, HashBalanceFactor: 120}},
		typed(`maglev.v3.Maglev", "consistentHashingLbConfig": {"hashBalanceFactor": 125}`): {
			PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.Maglev, HashBalanceFactor: 125}},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"zoneAwareLbConfig": {}}}`: {
			PanicThreshold: 50, LegacyPolicy: true, ZoneAware: &balancer.ZoneAware{Routing: 100, MinClusterSize: 6}},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"zoneAwareLbConfig": {"routingEnabled": {"value": 12.5}, "minClusterSize": 0, "failTrafficOnPanic": true}}}`: {
			PanicThreshold: 50, LegacyPolicy: true, ZoneAware: &balancer.ZoneAware{Routing: 12.5, FailOnPanic: true}},
		typed(`round_robin.v3.RoundRobin", "localityLbConfig": {"zoneAwareLbConfig": {"minClusterSize": 2, "forceLocalityDirectRouting": true, "localityBasis": "HEALTHY_HOSTS_WEIGHT"}}`): {
			PanicThreshold: 50, ZoneAware: &balancer.ZoneAware{Routing: 100, MinClusterSize: 2, ForceLocalSize: 1, ByWeight: true}},
		typed(`random.v3.Random", "localityLbConfig": {"zoneAwareLbConfig": {"forceLocalZone": {"minSize": 3}}}`): {
			PanicThreshold: 50, ZoneAware: &balancer.ZoneAware{Routing: 100, MinClusterSize: 6, ForceLocalSize: 3}, Policy: balancer.Policy{Kind: balancer.Random}},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"overrideHostStatus": {"statuses": ["HEALTHY", "DRAINING"]}}}`: {
			PanicThreshold: 50, LegacyPolicy: true, OverrideHealth: balancer.Healths(balancer.Healthy, balancer.Draining)},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"overrideHostStatus": {}}}`: {
			PanicThreshold: 50, LegacyPolicy: true, OverrideHealth: balancer.NoHealth},
		typed(`override_host.v3.OverrideHost", "overrideHostSources": [{"header": "X-Host"}, {"metadata": {"key": "k"}}], "fallbackPolicy": {"policies": [{"typedExtensionConfig": {"name": "x",
			"typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}}}]}`): {
			PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.Random}, OverrideHeaders: []balancer.HeaderKey{{Lower: "x-host", Canonical: "X-Host"}}},
		typed(`random.v3.Random"`):                                             {PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.Random}},
		typed(`random.v3.Random", ` + locality):                                {PanicThreshold: 50, LocalityWeighted: true, Policy: balancer.Policy{Kind: balancer.Random}},
		typed(`round_robin.v3.RoundRobin", ` + locality):                       {PanicThreshold: 50, LocalityWeighted: true},
		typed(`least_request.v3.LeastRequest", "choiceCount": 3, ` + locality): {PanicThreshold: 50, LocalityWeighted: true, Policy: balancer.Policy{Kind: balancer.LeastRequest, ChoiceCount: 3, ActiveRequestBias: -1}},
		typed(`pick_first.v3.PickFirst", "shuffleAddressList": true`):          {PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.PickFirst, Shuffle: true}},
		typed(`maglev.v3.Maglev"`):                                             {PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.Maglev}},
		typed(`maglev.v3.Maglev", "tableSize": 5000011, "localityWeightedLbConfig": {}, "consistentHashingLbConfig": {"useHostnameForHashing": true}`): {
			PanicThreshold: 50, LocalityWeighted: true, Policy: balancer.Policy{Kind: balancer.Maglev, TableSize: 5000011, HashHostname: true}},
		typed(`ring_hash.v3.RingHash", "hashFunction": "XX_HASH", "minimumRingSize": 8388608, "localityWeightedLbConfig": {}`): {
			PanicThreshold: 50, LocalityWeighted: true, Policy: balancer.Policy{Kind: balancer.RingHash, MinRingSize: 8388608}},
		typed(`ring_hash.v3.RingHash", "maximumRingSize": 2048, "useHostnameForHashing": true`): {
			PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.RingHash, MaxRingSize: 2048, HashHostname: true}},
		typed(`wrr_locality.v3.WrrLocality", "endpointPickingPolicy": {"policies": [
			{"typedExtensionConfig": {"name": "unknown", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Empty"}}},
			{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}}}]}`): {
			PanicThreshold: 50, LocalityWeighted: true, Policy: balancer.Policy{Kind: balancer.Random}},
		// The newer form has localities in the policy, not in common_lb_config.
		`{"name": "c", ` + eds + `, "commonLbConfig": {"localityWeightedLbConfig": {}}, "loadBalancingPolicy": {"policies": [{"typedExtensionConfig": {"name": "x",
			"typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}}}]}}`: {
			PanicThreshold: 50, Policy: balancer.Policy{Kind: balancer.Random}},
		`{"name": "c", "type": "STRICT_DNS", "dnsRefreshRate": "60s", "respectDnsTtl": true, "dnsLookupFamily": "V4_ONLY",
			"dnsFailureRefreshRate": {"baseInterval": "1s", "maxInterval": "9s"}, ` + endpoint + `}`: {
			Discovery: balancer.DiscoverStrictDNS, Static: dnsEndpoints, PanicThreshold: 50, LegacyPolicy: true,
			DNS: balancer.DNS{RefreshRate: time.Minute, RespectTTL: true, FailureBase: time.Second, FailureMax: 9 * time.Second, Family: balancer.FamilyV4Only}},
		`{"name": "c", "type": "LOGICAL_DNS", "dnsLookupFamily": "ALL", ` + endpoint + `}`: {
			Discovery: balancer.DiscoverLogicalDNS, Static: dnsEndpoints, PanicThreshold: 50, LegacyPolicy: true, DNS: balancer.DNS{Family: balancer.FamilyAll}},
		`{"name": "c"}`: {Discovery: balancer.DiscoverStatic, Static: &balancer.Assignment{}, PanicThreshold: 50, LegacyPolicy: true},
		`{"name": "c", ` + eds + `, "http2ProtocolOptions": {}}`:               {PanicThreshold: 50, LegacyPolicy: true, Protocol: balancer.ProtocolHTTP2},
		protocol(`"explicitHttpConfig": {"http2ProtocolOptions": {}}`):         {PanicThreshold: 50, LegacyPolicy: true, Protocol: balancer.ProtocolHTTP2},
		protocol(`"explicitHttpConfig": {"httpProtocolOptions": {}}`):          {PanicThreshold: 50, LegacyPolicy: true, Protocol: balancer.ProtocolHTTP1},
		protocol(`"useDownstreamProtocolConfig": {"httpProtocolOptions": {}}`): {PanicThreshold: 50, LegacyPolicy: true, Protocol: balancer.ProtocolHTTP1},
		protocol(`"autoConfig": {}`):                                           {PanicThreshold: 50, LegacyPolicy: true, Protocol: balancer.ProtocolAuto},
	}
	for json, want := range tests {
		want.Name = "c"
		got := decodedConfig(t, json)
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", json, diff)
		}
	}
}

// decodedConfig is what a cluster would be configured with, seen in a cluster whose
// endpoints are of no interest.
func decodedConfig(t *testing.T, json string) *balancer.Config {
	t.Helper()
	c := parse(t, &clusterv3.Cluster{}, json)
	s := newStatic(t, simpleRoutes("r", "c"), c)
	var made *balancer.Cluster
	r, err := resolver.New(resolver.Config{Source: s, NewCluster: func(name string) *balancer.Cluster {
		made = balancer.NewCluster(name, balancer.ClusterOptions{Resolver: fixedDNS{}})
		return made
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	target := r.Target(resolver.TargetName{RouteConfig: "r"})
	if _, err := target.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	return made.Config()
}

func TestRefusedClusters(t *testing.T) {
	typed := func(policies string) string {
		return `{"name": "c", ` + eds + `, "loadBalancingPolicy": {"policies": [` + policies + `]}}`
	}
	nested := `{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}}}`
	for range 20 {
		nested = `{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality",
			"endpointPickingPolicy": {"policies": [` + nested + `]}}}}`
	}
	for json, texts := range map[string][]string{
		`{}`:                       {"no name"},
		`{"name": "c", "type": 9}`: {"type:", "9"},
		`{"name": "c", ` + eds + `, "connectTimeout": "-1s"}`:                                                 {"connect_timeout:", "negative"},
		`{"name": "c", ` + eds + `, "dnsLookupFamily": 9}`:                                                    {"dns_lookup_family:", "9"},
		`{"name": "c", ` + eds + `, "dnsRefreshRate": "-1s"}`:                                                 {"dns_refresh_rate:", "negative"},
		`{"name": "c", ` + eds + `, "dnsFailureRefreshRate": {"baseInterval": "2s", "maxInterval": "1s"}}`:    {"dns_failure_refresh_rate.max_interval:", "less than"},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"healthyPanicThreshold": {"value": 101}}}`:             {"common_lb_config.healthy_panic_threshold:", "101"},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"healthyPanicThreshold": {"value": "NaN"}}}`:           {"common_lb_config.healthy_panic_threshold:", "NaN"},
		`{"name": "c", ` + eds + `, "lbPolicy": "CLUSTER_PROVIDED"}`:                                          {"lb_policy:", "CLUSTER_PROVIDED"},
		`{"name": "c", ` + eds + `, "lbPolicy": "LOAD_BALANCING_POLICY_CONFIG"}`:                              {"lb_policy:", "load_balancing_policy is not set"},
		`{"name": "c", ` + eds + `, "lbPolicy": "LEAST_REQUEST", "leastRequestLbConfig": {"choiceCount": 1}}`: {"least_request_lb_config.choice_count:", "1 is less than 2"},
		`{"name": "c", "loadAssignment": {"endpoints": [{"lbEndpoints": [{}]}]}}`:                             {"load_assignment.endpoints[0].lb_endpoints[0]: endpoint:"},
		`{"name": "c", "type": "LOGICAL_DNS"}`:                                                                {"load_assignment:", "0 endpoints"},
		`{"name": "c", ` + eds + `, "transportSocketMatches": [{"name": "x"}]}`:                               {"transport_socket_matches[0].transport_socket:", "required"},
		`{"name": "c", "type": "ORIGINAL_DST", "lbPolicy": "CLUSTER_PROVIDED",
			"originalDstLbConfig": {"upstreamPortOverride": 65536}}`: {"original_dst_lb_config.upstream_port_override:", "65536 is not a port"},
		`{"name": "c", ` + eds + `, "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
			{"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"}}}`: {"typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions]:", "must have"},
		`{"name": "c", ` + eds + `, "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
			{"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicitHttpConfig": {"http3ProtocolOptions": {}}}}}`: {"explicit_http_config:", "not supported"},
		`{"name": "c", ` + eds + `, "lbPolicy": "RING_HASH", "ringHashLbConfig": {"hashFunction": "MURMUR_HASH_2"}}`: {"ring_hash_lb_config.hash_function:", "not supported"},
		`{"name": "c", ` + eds + `, "lbPolicy": "RING_HASH", "ringHashLbConfig": {"maximumRingSize": 8388609}}`:      {"ring_hash_lb_config.maximum_ring_size:", "8388609"},
		`{"name": "c", ` + eds + `, "lbPolicy": "RING_HASH", "ringHashLbConfig": {"minimumRingSize": 0}}`:            {"ring_hash_lb_config.minimum_ring_size:", "0 is not"},
		`{"name": "c", ` + eds + `, "lbPolicy": "RING_HASH", "ringHashLbConfig": {"maximumRingSize": 9}}`:            {"ring_hash_lb_config.minimum_ring_size:", "1024 is more than"},
		`{"name": "c", ` + eds + `, "lbPolicy": "RING_HASH", "commonLbConfig": {"consistentHashingLbConfig": {"hashBalanceFactor": 99}}}`: {
			"common_lb_config.consistent_hashing_lb_config.hash_balance_factor:", "99 is less than 100"},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"zoneAwareLbConfig": {"routingEnabled": {"value": 101}}}}`: {
			"common_lb_config.zone_aware_lb_config.routing_enabled:", "101 is not a percentage"},
		typed(`{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random", "localityLbConfig": {"zoneAwareLbConfig": {"localityBasis": 9}}}}}`): {
			"locality_lb_config.zone_aware_lb_config.locality_basis:", "9"},
		typed(`{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost"}}}`): {
			"override_host_sources:", "must not be empty"},
		typed(`{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost", "overrideHostSources": [{}]}}}`): {
			"override_host_sources[0]:", "header or metadata"},
		`{"name": "c", ` + eds + `, "commonLbConfig": {"overrideHostStatus": {"statuses": [77]}}}`:   {"common_lb_config.override_host_status.statuses[0]:", "77"},
		`{"name": "c", ` + eds + `, "lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": 65536}}`:   {"maglev_lb_config.table_size:", "65536 is not a prime"},
		`{"name": "c", ` + eds + `, "lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": 5000023}}`: {"maglev_lb_config.table_size:", "at most 5000011"},
		typed(`{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash", "hashFunction": "MURMUR_HASH_2"}}}`): {
			"policies[0].typed_extension_config.typed_config.hash_function:", "not supported"},
		typed(``): {"load_balancing_policy:", "none of the policies"},
		typed(`{"typedExtensionConfig": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Empty"}}}`): {"load_balancing_policy:", "none of the policies"},
		typed(nested): {"nested deeper than 16"},
	} {
		_, err := decode(t, parse(t, &clusterv3.Cluster{}, json))
		wantError(t, err, texts...)
	}
}

// What cannot be done and cannot be left out fails the cluster's calls, not the
// resource: a control plane that sends all it has, sends such clusters too.
func TestUnsupportedClusters(t *testing.T) {
	for json, what := range map[string]string{
		`{"name": "c", "clusterType": {"name": "envoy.clusters.aggregate"}}`:              "cluster_type: envoy.clusters.aggregate: not supported",
		`{"name": "c", "type": "EDS", "edsClusterConfig": {"edsConfig": {"path": "/x"}}}`: "eds_cluster_config.eds_config:",
		`{"name": "c", "type": "EDS"}`:                                                    "eds_cluster_config.eds_config:",
		`{"name": "c", "transportSocketMatcher": {}}`:                                     "transport_socket_matcher:",
	} {
		c := parse(t, &clusterv3.Cluster{}, json)
		table := table(t, resolver.TargetName{RouteConfig: "r"}, simpleRoutes("r", "c"), c)
		_, err := pickEndpoint(t, table)
		wantError(t, err, `cluster "c"`, what, "not supported")
	}
}
