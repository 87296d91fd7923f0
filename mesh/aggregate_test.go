package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestAggregate has a service that is made of others fail over from one to the next and
// back, follow a change of what it is made of, and be a part of another (row L1).
func TestAggregate(t *testing.T) {
	for _, source := range []string{"xdsserver", "embedded"} {
		t.Run(source, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				a, b, c := p.backend(t, "a"), p.backend(t, "b"), p.backend(t, "c")
				policy := func(failover string) string {
					return "services:\n" + p.service("a", a) + p.service("b", b) + p.service("c", c) + p.service("empty") +
						fmt.Sprintf("  orders: {protocol: %s, failover: [%s]}\n  outer: {protocol: %[1]s, failover: [empty, orders, c]}\n", p.name, failover)
				}
				set, m := served(t, source, policy("a, b"))
				call, outer := p.client(t, m, "orders"), p.client(t, m, "outer")
				for range 5 {
					if got := counts(t, call, request{}, 4); got["a"] != 4 {
						t.Fatalf("answered by %v, want a", got)
					}
					if got := counts(t, outer, request{}, 4); got["a"] != 4 {
						t.Fatalf("the outer one is answered by %v, want a", got)
					}
				}

				a.Kill()
				_, _ = call(within(t, long), request{}) // may have been on its way
				_, _ = outer(within(t, long), request{})
				eventually(t, call, request{}, "b")
				eventually(t, outer, request{}, "b")
				b.Kill()
				_, _ = outer(within(t, long), request{})
				eventually(t, outer, request{}, "c")
				eventuallyFails(t, call, mesh.ErrUnavailable)
				b.Start()
				eventuallyAnswers(t, call, "b")
				a.Start()
				eventuallyAnswers(t, call, "a")
				eventually(t, call, request{}, "a")

				set(policy("c, a"))
				eventually(t, call, request{}, "c")
				eventually(t, outer, request{}, "c")
				set(policy("empty"))
				ctx := within(t, long)
				for {
					_, err := call(ctx, request{})
					if errors.Is(err, mesh.ErrNoEndpoints) {
						break
					}
					if ctx.Err() != nil {
						t.Fatalf("of nothing: %v, want ErrNoEndpoints", err)
					}
				}
				eventually(t, outer, request{}, "c")
			})
		})
	}
}

// TestAggregateChangesUnderLoad has what a service is made of change, and into one that
// has endpoints of its own and back, while calls go on.
func TestAggregateChangesUnderLoad(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		services := "services:\n" + p.service("a", a) + p.service("b", b)
		failover := func(to string) string {
			return services + fmt.Sprintf("  orders: {protocol: %s, failover: [%s]}\n", p.name, to)
		}
		set, m := served(t, "xdsserver", failover("a, b"))
		call := p.client(t, m, "orders")
		eventually(t, call, request{}, "a")
		l := startLoad(t, 4, call, request{})
		for range 3 {
			set(failover("b, a"))
			eventually(t, call, request{}, "b")
			set(services + p.service("orders", a))
			eventually(t, call, request{}, "a")
			set(failover("b"))
			eventually(t, call, request{}, "b")
			set(failover("a, b"))
			eventually(t, call, request{}, "a")
		}
		l.end(t)
	})
}

// TestAggregateShares has what the first cluster cannot take go to the next, in
// proportion, each by its own policy. One that is named again, by an aggregate in the
// aggregate, takes nothing more.
func TestAggregateShares(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		sick := p.backend(t, "sick")
		m := embedded(t, fmt.Sprintf(`services:
  first: {protocol: %s, connectTimeout: 60s, endpoints: ["%s", {address: "%s", health: unhealthy}]}
  second: {protocol: %[1]s, balance: {policy: ring_hash}, endpoints: ["%[4]s"]}
  orders: {protocol: %[1]s, failover: [first, second]}
  outer: {protocol: %[1]s, failover: [first, orders]}
`, p.name, a.Addr, sick.Addr, b.Addr))
		for _, target := range []string{"orders", "outer"} {
			call := p.client(t, m, target)
			eventually(t, call, request{}, "a", "b")
			got := counts(t, call, request{}, 1000)
			if got["a"] < 650 || got["a"] > 750 || got["sick"] != 0 {
				t.Errorf("%s: answered by %v, want 70 %% by a", target, got)
			}
		}
	})
}

// TestAggregateLimits counts calls against the limits of the cluster whose endpoint they go
// to (row Z4).
func TestAggregateLimits(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", func(n int) act { return act{hang: n == 1} })
		m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, "services:\n  a: {protocol: %s, connectTimeout: 60s, endpoints: [%q], limits: {maxRequests: 1}}\n  orders: {protocol: %[1]s, failover: [a]}\n", p.name, b.Addr)))
		ctx, cancel := context.WithCancel(within(t, long))
		call := p.client(t, m, "orders")
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = call(ctx, request{}) }()
		if err := b.AwaitCalls(ctx, 1); err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{"orders", "a"} {
			_, err := p.client(t, m, target)(within(t, long), request{})
			if !errors.Is(err, mesh.ErrOverloaded) || !strings.Contains(err.Error(), `cluster "a"`) {
				t.Errorf("%s: %v, want the limit of a", target, err)
			}
		}
		for _, c := range debug(m).Clusters {
			for _, e := range c.Endpoints {
				if e.InFlight > 1 {
					t.Errorf("%s: %d calls in flight, of which all but one were refused", c.Name, e.InFlight)
				}
			}
		}
		cancel()
		receive(t, "the end of the call", ended)
		for range 2 { // after a call that was given up, and one that succeeded
			if _, err := call(within(t, long), request{}); err != nil {
				t.Errorf("the place is not given back: %v", err)
			}
		}
	})
}
