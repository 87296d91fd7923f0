package balancer_test

import (
	"fmt"

	"github.com/weft-mesh/weft/balancer"
)

// onDemand connects when a call is made, like an HTTP client.
type onDemand struct{}

func (onDemand) NewConn(*balancer.Endpoint, func(balancer.State, error)) balancer.Conn {
	return onDemand{}
}
func (onDemand) Connect() {}
func (onDemand) Close()   {}

func Example() {
	orders := balancer.NewCluster("orders", balancer.ClusterOptions{})
	defer orders.Close()
	orders.Configure(&balancer.Config{Name: "orders", PanicThreshold: 50})
	orders.Assign(&balancer.Assignment{Localities: []balancer.LocalityEndpoints{{
		Endpoints: []balancer.EndpointConfig{
			{Address: "10.0.0.1:80", Weight: 3},
			{Address: "10.0.0.2:80"},
			{Address: "10.0.0.3:80", Health: balancer.Unhealthy},
		},
	}}})
	<-orders.Settled()

	view := orders.View(onDemand{}, balancer.ViewOptions{OnDemand: true})
	counts := map[string]int{}
	for range 400 {
		link, err := view.Pick(balancer.PickInfo{})
		if err != nil {
			fmt.Println(err)
			return
		}
		counts[link.Endpoint().Address()]++ // here the call would be made
		link.Done(balancer.Outcome{Code: 200})
	}
	fmt.Println(counts)
	// Output: map[10.0.0.1:80:300 10.0.0.2:80:100]
}
