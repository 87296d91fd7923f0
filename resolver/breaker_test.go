package resolver_test

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/resilience"
)

func TestBreakers(t *testing.T) {
	type breakers struct{ Endpoint, Cluster *resilience.BreakerConfig }
	for fields, want := range map[string]breakers{
		`{}`: {},
		`{"endpoint": {"consecutive_failures": 5}}`: {Endpoint: &resilience.BreakerConfig{ConsecutiveFailures: 5, OpenTime: 30 * time.Second, Probes: 1}},
		`{"cluster": {"failure_percent": 0.5}}`: {Cluster: &resilience.BreakerConfig{
			FailurePercent: 0.5, MinimumRequests: 20, Interval: 10 * time.Second, OpenTime: 30 * time.Second, Probes: 1}},
		`{"endpoint": {"consecutive_failures": 1, "failure_percent": 100, "minimum_requests": 0, "interval": "100ms", "open_time": "1m30s", "probes": 3},
		  "cluster": {"consecutive_failures": 4294967295, "open_time": "1ms"}}`: {
			Endpoint: &resilience.BreakerConfig{ConsecutiveFailures: 1, FailurePercent: 100, Interval: 100 * time.Millisecond, OpenTime: 90 * time.Second, Probes: 3},
			Cluster:  &resilience.BreakerConfig{ConsecutiveFailures: 4294967295, OpenTime: time.Millisecond, Probes: 1},
		},
	} {
		config := decodedConfig(t, `{"name": "c", `+eds+`, "metadata": {"filterMetadata": {"weft.breaker": `+fields+`}}}`)
		if diff := cmp.Diff(want, breakers{config.EndpointBreaker, config.ClusterBreaker}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", fields, diff)
		}
	}
	for fields, want := range map[string]string{
		`{"endpoints": {}}`:                                               `endpoints: is not known`,
		`{"endpoint": 5}`:                                                 `endpoint: is not a struct`,
		`{"endpoint": {}}`:                                                `endpoint: never opens`,
		`{"endpoint": {"probes": 2}}`:                                     `endpoint: never opens`,
		`{"endpoint": {"consecutiveFailures": 5}}`:                        `endpoint.consecutiveFailures: is not known`,
		`{"endpoint": {"consecutive_failures": 0}}`:                       `endpoint.consecutive_failures: 0 is not a whole number from 1 to 4294967295`,
		`{"endpoint": {"consecutive_failures": 1.5}}`:                     `endpoint.consecutive_failures: 1.5 is not`,
		`{"endpoint": {"consecutive_failures": 1e10}}`:                    `endpoint.consecutive_failures: 1e+10 is not`,
		`{"endpoint": {"consecutive_failures": "5"}}`:                     `endpoint.consecutive_failures: 5 is not`,
		`{"endpoint": {"consecutive_failures": null}}`:                    `endpoint.consecutive_failures: <nil> is not`,
		`{"cluster": {"failure_percent": 0}}`:                             `cluster.failure_percent: 0 is not a percentage`,
		`{"cluster": {"failure_percent": 100.1}}`:                         `cluster.failure_percent: 100.1 is not a percentage`,
		`{"cluster": {"failure_percent": 50, "interval": "99ms"}}`:        `cluster.interval: 99ms is not a duration of 100ms or more`,
		`{"cluster": {"failure_percent": 50, "interval": 10}}`:            `cluster.interval: 10 is not a duration`,
		`{"cluster": {"failure_percent": 50, "open_time": "0s"}}`:         `cluster.open_time: 0s is not a duration of 1ms or more`,
		`{"cluster": {"failure_percent": 50, "probes": 0}}`:               `cluster.probes: 0 is not a whole number`,
		`{"cluster": {"consecutive_failures": 5, "minimum_requests": 5}}`: `cluster.minimum_requests: is only for failure_percent`,
		`{"cluster": {"consecutive_failures": 5, "interval": "5s"}}`:      `cluster.interval: is only for failure_percent`,
	} {
		_, err := decode(t, parse(t, &clusterv3.Cluster{}, `{"name": "c", `+eds+`, "metadata": {"filterMetadata": {"weft.breaker": `+fields+`}}}`))
		wantError(t, err, "metadata.weft.breaker."+want)
	}
}
