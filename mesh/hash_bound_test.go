package mesh_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestHashBound has all calls be of one key, none of which ends: with a bound on what an
// endpoint may have in flight they spread over all, without one they do not (row L4).
func TestHashBound(t *testing.T) {
	const calls = 24
	for _, balance := range hashPolicies {
		for _, bounded := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bounded %t", balance, bounded), func(t *testing.T) {
				eachProtocol(t, func(t *testing.T, p protocol) {
					backends := []*meshtest.Backend{p.backend(t, "a"), p.backend(t, "b"), p.backend(t, "c")}
					policy := "policy: " + balance
					if bounded {
						policy += ", hashBalanceFactor: 125"
					}
					m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
						"services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {%s}, endpoints: [%s]}\nroutes:\n  orders: [{to: orders, hash: [{header: x-user}]}]\n",
						p.name, policy, addresses(backends)))))
					call := p.client(t, m, "orders")
					seen := map[string]int{} // gRPC connects as keys ask for it
					for _, owner := range owners(t, call, 100) {
						seen[owner]++
					}
					if len(seen) != len(backends) { // once in 10^17
						t.Fatalf("100 keys went to %v", seen)
					}
					before := map[*meshtest.Backend]int64{}
					for _, b := range backends {
						before[b] = b.Calls()
						b.SetDelay(long)
					}
					ctx, cancel := context.WithCancel(t.Context())
					var inFlight sync.WaitGroup
					t.Cleanup(inFlight.Wait)
					t.Cleanup(cancel)
					for n := range calls { // one after the other, so that each finds those before
						inFlight.Go(func() { _, _ = call(ctx, keyed(1)) })
						until(t, fmt.Sprintf("%d calls have arrived", n+1), func() bool {
							arrived := 0
							for _, b := range backends {
								arrived += int(b.Calls() - before[b])
							}
							return arrived > n
						})
					}
					most := 0
					for _, b := range backends {
						most = max(most, int(b.Calls()-before[b]))
					}
					// At most ceil(ceil(24 × 1.25) / 3) + 1 of 24.
					if bounded && most > 11 || !bounded && most != calls {
						t.Errorf("one backend has %d of %d calls", most, calls)
					}
				})
			})
		}
	}
}
