package resolver_test

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
)

// typedPolicies is a cluster with a list of policies, each the end of a type's name and
// its fields.
func typedPolicies(list ...string) string {
	return `{"name": "c", ` + eds + `, "loadBalancingPolicy": ` + policyList(list...) + `}`
}

func policyList(list ...string) string {
	var entries []string
	for _, p := range list {
		if !strings.HasPrefix(p, "{") {
			p = `{"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.` + p + `}`
		}
		entries = append(entries, `{"typedExtensionConfig": {"name": "x", "typedConfig": `+p+`}}`)
	}
	return `{"policies": [` + strings.Join(entries, ", ") + `]}`
}

const (
	unknownPolicy = `{"@type": "type.googleapis.com/google.protobuf.Empty"}`
	customPolicy  = `{"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "typeUrl": "type.googleapis.com/my.own.Policy", "value": {"a": 1}}`
	customPolicy1 = `{"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "typeUrl": "type.googleapis.com/my.own.Policy", "value": {"a": 1}}`
	slowStart     = `"slowStartConfig": {"slowStartWindow": "30s", "aggression": {"defaultValue": 1.5, "runtimeKey": "k"}, "minWeightPercent": {"value": 25}}`
)

func TestLearningPolicies(t *testing.T) {
	slow := balancer.SlowStart{Window: 30 * time.Second, Aggression: 1.5, MinWeightPercent: 25}
	leastRequest := balancer.Policy{Kind: balancer.LeastRequest, ActiveRequestBias: -1}
	with := func(p balancer.Policy, change func(*balancer.Policy)) balancer.Policy {
		change(&p)
		return p
	}
	type policy struct {
		legacy, locality bool
		balancer.Policy
	}
	for json, want := range map[string]policy{
		`{"name": "c", ` + eds + `, "roundRobinLbConfig": {` + slowStart + `}}`:                                     {legacy: true, Policy: balancer.Policy{SlowStart: slow}},
		`{"name": "c", ` + eds + `, "lbPolicy": "LEAST_REQUEST", "leastRequestLbConfig": {` + slowStart + `}}`:      {legacy: true, Policy: with(leastRequest, func(p *balancer.Policy) { p.SlowStart = slow })},
		`{"name": "c", ` + eds + `, "roundRobinLbConfig": {"slowStartConfig": {"slowStartWindow": "5s"}}}`:          {legacy: true, Policy: balancer.Policy{SlowStart: balancer.SlowStart{Window: 5 * time.Second, MinWeightPercent: 10}}},
		`{"name": "c", ` + eds + `, "roundRobinLbConfig": {"slowStartConfig": {"minWeightPercent": {"value": 1}}}}`: {legacy: true}, // no window: off
		typedPolicies(`round_robin.v3.RoundRobin", ` + slowStart):                                                   {Policy: balancer.Policy{SlowStart: slow}},
		typedPolicies(`round_robin.v3.RoundRobin", "slowStartConfig": {"slowStartWindow": "5s", "aggression": {"defaultValue": -2}, "minWeightPercent": {}}`): {
			Policy: balancer.Policy{SlowStart: balancer.SlowStart{Window: 5 * time.Second}}},
		typedPolicies(`least_request.v3.LeastRequest", ` + slowStart):                   {Policy: with(leastRequest, func(p *balancer.Policy) { p.SlowStart = slow })},
		typedPolicies(`least_request.v3.LeastRequest", "selectionMethod": "FULL_SCAN"`): {Policy: with(leastRequest, func(p *balancer.Policy) { p.FullScan = true })},
		typedPolicies(`least_request.v3.LeastRequest", "enableFullScan": true`):         {Policy: with(leastRequest, func(p *balancer.Policy) { p.FullScan = true })},
		typedPolicies(`least_request.v3.LeastRequest", "choiceCount": 1000`):            {Policy: with(leastRequest, func(p *balancer.Policy) { p.ChoiceCount = 100 })},
		typedPolicies(`least_request.v3.LeastRequest", "activeRequestBias": {"runtimeKey": "k"}`): {
			Policy: with(leastRequest, func(p *balancer.Policy) { p.ActiveRequestBias = 0 })},
		typedPolicies(`peak_ewma.v3alpha.PeakEwma"`): {Policy: balancer.Policy{Kind: balancer.PeakEWMA, EWMA: balancer.EWMA{Penalty: 1e6}}},
		typedPolicies(`peak_ewma.v3alpha.PeakEwma", "decayTime": "5s", "aggregationInterval": "0.05s", "maxSamplesPerHost": 5, "defaultRtt": "0.002s", "penaltyValue": 7`): {
			Policy: balancer.Policy{Kind: balancer.PeakEWMA, EWMA: balancer.EWMA{
				DecayTime: 5 * time.Second, AggregationInterval: 50 * time.Millisecond, DefaultRTT: 2 * time.Millisecond, Penalty: 7}}},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"`): {
			Policy: balancer.Policy{Kind: balancer.ClientSideWeightedRoundRobin, Load: balancer.LoadWeights{Blackout: 10 * time.Second, ErrorPenalty: 1}}},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "enableOobLoadReport": true, "oobReportingPeriod": "3s", "blackoutPeriod": "0s",
			"weightExpirationPeriod": "60s", "weightUpdatePeriod": "0.5s", "errorUtilizationPenalty": 2.5, "metricNamesForComputingUtilization": ["named_metrics.q"], ` + slowStart): {
			Policy: balancer.Policy{Kind: balancer.ClientSideWeightedRoundRobin, SlowStart: slow, Load: balancer.LoadWeights{
				OutOfBand: true, ReportingPeriod: 3 * time.Second, Expiration: time.Minute, Update: 500 * time.Millisecond,
				ErrorPenalty: 2.5, Metrics: []string{"named_metrics.q"}}}},
		typedPolicies(`random_subsetting.v3.RandomSubsetting", "subsetSize": 20, "childPolicy": ` + policyList(unknownPolicy, `random.v3.Random"`)): {
			Policy: balancer.Policy{Kind: balancer.Random, RandomSubset: balancer.RandomSubset{Size: 20}}},
		typedPolicies(`random_subsetting.v3.RandomSubsetting", "subsetSize": 20, "childPolicy": ` + policyList(`wrr_locality.v3.WrrLocality", "endpointPickingPolicy": `+policyList(`random.v3.Random"`))): {
			locality: true, Policy: balancer.Policy{Kind: balancer.Random, RandomSubset: balancer.RandomSubset{Size: 20}}},
		typedPolicies(`wrr_locality.v3.WrrLocality", "endpointPickingPolicy": ` + policyList(`random_subsetting.v3.RandomSubsetting", "subsetSize": 20, "childPolicy": `+policyList(`random.v3.Random"`))): {
			locality: true, Policy: balancer.Policy{Kind: balancer.Random, RandomSubset: balancer.RandomSubset{Size: 20, PerLocality: true}}},
		// The first that is known counts, on each level (gRFC A52).
		typedPolicies(unknownPolicy, customPolicy, customPolicy1, `random.v3.Random"`, `round_robin.v3.RoundRobin"`): {Policy: balancer.Policy{Kind: balancer.Random}},
		typedPolicies(unknownPolicy, `wrr_locality.v3.WrrLocality", "endpointPickingPolicy": `+policyList(customPolicy, unknownPolicy, `peak_ewma.v3alpha.PeakEwma"`, `random.v3.Random"`), `round_robin.v3.RoundRobin"`): {
			locality: true, Policy: balancer.Policy{Kind: balancer.PeakEWMA, EWMA: balancer.EWMA{Penalty: 1e6}}},
	} {
		got := decodedConfig(t, json)
		want := &balancer.Config{Name: "c", PanicThreshold: 50, LegacyPolicy: want.legacy, LocalityWeighted: want.locality, Policy: want.Policy}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", json, diff)
		}
	}
}

