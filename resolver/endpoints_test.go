package resolver_test

import (
	"fmt"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

const addressJSON = `"endpoint": {"address": {"socketAddress": {"address": "192.0.2.1", "portValue": 80}}}`

func TestAssignment(t *testing.T) {
	got, err := decode(t, parse(t, &endpointv3.ClusterLoadAssignment{}, `{"clusterName": "c", "endpoints": [
		{"locality": {"region": "r", "zone": "z", "subZone": "s"}, "loadBalancingWeight": 7, "lbEndpoints": [
			{"endpoint": {"hostname": "h", "address": {"socketAddress": {"address": "192.0.2.1", "portValue": 80}}},
				"healthStatus": "DRAINING", "loadBalancingWeight": 3,
				"metadata": {"filterMetadata": {"envoy.lb": {"version": "v1", "n": 1.5, "b": true}, "envoy.transport_socket_match": {"tlsMode": "istio"}}}},
			{"endpoint": {"address": {"socketAddress": {"address": "2001:db8::1", "portValue": 81}}}, "healthStatus": "HEALTHY",
				"metadata": {"filterMetadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}, "other": {"x": "y"}}}}]},
		{"priority": 1, "lbEndpoints": [
			{`+addressJSON+`, "healthStatus": "UNHEALTHY"}, {`+addressJSON+`, "healthStatus": "TIMEOUT"}, {`+addressJSON+`, "healthStatus": "DEGRADED"}]}],
		"policy": {"overprovisioningFactor": 200, "dropOverloads": [
			{"category": "a", "dropPercentage": {"numerator": 5}},
			{"category": "b", "dropPercentage": {"numerator": 5, "denominator": "TEN_THOUSAND"}},
			{"category": "c", "dropPercentage": {"numerator": 4294967295}}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &balancer.Assignment{
		Localities: []balancer.LocalityEndpoints{
			{Locality: balancer.Locality{Region: "r", Zone: "z", SubZone: "s"}, Weight: 7, Endpoints: []balancer.EndpointConfig{
				{Address: "192.0.2.1:80", Hostname: "h", Weight: 3, Health: balancer.Draining,
					SocketLabels: map[string]string{"tlsMode": "istio"}, Labels: map[string]balancer.Value{"version": `"v1"`, "n": "1.5", "b": balancer.True}},
				{Address: "[2001:db8::1]:81", Health: balancer.Healthy, SocketLabels: map[string]string{"tlsMode": "istio"}},
			}},
			{Priority: 1, Endpoints: []balancer.EndpointConfig{
				{Address: "192.0.2.1:80", Health: balancer.Unhealthy},
				{Address: "192.0.2.1:80", Health: balancer.Timeout},
				{Address: "192.0.2.1:80", Health: balancer.Degraded},
			}},
		},
		Overprovisioning: 200,
		Drops:            []balancer.Drop{{Category: "a", PerMillion: 50_000}, {Category: "b", PerMillion: 500}, {Category: "c", PerMillion: 1_000_000}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("assignment (-want +got):\n%s", diff)
	}
}

func TestRefusedAssignments(t *testing.T) {
	locality := func(s string) string { return `{"endpoints": [` + s + `]}` }
	endpoint := func(s string) string { return locality(`{"lbEndpoints": [{` + addressJSON + `}, {` + s + `}]}`) }
	address := func(s string) string { return endpoint(`"endpoint": {"address": {` + s + `}}`) }
	const at = "endpoints[0].lb_endpoints[1]: "
	for json, texts := range map[string][]string{
		locality(`{}, {}`):                            {"endpoints[1].locality:", "twice in priority 0"},
		locality(`{"priority": 1}`):                   {"endpoints:", "no priority 0"},
		locality(`{}, {"priority": 2}`):               {"endpoints:", "no priority 1"},
		locality(`{"priority": 128}`):                 {"endpoints[0].priority:", "128 is more than 127"},
		locality(`{"ledsClusterLocalityConfig": {}}`): {"endpoints[0]:", "not supported"},
		locality(`{"loadBalancingWeight": 4294967295}, {"locality": {"zone": "z"}, "loadBalancingWeight": 1}`):         {"endpoints[1].load_balancing_weight:", "add up to more"},
		locality(`{"lbEndpoints": [{` + addressJSON + `, "loadBalancingWeight": 4294967295}, {` + addressJSON + `}]}`): {"endpoints[0]:", "add up to more"},
		endpoint(``):                    {at + "endpoint:", "not supported"},
		endpoint(`"endpointName": "x"`): {at + "endpoint:", "not supported"},
		endpoint(addressJSON + `, "loadBalancingWeight": 0`):                                       {at + "load_balancing_weight:", "0"},
		endpoint(addressJSON + `, "healthStatus": 9`):                                              {at + "health_status:", "9"},
		address(`"pipe": {"path": "/x"}`):                                                          {at + "endpoint.address:", "not supported"},
		address(`"socketAddress": {"address": "192.0.2.1"}`):                                       {at + "endpoint.address: socket_address.port_value:"},
		address(`"socketAddress": {"address": "192.0.2.1", "portValue": 65536}`):                   {at + "endpoint.address: socket_address.port_value:"},
		address(`"socketAddress": {"address": "192.0.2.1", "namedPort": "http"}`):                  {at + "endpoint.address: socket_address.port_value:"},
		address(`"socketAddress": {"portValue": 1}`):                                               {at + "endpoint.address: socket_address.address:", "empty"},
		address(`"socketAddress": {"address": "h.example", "portValue": 1}`):                       {at + "endpoint.address: socket_address.address:", `"h.example" is not an IP address`},
		address(`"socketAddress": {"protocol": "UDP", "address": "192.0.2.1", "portValue": 1}`):    {at + "endpoint.address: socket_address.protocol:", "UDP"},
		`{"policy": {"overprovisioningFactor": 0}}`:                                                {"policy.overprovisioning_factor:", "0"},
		`{"policy": {"dropOverloads": [{}]}}`:                                                      {"policy.drop_overloads[0].category:", "empty"},
		`{"policy": {"dropOverloads": [{"category": "c", "dropPercentage": {"denominator": 7}}]}}`: {"policy.drop_overloads[0].drop_percentage.denominator:", "7"},
	} {
		m := parse(t, &endpointv3.ClusterLoadAssignment{}, json)
		m.ClusterName = "c"
		_, err := decode(t, m)
		wantError(t, err, texts...)
	}
}

// largeAssignment has n endpoints in one locality, each with metadata.
func largeAssignment(t testing.TB, n int) *endpointv3.ClusterLoadAssignment {
	a := assignment("c")
	for i := range n {
		a.Endpoints[0].LbEndpoints = append(a.Endpoints[0].LbEndpoints, parse(t, &endpointv3.LbEndpoint{}, fmt.Sprintf(
			`{"endpoint": {"address": {"socketAddress": {"address": "10.0.%d.%d", "portValue": 80}}}, "loadBalancingWeight": 1,
			"metadata": {"filterMetadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}}`, i/256, i%256)))
	}
	return a
}

func BenchmarkDecodeEndpoints(b *testing.B) {
	raw := marshal(largeAssignment(b, 10_000))
	decode := decoderOf(b, allTypes, resolver.EndpointsURL)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
