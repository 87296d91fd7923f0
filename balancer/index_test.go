package balancer

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestEndpointsOutliveAnyUpdate has assignments come in any order, with entries that repeat
// an address, and others gone or secured in another way: an address keeps its endpoint for as
// long as it is there and secured alike, and the cluster keeps nothing else.
func TestEndpointsOutliveAnyUpdate(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	t.Cleanup(c.Close)
	c.Configure(&Config{Sockets: []Socket{{Name: "secure", Match: map[string]string{"secure": "yes"}, Proxied: true}}})
	type known struct {
		endpoint *Endpoint
		secure   bool
	}
	before := map[string]known{}
	for round := range 2000 {
		// Most often little changes: a window of addresses that moves, with a few swaps.
		var list []EndpointConfig
		from, n := random.IntN(6), random.IntN(20)
		for i := range n {
			list = append(list, at(fmt.Sprintf("e%d:1", from+i)))
		}
		for range random.IntN(4) {
			if n > 0 {
				i, k := random.IntN(n), random.IntN(n)
				list[i], list[k] = list[k], list[i]
				list = append(list, list[random.IntN(n)])
			}
		}
		want := map[string]bool{} // whether it is secured
		for i := range list {
			if random.IntN(8) == 0 {
				list[i].SocketLabels = map[string]string{"secure": "yes"}
			}
			if _, twice := want[list[i].Address]; !twice {
				want[list[i].Address] = list[i].SocketLabels != nil
			}
		}
		c.Assign(one(list...))
		after := map[string]known{}
		for _, e := range c.Endpoints() {
			secure, ok := want[e.Address()]
			if _, twice := after[e.Address()]; twice || !ok {
				t.Fatalf("round %d: %s is there twice, or was not assigned", round, e.Address())
			}
			if old, ok := before[e.Address()]; ok && (old.secure == secure) != (old.endpoint == e) {
				t.Fatalf("round %d: %s: same endpoint: %t, secured alike: %t", round, e.Address(), old.endpoint == e, old.secure == secure)
			}
			after[e.Address()] = known{e, secure}
		}
		if len(after) != len(want) || len(c.index) != len(want) {
			t.Fatalf("round %d: %d endpoints and %d in the index, want %d", round, len(after), len(c.index), len(want))
		}
		before = after
	}
}
