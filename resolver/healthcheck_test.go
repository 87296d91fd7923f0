package resolver_test

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/internal/match"
)

// healthClusters are for the fuzzer.
var healthClusters = []string{
	`{"name": "c", "outlierDetection": {"interval": "1s", "splitExternalLocalOriginErrors": true}}`,
	`{"name": "c", "healthChecks": [{` + requiredOfCheck + `, "httpHealthCheck": {"path": "/", "receive": [{"text": "00"}]}},
		{` + requiredOfCheck + `, "tcpHealthCheck": {"send": {"text": "00"}}}, {` + requiredOfCheck + `, "grpcHealthCheck": {}}]}`,
}

const requiredOfCheck = `"timeout": "1s", "interval": "2s", "unhealthyThreshold": 3, "healthyThreshold": 4`

func TestHealthChecks(t *testing.T) {
	base := balancer.HealthCheck{
		Timeout: time.Second, Interval: 2 * time.Second, UnhealthyInterval: 2 * time.Second,
		UnhealthyEdgeInterval: 2 * time.Second, HealthyEdgeInterval: 2 * time.Second,
		NoTrafficInterval: time.Minute, NoTrafficHealthyInterval: time.Minute,
		UnhealthyThreshold: 3, HealthyThreshold: 4,
	}
	with := func(set func(*balancer.HealthCheck)) balancer.HealthCheck {
		h := base
		set(&h)
		return h
	}
	ok := []balancer.StatusRange{{Start: 200, End: 201}}
	prefix, err := match.NewString(match.Prefix, "orders", false)
	if err != nil {
		t.Fatal(err)
	}
	for fields, want := range map[string]balancer.HealthCheck{
		`"tcpHealthCheck": {}`:  with(func(h *balancer.HealthCheck) { h.TCP = &balancer.TCPCheck{} }),
		`"grpcHealthCheck": {}`: with(func(h *balancer.HealthCheck) { h.GRPC = &balancer.GRPCCheck{} }),
		`"httpHealthCheck": {"path": "/"}`: with(func(h *balancer.HealthCheck) {
			h.HTTP = &balancer.HTTPCheck{Method: "GET", Path: "/", Expected: ok, MaxBody: 1024}
		}),
		`"initialJitter": "1s", "intervalJitter": "2s", "intervalJitterPercent": 3, "reuseConnection": false,
			"noTrafficInterval": "5s", "unhealthyInterval": "6s",
			"tlsOptions": {"alpnProtocols": ["x"]}, "transportSocketMatchCriteria": {"check": true},
			"tcpHealthCheck": {"send": {"text": "00Ff"}, "receive": [{"text": "01"}, {"binary": "Ag=="}]}`: with(func(h *balancer.HealthCheck) {
			h.InitialJitter, h.IntervalJitter, h.IntervalJitterPercent, h.Reconnect = time.Second, 2*time.Second, 3, true
			h.NoTrafficInterval, h.NoTrafficHealthyInterval = 5*time.Second, 5*time.Second
			h.UnhealthyInterval, h.UnhealthyEdgeInterval = 6*time.Second, 6*time.Second
			h.ALPN, h.SocketLabels = []string{"x"}, map[string]string{"check": "true"}
			h.TCP = &balancer.TCPCheck{Send: []byte{0, 0xff}, Receive: [][]byte{{1}, {2}}}
		}),
		`"noTrafficHealthyInterval": "7s", "unhealthyEdgeInterval": "8s", "healthyEdgeInterval": "9s",
			"grpcHealthCheck": {"serviceName": "s", "authority": "a", "initialMetadata": [{"header": {"key": "k", "value": "100%%"}}, {"header": {"key": "l", "value": "%UPSTREAM%"}}]}`: with(func(h *balancer.HealthCheck) {
			h.NoTrafficHealthyInterval, h.UnhealthyEdgeInterval, h.HealthyEdgeInterval = 7*time.Second, 8*time.Second, 9*time.Second
			h.GRPC = &balancer.GRPCCheck{Service: "s", Authority: "a", Metadata: []balancer.CheckHeader{{Name: "k", Value: "100%", Append: true}}}
		}),
		`"httpHealthCheck": {"host": "h", "path": "/x?y", "method": "POST", "codecClientType": "HTTP2", "send": {"text": "61"}, "receive": [{"text": "62"}],
			"responseBufferSize": 5, "expectedStatuses": [{"start": 200, "end": 300}], "retriableStatuses": [{"start": 500, "end": 600}],
			"requestHeadersToAdd": [{"header": {"key": "k", "value": "v"}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}], "requestHeadersToRemove": ["r"],
			"serviceNameMatcher": {"prefix": "orders"}}`: with(func(h *balancer.HealthCheck) {
			h.HTTP = &balancer.HTTPCheck{Host: "h", Method: "POST", Path: "/x?y", HTTP2: true, Send: []byte("a"), Receive: [][]byte{[]byte("b")}, MaxBody: 5,
				Expected: []balancer.StatusRange{{Start: 200, End: 300}}, Retriable: []balancer.StatusRange{{Start: 500, End: 600}},
				Headers: []balancer.CheckHeader{{Name: "k", Value: "v"}}, WithoutHeaders: []string{"r"}, Service: &prefix}
		}),
	} {
		config := decodedConfig(t, `{"name": "c", "type": "STATIC", "commonLbConfig": {"ignoreNewHostsUntilFirstHc": true}, "healthChecks": [{`+requiredOfCheck+`, `+fields+`}]}`)
		if diff := cmp.Diff([]balancer.HealthCheck{want}, config.HealthChecks, cmp.AllowUnexported(match.String{})); diff != "" || !config.IgnoreUnchecked {
			t.Errorf("%s (-want +got):\n%s", fields, diff)
		}
	}
	for _, kind := range []string{`"httpHealthCheck": {"path": "/", "codecClientType": "HTTP3"}`, `"customHealthCheck": {"name": "redis"}`} {
		if config := decodedConfig(t, `{"name": "c", "healthChecks": [{`+requiredOfCheck+`, `+kind+`}]}`); len(config.HealthChecks) > 0 {
			t.Errorf("%s: %v, want no check", kind, config.HealthChecks)
		}
	}
}

