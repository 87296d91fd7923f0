package resolver_test

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
)

func TestOutlierDetection(t *testing.T) {
	defaults := balancer.OutlierDetection{
		Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 300 * time.Second,
		MaxEjectionPercent: 10,
		Consecutive5xx:     balancer.Consecutive{Threshold: 5, Enforcing: 100},
		ConsecutiveGateway: balancer.Consecutive{Threshold: 5},
		ConsecutiveLocal:   balancer.Consecutive{Threshold: 5, Enforcing: 100},
		SuccessRate:        balancer.SuccessRate{MinimumHosts: 5, RequestVolume: 100, StdevFactor: 1900, Enforcing: 100, EnforcingLocal: 100},
		FailurePercentage:  balancer.FailurePercentage{Threshold: 85, MinimumHosts: 5, RequestVolume: 50},
		UnejectOnCheck:     true,
	}
	for _, c := range []struct {
		fields string
		want   *balancer.OutlierDetection
	}{
		{`{}`, &defaults},
		{`{"interval": "1s", "baseEjectionTime": "2s", "maxEjectionTime": "3s", "maxEjectionTimeJitter": "4s",
			"maxEjectionPercent": 1, "alwaysEjectOneHost": true,
			"consecutive5xx": 2, "enforcingConsecutive5xx": 3,
			"consecutiveGatewayFailure": 4, "enforcingConsecutiveGatewayFailure": 5,
			"splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailure": 6, "enforcingConsecutiveLocalOriginFailure": 7,
			"successRateMinimumHosts": 8, "successRateRequestVolume": 9, "successRateStdevFactor": 10,
			"enforcingSuccessRate": 11, "enforcingLocalOriginSuccessRate": 12,
			"failurePercentageThreshold": 13, "failurePercentageMinimumHosts": 14, "failurePercentageRequestVolume": 15,
			"enforcingFailurePercentage": 16, "enforcingFailurePercentageLocalOrigin": 17,
			"successfulActiveHealthCheckUnejectHost": false}`, &balancer.OutlierDetection{
			Interval: time.Second, BaseEjectionTime: 2 * time.Second, MaxEjectionTime: 3 * time.Second, MaxEjectionTimeJitter: 4 * time.Second,
			MaxEjectionPercent: 1, AlwaysEjectOne: true,
			Consecutive5xx:     balancer.Consecutive{Threshold: 2, Enforcing: 3},
			ConsecutiveGateway: balancer.Consecutive{Threshold: 4, Enforcing: 5},
			SplitLocalOrigin:   true,
			ConsecutiveLocal:   balancer.Consecutive{Threshold: 6, Enforcing: 7},
			SuccessRate:        balancer.SuccessRate{MinimumHosts: 8, RequestVolume: 9, StdevFactor: 10, Enforcing: 11, EnforcingLocal: 12},
			FailurePercentage:  balancer.FailurePercentage{Threshold: 13, MinimumHosts: 14, RequestVolume: 15, Enforcing: 16, EnforcingLocal: 17},
		}},
	} {
		config := decodedConfig(t, `{"name": "c", `+eds+`, "outlierDetection": `+c.fields+`}`)
		if diff := cmp.Diff(c.want, config.OutlierDetection); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.fields, diff)
		}
	}
	for fields, want := range map[string]string{
		`{"interval": "0s"}`:                       "outlier_detection.interval",
		`{"baseEjectionTime": "-1s"}`:              "outlier_detection.base_ejection_time",
		`{"maxEjectionPercent": 101}`:              "outlier_detection.max_ejection_percent",
		`{"enforcingSuccessRate": 101}`:            "outlier_detection.enforcing_success_rate",
		`{"failurePercentageThreshold": 101}`:      "outlier_detection.failure_percentage_threshold",
		`{"enforcingConsecutive5xx": 4294967295}`:  "outlier_detection.enforcing_consecutive_5xx",
		`{"enforcingFailurePercentage": 10000000}`: "outlier_detection.enforcing_failure_percentage",
	} {
		_, err := decode(t, parse(t, &clusterv3.Cluster{}, `{"name": "c", `+eds+`, "outlierDetection": `+fields+`}`))
		wantError(t, err, want)
	}
}
