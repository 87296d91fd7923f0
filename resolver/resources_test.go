package resolver_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3" // for JSON
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

// The resources that tests are made of. Those under test are written as JSON.

func apiListener(name, routeConfig string) *listenerv3.Listener {
	return listenerOf(name, &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    ads(),
			RouteConfigName: routeConfig,
		}},
		HttpFilters: []*hcmv3.HttpFilter{router()},
	})
}

func listenerOf(name string, hcm *hcmv3.HttpConnectionManager) *listenerv3.Listener {
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: toAny(hcm)}}
}

func router() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(&routerv3.Router{})}}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

// simpleRoutes sends everything to one cluster.
func simpleRoutes(name, cluster string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Name:    "all",
		Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Name:   "to " + cluster,
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: routeTo(cluster),
		}},
	}}}
}

func routeTo(cluster string) *routev3.Route_Route {
	return &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}}
}

func edsCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
	}
}

func staticCluster(name string, hosts ...string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment:       assignment(name, hosts...),
	}
}

// assignment has an endpoint at port 80 of each host.
func assignment(name string, hosts ...string) *endpointv3.ClusterLoadAssignment {
	l := &endpointv3.LocalityLbEndpoints{}
	for _, host := range hosts {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(host, 80)}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}

func socketAddress(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func toAny(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func marshal(m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// parse reads the JSON form of a resource.
func parse[M proto.Message](t testing.TB, m M, json string) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatalf("%v in %s", err, json)
	}
	return m
}

// resources groups resources by type, for Static.
func resources(list ...proto.Message) map[string][]resolver.StaticResource {
	all := make(map[string][]resolver.StaticResource)
	for _, m := range list {
		url := "type.googleapis.com/" + string(proto.MessageName(m))
		all[url] = append(all[url], resolver.StaticResource{Name: nameOf(m), Version: "1", Raw: marshal(m)})
	}
	return all
}

func nameOf(m proto.Message) string {
	if a, ok := m.(*endpointv3.ClusterLoadAssignment); ok {
		return a.GetClusterName()
	}
	return m.(interface{ GetName() string }).GetName()
}

// newStatic returns a source that has the resources.
func newStatic(t testing.TB, list ...proto.Message) *resolver.Static {
	t.Helper()
	s := resolver.NewStatic(resolver.Types(resolver.TypesConfig{}))
	if err := s.Set(resources(list...)); err != nil {
		t.Fatal(err)
	}
	return s
}

func newResolver(t testing.TB, s resolver.Source) *resolver.Resolver {
	t.Helper()
	r, err := resolver.New(resolver.Config{Source: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// table returns the table of a target that has just these resources.
func table(t testing.TB, name resolver.TargetName, list ...proto.Message) *resolver.Table {
	t.Helper()
	target := newResolver(t, newStatic(t, list...)).Target(name)
	t.Cleanup(target.Release)
	table, err := target.Await(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// routesTable returns the table of a route configuration. The clusters that it names
// need not exist.
func routesTable(t testing.TB, rc *routev3.RouteConfiguration) *resolver.Table {
	t.Helper()
	return table(t, resolver.TargetName{RouteConfig: rc.GetName()}, rc)
}

// routedTo is the name of the route that a request takes, or the error's text.
func routedTo(table *resolver.Table, r *resolver.Request) string {
	route, err := table.Route(r)
	if err != nil {
		return "error: " + err.Error()
	}
	return route.Name
}

// headers are those of a request, as HTTP keeps them, or as gRPC does.
type headers map[string][]string

func (h headers) Values(n *resolver.HeaderName) []string {
	if v, ok := h[n.Canonical]; ok {
		return v
	}
	return h[n.Lower]
}

var allTypes = resolver.Types(resolver.TypesConfig{})

func decode(t testing.TB, m proto.Message) (any, error) {
	t.Helper()
	_, v, err := decoderOf(t, allTypes, "type.googleapis.com/"+string(proto.MessageName(m)))(marshal(m))
	return v, err
}

// wantError checks that an error has each of the texts.
func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

// inlineListener has its routes in itself.
func inlineListener(name string, rc *routev3.RouteConfiguration, maxStreamDuration time.Duration) *listenerv3.Listener {
	return listenerOf(name, &hcmv3.HttpConnectionManager{
		RouteSpecifier:            &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: rc},
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(maxStreamDuration)},
		HttpFilters:               []*hcmv3.HttpFilter{router()},
	})
}

func uriTemplate(template string) *anypb.Any {
	return toAny(&uritemplatev3.UriTemplateMatchConfig{PathTemplate: template})
}

// fixedDNS knows one address.
type fixedDNS struct{}

func (fixedDNS) LookupIP(context.Context, string, string) ([]netip.Addr, time.Duration, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, time.Hour, nil
}

// connector connects to nothing; links are picked without it.
type connector struct{}

func (connector) NewConn(*balancer.Endpoint, func(balancer.State, error)) balancer.Conn {
	return conn{}
}

type conn struct{}

func (conn) Connect() {}
func (conn) Close()   {}

// pickEndpoint picks once for a table that sends everything to one cluster.
func pickEndpoint(t testing.TB, table *resolver.Table) (address string, err error) {
	t.Helper()
	route, err := table.Route(&resolver.Request{Path: "/"})
	if err != nil {
		return "", err
	}
	to, err := route.Pick()
	if err != nil {
		return "", err
	}
	view := to.Cluster.View(connector{}, balancer.ViewOptions{OnDemand: true})
	defer view.Close()
	link, err := view.Pick(balancer.PickInfo{})
	if err != nil {
		return "", err
	}
	return link.Endpoint().Address(), nil
}

var dnsType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
