package policy_test

import (
	"fmt"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

func ExampleParse() {
	_, err := policy.Parse("shop.yaml", []byte(`
services:
  orders:
    protocol: grcp
    endpoints: [127.0.0.1:9001]
routes:
  orders:
    - to: {order: 90, payments: 10}
      timeout: 2
`))
	fmt.Println(err)
	// Output:
	// shop.yaml:4:15: "grcp" is not one of grpc, http, http2 (did you mean "grpc"?)
	// shop.yaml:8:12: "order" is not defined: it is neither a subset of "orders" nor a service (did you mean "orders"?)
	// shop.yaml:8:23: "payments" is not defined: it is neither a subset of "orders" nor a service
	// shop.yaml:9:16: want a duration with its unit, such as 250ms, 10s or 1m30s, not the number 2
}

func ExamplePolicy_Compile() {
	p := &policy.Policy{
		Services: map[string]*policy.Service{"orders": {
			Protocol: policy.GRPC,
			Endpoints: []*policy.Endpoint{
				{Address: "127.0.0.1:9001", Labels: policy.Labels{"version": "v1"}},
				{Address: "127.0.0.1:9002", Labels: policy.Labels{"version": "v2"}},
			},
			Subsets: map[string]policy.Labels{"v1": {"version": "v1"}, "v2": {"version": "v2"}},
		}},
		Routes: map[string][]*policy.Route{"orders": {{To: policy.Destinations{"v1": 90, "v2": 10}}}},
	}
	resources, err := p.Compile()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, typeURL := range resources.Types() {
		fmt.Println(typeURL)
		for resource := range resources.Of(typeURL) {
			fmt.Println("  ", resource.Name)
		}
	}
	// Output:
	// type.googleapis.com/envoy.config.cluster.v3.Cluster
	//    orders
	//    orders|v1
	//    orders|v2
	// type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
	//    orders
	//    orders|v1
	//    orders|v2
	// type.googleapis.com/envoy.config.listener.v3.Listener
	//    orders
	// type.googleapis.com/envoy.config.route.v3.RouteConfiguration
	//    orders
}
