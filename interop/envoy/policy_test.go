package envoy

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// policy is what both sides get.
type policy struct {
	routes    *routev3.RouteConfiguration
	clusters  []*clusterv3.Cluster
	endpoints []*endpointv3.ClusterLoadAssignment
	filters   []*hcmv3.HttpFilter // of listeners, before the router; Envoy has had them from its start
	inbound   bool                // Weft's listener is a server's
}

// routesName is the name of the route configuration of all targets.
const routesName = "routes"

// yaml is the policy file of a policy. Weft finds it by the listeners of hosts and of
// [httpTarget]; Envoy has a listener of its own.
func (p *policy) yaml(t *testing.T, hosts []string) string {
	var list []json.RawMessage
	add := func(m proto.Message) {
		text, err := protojson.Marshal(pack(t, m))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	add(p.routes)
	for _, c := range p.clusters {
		add(c)
	}
	for _, e := range p.endpoints {
		add(e)
	}
	if p.inbound {
		add(p.inboundListener(t))
		hosts = nil
	}
	for _, host := range append([]string{httpTarget}, hosts...) {
		add(&listenerv3.Listener{
			Name: host,
			ApiListener: &listenerv3.ApiListener{ApiListener: pack(t, &hcmv3.HttpConnectionManager{
				StatPrefix:     host,
				RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routesName, ConfigSource: ads}},
				HttpFilters:    withRouter(t, p.filters),
			})},
		})
	}
	text, err := json.Marshal(object{"resources": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func withRouter(t *testing.T, filters []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
	return append(slices.Clone(filters), &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
	})
}

var ads = &corev3.ConfigSource{
	ResourceApiVersion:    corev3.ApiVersion_V3,
	ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// cluster adds a cluster of endpoints and returns it, for more to be set.
func (p *policy) cluster(t *testing.T, name string, http2 bool, endpoints ...*endpointv3.LbEndpoint) *clusterv3.Cluster {
	options := &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		},
	}
	if http2 {
		options.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}
	}
	c := &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(long),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(t, &upstreamhttpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: options},
			}),
		},
	}
	p.clusters = append(p.clusters, c)
	p.endpoints = append(p.endpoints, &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality:    &corev3.Locality{Zone: "z"},
			LbEndpoints: endpoints,
		}},
	})
	return c
}

// endpoint is one backend in an assignment.
func endpoint(t *testing.T, b *meshtest.Backend) *endpointv3.LbEndpoint {
	host, text, _ := net.SplitHostPort(b.Addr)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address:       host,
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
		}}},
	}}}
}