func TestRefusedLearningPolicies(t *testing.T) {
	const at = "load_balancing_policy.policies[0].typed_extension_config.typed_config."
	for json, texts := range map[string][]string{
		`{"name": "c", ` + eds + `, "roundRobinLbConfig": {"slowStartConfig": {"slowStartWindow": "-1s"}}}`:                                      {"round_robin_lb_config.slow_start_config.slow_start_window:", "negative"},
		`{"name": "c", ` + eds + `, "roundRobinLbConfig": {"slowStartConfig": {"slowStartWindow": "1s", "minWeightPercent": {"value": 101}}}}`:   {"slow_start_config.min_weight_percent:", "101"},
		typedPolicies(`least_request.v3.LeastRequest", "slowStartConfig": {"slowStartWindow": "1s", "minWeightPercent": {"value": "NaN"}}`):      {at + "slow_start_config.min_weight_percent:", "NaN"},
		typedPolicies(`peak_ewma.v3alpha.PeakEwma", "decayTime": "-1s"`):                                                                         {at + "decay_time:", "negative"},
		typedPolicies(`peak_ewma.v3alpha.PeakEwma", "aggregationInterval": "-1s"`):                                                               {at + "aggregation_interval:", "negative"},
		typedPolicies(`peak_ewma.v3alpha.PeakEwma", "defaultRtt": "-1s"`):                                                                        {at + "default_rtt:", "negative"},
		typedPolicies(`peak_ewma.v3alpha.PeakEwma", "penaltyValue": "Infinity"`):                                                                 {at + "penalty_value:", "Inf"},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "errorUtilizationPenalty": -1`):                        {at + "error_utilization_penalty:", "-1"},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "errorUtilizationPenalty": "NaN"`):                     {at + "error_utilization_penalty:", "NaN"},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "blackoutPeriod": "-1s"`):                              {at + "blackout_period:", "negative"},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "oobReportingPeriod": "-1s"`):                          {at + "oob_reporting_period:", "negative"},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "weightExpirationPeriod": "-1s"`):                      {at + "weight_expiration_period:", "negative"},
		typedPolicies(`client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "weightUpdatePeriod": "-1s"`):                          {at + "weight_update_period:", "negative"},
		typedPolicies(`random_subsetting.v3.RandomSubsetting", "childPolicy": ` + policyList(`random.v3.Random"`)):                               {at + "subset_size:", "at least 1"},
		typedPolicies(`random_subsetting.v3.RandomSubsetting", "subsetSize": 1`):                                                                 {at + "child_policy:", "none of the policies is known"},
		typedPolicies(`random_subsetting.v3.RandomSubsetting", "subsetSize": 1, "childPolicy": `+policyList(unknownPolicy), `random.v3.Random"`): {at + "child_policy:", "none of the policies is known"},
		typedPolicies(`random_subsetting.v3.RandomSubsetting", "subsetSize": 1, "childPolicy": ` + policyList(
			`random_subsetting.v3.RandomSubsetting", "subsetSize": 1, "childPolicy": `+policyList(`random.v3.Random"`))): {at + "child_policy:", "within"},
		typedPolicies(unknownPolicy, customPolicy): {"load_balancing_policy:", "none of the policies is known"},
	} {
		_, err := decode(t, parse(t, &clusterv3.Cluster{}, json))
		wantError(t, err, texts...)
	}
}