func TestRefusedHealthChecks(t *testing.T) {
	whole := func(kind string) string { return `{` + requiredOfCheck + `, ` + kind + `}` }
	for check, want := range map[string]string{
		`{}`: "timeout: must be more than 0",
		`{"timeout": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1, "tcpHealthCheck": {}}`:        "interval: must be more than 0",
		`{"timeout": "1s", "interval": "1s", "healthyThreshold": 1, "tcpHealthCheck": {}}`:               "unhealthy_threshold: is required",
		`{"timeout": "1s", "interval": "1s", "unhealthyThreshold": 1, "tcpHealthCheck": {}}`:             "healthy_threshold: is required",
		whole(`"noTrafficInterval": "0s", "tcpHealthCheck": {}`):                                         "no_traffic_interval:",
		strings.TrimSuffix(whole(``), `, }`) + `}`:                                                       "must say what to check",
		whole(`"httpHealthCheck": {}`):                                                                   "http_health_check.path:",
		whole(`"httpHealthCheck": {"path": "/ x"}`):                                                      "http_health_check.path:",
		whole(`"httpHealthCheck": {"path": "/", "host": "a b"}`):                                         "http_health_check.host:",
		whole(`"httpHealthCheck": {"path": "/", "method": "CONNECT"}`):                                   "http_health_check.method:",
		whole(`"httpHealthCheck": {"path": "/", "method": 99}`):                                          "http_health_check.method:",
		whole(`"httpHealthCheck": {"path": "/", "send": {"text": "61"}}`):                                "http_health_check.send:",
		whole(`"httpHealthCheck": {"path": "/", "expectedStatuses": [{"start": 99, "end": 200}]}`):       "expected_statuses[0]:",
		whole(`"httpHealthCheck": {"path": "/", "expectedStatuses": [{"start": 200, "end": 200}]}`):      "expected_statuses[0]:",
		whole(`"httpHealthCheck": {"path": "/", "retriableStatuses": [{"start": 200, "end": 601}]}`):     "retriable_statuses[0]:",
		whole(`"httpHealthCheck": {"path": "/", "requestHeadersToAdd": [{"header": {"key": "a b"}}]}`):   "request_headers_to_add[0].header.key:",
		whole(`"httpHealthCheck": {"path": "/", "requestHeadersToRemove": [":path"]}`):                   "request_headers_to_remove[0]:",
		whole(`"httpHealthCheck": {"path": "/", "serviceNameMatcher": {}}`):                              "service_name_matcher:",
		whole(`"grpcHealthCheck": {"authority": "a/b"}`):                                                 "grpc_health_check.authority:",
		whole(`"grpcHealthCheck": {"initialMetadata": [{"header": {"key": "a", "value": "b\u0000c"}}]}`): "initial_metadata[0].header.value:",
		whole(`"tcpHealthCheck": {"send": {"text": "x"}}`):                                               "tcp_health_check.send.text:",
		whole(`"tcpHealthCheck": {"receive": [{}]}`):                                                     "tcp_health_check.receive[0]:",
	} {
		_, err := decode(t, parse(t, &clusterv3.Cluster{}, `{"name": "c", "healthChecks": [`+check+`]}`))
		wantError(t, err, "health_checks[0]", want)
	}
}

func TestEndpointHealthCheckConfig(t *testing.T) {
	read := func(config string) (balancer.EndpointCheck, error) {
		v, err := decode(t, parse(t, &endpointv3.ClusterLoadAssignment{}, `{"clusterName": "c", "endpoints": [{"lbEndpoints": [{"endpoint": {
			"address": {"socketAddress": {"address": "192.0.2.1", "portValue": 80}}, "healthCheckConfig": `+config+`}}]}]}`))
		if err != nil {
			return balancer.EndpointCheck{}, err
		}
		return v.(*balancer.Assignment).Localities[0].Endpoints[0].Check, nil
	}
	for config, want := range map[string]balancer.EndpointCheck{
		`{}`:                {},
		`{"portValue": 81}`: {Port: "81"},
		`{"hostname": "h", "disableActiveHealthCheck": true}`:                                                 {Hostname: "h", Disabled: true},
		`{"address": {"socketAddress": {"address": "192.0.2.2", "portValue": 82}}}`:                           {Host: "192.0.2.2", Port: "82"},
		`{"address": {"socketAddress": {"address": "192.0.2.2", "portValue": 82}}, "portValue": 83}`:          {Host: "192.0.2.2", Port: "83"},
		`{"address": {"socketAddress": {"address": "2001:db8::1", "portValue": 0}}, "hostname": "h.example"}`: {Host: "2001:db8::1", Hostname: "h.example"},
	} {
		got, err := read(config)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", config, got, err, want)
		}
	}
	for config, want := range map[string]string{
		`{"portValue": 65536}`:                                "health_check_config.port_value",
		`{"hostname": "a/b"}`:                                 "health_check_config.hostname",
		`{"address": {"socketAddress": {"address": "name"}}}`: "health_check_config.address",
		`{"address": {"pipe": {"path": "/x"}}}`:               "health_check_config.address",
	} {
		_, err := read(config)
		wantError(t, err, want)
	}
}
