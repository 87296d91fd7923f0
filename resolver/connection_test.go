package resolver_test

import (
	"net"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

func httpOptions(options string) string {
	return `{"name": "c", ` + eds + `, "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
		{"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", ` + options + `}}}`
}

func TestConnectionConfig(t *testing.T) {
	field := func(f string) string { return `{"name": "c", ` + eds + `, ` + f + `}` }
	http1 := `"explicitHttpConfig": {"httpProtocolOptions": {}}`
	keepAlive := func(k net.KeepAliveConfig) balancer.Connection {
		return balancer.Connection{HasKeepAlive: true, KeepAlive: k}
	}
	for json, want := range map[string]balancer.Connection{
		field(`"circuitBreakers": {"perHostThresholds": [{"priority": "HIGH", "maxConnections": 9}, {"maxConnections": 3}, {"maxConnections": 4}]}`): {MaxPerEndpoint: 3},
		field(`"upstreamConnectionOptions": {"tcpKeepalive": {}}`):                                                                                   keepAlive(net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}),
		field(`"upstreamConnectionOptions": {"tcpKeepalive": {"keepaliveProbes": 3, "keepaliveTime": 60, "keepaliveInterval": 5}}`): keepAlive(net.KeepAliveConfig{
			Enable: true, Idle: time.Minute, Interval: 5 * time.Second, Count: 3}),
		field(`"upstreamConnectionOptions": {"tcpKeepalive": {"keepaliveProbes": 3, "keepaliveTime": 0}}`):                               keepAlive(net.KeepAliveConfig{}),
		field(`"upstreamConnectionOptions": {"happyEyeballsConfig": {"firstAddressFamilyVersion": "V4", "firstAddressFamilyCount": 2}}`): {FirstFamily: balancer.IPv4, FirstFamilyCount: 2},
		field(`"upstreamBindConfig": {"sourceAddress": {"address": "127.0.0.2", "portValue": 0}, "extraSourceAddresses": [{"address": {"address": "::1", "portValue": 7}}]}`): {
			Source4: "127.0.0.2:0", Source6: "[::1]:7"},
		field(`"maxRequestsPerConnection": 5`):                                                     {MaxRequests: 5},
		field(`"commonHttpProtocolOptions": {"idleTimeout": "0s", "maxConnectionDuration": "3s"}`): {IdleTimeout: -1, MaxDuration: 3 * time.Second},
		field(`"http2ProtocolOptions": {"maxConcurrentStreams": 7}`):                               {MaxStreams: 7},
		httpOptions(http1 + `, "commonHttpProtocolOptions": {"idleTimeout": "9s", "maxConnectionDuration": "60s", "maxRequestsPerConnection": 8, "maxResponseHeadersKb": 2}`): {
			IdleTimeout: 9 * time.Second, MaxDuration: time.Minute, MaxRequests: 8, MaxResponseHeaderBytes: 2048},
		httpOptions(`"explicitHttpConfig": {"http2ProtocolOptions": {"maxConcurrentStreams": 50, "initialStreamWindowSize": 65536, "initialConnectionWindowSize": 1048576,
			"hpackTableSize": 8192, "connectionKeepalive": {"interval": "30s", "timeout": "5s"}}}`): {
			MaxStreams: 50, HTTP2: balancer.HTTP2{StreamWindow: 65536, ConnectionWindow: 1 << 20, HeaderTableSize: 8192, PingInterval: 30 * time.Second, PingTimeout: 5 * time.Second}},
		httpOptions(`"autoConfig": {"http2ProtocolOptions": {"maxConcurrentStreams": 4}}`): {MaxStreams: 4},
	} {
		if diff := cmp.Diff(want, decodedConfig(t, json).Connection); diff != "" {
			t.Errorf("%s (-want +got):\n%s", json, diff)
		}
	}
}

