package policy

import (
	"strings"
	"testing"
)

func TestLearningBalanceProblems(t *testing.T) {
	for balance, want := range map[string]string{
		`policy: peak_emwa`:                                                                      `1:60: "peak_emwa" is not one of`,
		`policy: random, selectionMethod: full_scan`:                                             `"selectionMethod" is for the policy least_request only`,
		`policy: least_request, selectionMethod: all`:                                            `"all" is not one of n_choices, full_scan`,
		`policy: least_request, activeRequestBias: -1`:                                           `1:94: bad number -1: want a number of at least 0, such as 1.5`,
		`policy: least_request, activeRequestBias: .nan`:                                         `bad number .nan`,
		`policy: least_request, activeRequestBias: .inf`:                                         `bad number .inf`,
		`policy: least_request, activeRequestBias: "1"`:                                          `want a number of at least 0, such as 1.5`,
		`policy: peak_ewma, activeRequestBias: 1`:                                                `"activeRequestBias" is for the policy least_request only`,
		`shuffleAddressList: true`:                                                               `"shuffleAddressList" is for the policy pick_first only`,
		`decayTime: 1s`:                                                                          `"decayTime" is for the policy peak_ewma only`,
		`policy: peak_ewma, decayTime: 0s`:                                                       `0s: it must be greater than zero`,
		`policy: peak_ewma, aggregationInterval: 1ms`:                                            `1ms: it must be at least 10ms`,
		`policy: peak_ewma, defaultRtt: 0s`:                                                      `0s: it must be greater than zero`,
		`policy: random, penaltyValue: 1`:                                                        `"penaltyValue" is for the policy peak_ewma only`,
		`policy: peak_ewma, blackoutPeriod: 1s`:                                                  `"blackoutPeriod" is for the policy client_side_weighted_round_robin only`,
		`policy: client_side_weighted_round_robin, weightUpdatePeriod: 99ms`:                     `99ms: it must be at least 100ms`,
		`policy: client_side_weighted_round_robin, weightExpirationPeriod: 0s`:                   `0s: it must be greater than zero`,
		`policy: client_side_weighted_round_robin, oobReportingPeriod: 0s`:                       `0s: it must be greater than zero`,
		`policy: client_side_weighted_round_robin, errorUtilizationPenalty: -1`:                  `bad number -1`,
		`policy: client_side_weighted_round_robin, metricNamesForComputingUtilization: [cpu]`:    `"cpu" is not cpu_utilization,`,
		`policy: client_side_weighted_round_robin, metricNamesForComputingUtilization: [eps, a]`: `"eps" is not cpu_utilization,`,
		`policy: random, slowStart: {slowStartWindow: 1s}`:                                       `"slowStart" is for the policies round_robin, least_request and client_side_weighted_round_robin only`,
		`slowStart: {}`:                                                       `slowStartWindow`,
		`slowStart: {slowStartWindow: 0s}`:                                    `0s: it must be greater than zero`,
		`slowStart: {slowStartWindow: 1s, aggression: 0}`:                     `aggression is 0: it must be greater than zero`,
		`slowStart: {slowStartWindow: 1s, minWeightPercent: 101%}`:            `101%`,
		`slowStart: {window: 1s, slowStartWindow: 1s}`:                        `unknown field "window"`,
		`subsetSize: 0`:                                                       `subsetSize is 0: at least 1 endpoint is to be used`,
		`subsetSize: 3, zoneAware: {}`:                                        `"subsetSize" cannot stand beside "zoneAware"`,
		`policy: maglev, subsetSize: 3`:                                       `"subsetSize" is not for the policy maglev`,
		`policy: least_request, subsetSize: 3, localityWeights: {a: 1, b: 1}`: `no endpoint is in the locality "b"`,
	} {
		_, err := Parse("p.yaml", []byte(`services: {a: {endpoints: ["1.2.3.4:1"], balance: {`+balance+`}}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", balance, err, want)
		}
	}
}