func TestRefusedConnectionConfig(t *testing.T) {
	decode := decoderOf(t, allTypes, resolver.ClusterURL)
	for json, path := range map[string]string{
		`"circuitBreakers": {"perHostThresholds": [{"maxConnections": 0}]}`:                           "circuit_breakers.per_host_thresholds[0].max_connections",
		`"upstreamBindConfig": {"sourceAddress": {"address": "localhost", "portValue": 0}}`:           "upstream_bind_config.source_address.address",
		`"upstreamBindConfig": {"sourceAddress": {"address": "127.0.0.1", "portValue": 65536}}`:       "upstream_bind_config.source_address.port_value",
		`"upstreamConnectionOptions": {"happyEyeballsConfig": {"firstAddressFamilyCount": 0}}`:        "upstream_connection_options.happy_eyeballs_config.first_address_family_count",
		`"commonHttpProtocolOptions": {"idleTimeout": "-1s"}`:                                         "common_http_protocol_options.idle_timeout",
		`"commonHttpProtocolOptions": {"maxResponseHeadersKb": 9000}`:                                 "common_http_protocol_options.max_response_headers_kb",
		`"http2ProtocolOptions": {"maxConcurrentStreams": 0}`:                                         "http2_protocol_options.max_concurrent_streams",
		`"http2ProtocolOptions": {"initialStreamWindowSize": 10}`:                                     "http2_protocol_options.initial_stream_window_size",
		`"http2ProtocolOptions": {"connectionKeepalive": {"interval": "1s"}}`:                         "http2_protocol_options.connection_keepalive.timeout",
		`"http2ProtocolOptions": {"connectionKeepalive": {"interval": "0.000001s", "timeout": "1s"}}`: "http2_protocol_options.connection_keepalive.interval",
		`"transportSocket": {"name": "p", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport",
			"defaultProxyAddress": {"pipe": {"path": "/x"}}}}`: "transport_socket.typed_config.default_proxy_address",
	} {
		_, _, err := decode(marshal(parse(t, &clusterv3.Cluster{}, `{"name": "c", `+eds+`, `+json+`}`)))
		if err == nil || !strings.HasPrefix(err.Error(), path+":") {
			t.Errorf("%s: %v, want an error of %s", json, err, path)
		}
	}
}

func TestEndpointVia(t *testing.T) {
	socket := func(ip string) string { return `{"socketAddress": {"address": "` + ip + `", "portValue": 80}}` }
	proxy := func(ip string) string {
		return `"metadata": {"typedFilterMetadata": {"envoy.http11_proxy_transport_socket.proxy_address": {"@type": "type.googleapis.com/envoy.config.core.v3.Address",
			"socketAddress": {"address": "` + ip + `", "portValue": 3128}}}}`
	}
	other := `"metadata": {"typedFilterMetadata": {"envoy.http11_proxy_transport_socket.proxy_address": {"@type": "type.googleapis.com/google.protobuf.Empty"}}}`
	m := parse(t, &endpointv3.ClusterLoadAssignment{}, `{"clusterName": "c", "endpoints": [{`+proxy("10.0.0.9")+`, "lbEndpoints": [
		{"endpoint": {"address": `+socket("10.0.0.1")+`, "additionalAddresses": [{"address": `+socket("fd00::1")+`}, {"address": `+socket("10.0.0.2")+`}]}},
		{"endpoint": {"address": `+socket("10.0.0.3")+`}, `+proxy("10.0.0.8")+`},
		{"endpoint": {"address": `+socket("10.0.0.4")+`}, `+other+`}]}]}`)
	_, value, err := decoderOf(t, allTypes, resolver.EndpointsURL)(marshal(m))
	if err != nil {
		t.Fatal(err)
	}
	want := &balancer.Assignment{Localities: []balancer.LocalityEndpoints{{Endpoints: []balancer.EndpointConfig{
		{Address: "10.0.0.1:80", Via: &balancer.Via{Addresses: []string{"[fd00::1]:80", "10.0.0.2:80"}, Proxy: "10.0.0.9:3128"}},
		{Address: "10.0.0.3:80", Via: &balancer.Via{Proxy: "10.0.0.8:3128"}},
		{Address: "10.0.0.4:80", Via: &balancer.Via{Proxy: "10.0.0.9:3128"}},
	}}}}
	if diff := cmp.Diff(want, value); diff != "" {
		t.Errorf("assignment (-want +got):\n%s", diff)
	}
}
