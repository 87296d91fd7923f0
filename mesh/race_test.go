package mesh_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestHedgeElsewhere has a hedge go to an endpoint that the call has not tried (gRFC A6).
func TestHedgeElsewhere(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		var hangs atomic.Bool
		a := p.scripted(t, "a", func(int) act { return act{hang: hangs.Load()} })
		b := p.scripted(t, "b", failFirst(0))
		call := p.client(t, p.retrying(t, "}, balance: {policy: random", "retry: {attempts: 2, on: [5xx]}, hedge: {delay: 10ms}", a, b), "orders")
		ctx := within(t, long)
		for a.Calls() == 0 || b.Calls() == 0 { // gRPC may have yet to connect to one
			if _, err := call(ctx, request{}); err != nil {
				t.Fatal(err)
			}
		}
		hangs.Store(true)
		for range 10 {
			if got, err := call(ctx, request{}); err != nil || got[:1] != "b" {
				t.Fatalf("answer %q, %v", got, err)
			}
		}
	})
}

// TestHedgedRetryOmitsHosts has attempts of a call that is hedged leave out endpoints by
// their labels: they get no attempt but the first.
func TestHedgedRetryOmitsHosts(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		fails := func(int) act { return act{fail: codes.Unavailable} }
		one, two, canary := p.scripted(t, "one", fails), p.scripted(t, "two", fails), p.scripted(t, "canary", fails)
		m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, `
services: {orders: {protocol: %s, balance: {policy: random}, limits: {maxRetries: 100}, endpoints: [%q, %q, {address: %q, labels: {stage: canary}}]}}
resources:
%s          retryPolicy: {retryOn: "gateway-error,unavailable", numRetries: 1, perTryTimeout: 60s, retryBackOff: {baseInterval: 0.001s}, retryHostPredicate: [
            {name: omit, typedConfig: {"@type": type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig, metadataMatch: {filterMetadata: {envoy.lb: {stage: canary}}}}}]}
          hedgePolicy: {hedgeOnPerTryTimeout: true}
          routes: [{match: {prefix: /}, route: {cluster: orders}}]
`, p.name, one.Addr, two.Addr, canary.Addr, counted)))
		call := p.client(t, m, "counted")
		ctx := within(t, long)
		fail := func() {
			if _, err := call(ctx, request{}); err == nil || ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		for one.Calls() == 0 || two.Calls() == 0 || canary.Calls() == 0 { // gRPC may have yet to connect
			fail()
		}
		early := canary.Calls()
		for canary.Calls() < early+20 {
			fail()
		}
		for _, n := range canary.headers("x-envoy-attempt-count")[early:] {
			if n != "1" {
				t.Fatal("a further attempt went to the endpoint that is left out")
			}
		}
		for _, e := range debug(m).Clusters[0].Endpoints {
			if e.InFlight != 0 {
				t.Errorf("%d calls of %s are in flight", e.InFlight, e.Address)
			}
		}
	})
}

// TestHedgePlacesReturned has a hedge that loses give back its place among the retries.
func TestHedgePlacesReturned(t *testing.T) {
	for _, p := range append(protocols[:len(protocols):len(protocols)], h2c) {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts atomic.Int64
				call := newBubble(t, p, "maxRetries: 1", "retry: {attempts: 2, on: [5xx]}, hedge: {delay: 20ms}", 1, func(int) act {
					if attempts.Add(1)%2 == 0 {
						return act{hang: true}
					}
					return sleepy(30, act{})
				}).client(t)
				for range 3 {
					if _, err := call(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if n := attempts.Load(); n != 6 {
					t.Errorf("%d attempts of 3 calls, want a hedge of each", n)
				}
			})
		})
	}
}

// TestRetriesAreNotDropped has policy drop half of the calls: what it lets pass is not dropped
// later, however often it is tried (gRFC A32).
func TestRetriesAreNotDropped(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", func(int) act { return act{fail: codes.Unavailable} })
		call := p.client(t, newMesh(t, dropping(p, 50, b.Backend, p.backend(t, "spare"))), "front")
		const calls, attempts = 40, 6
		var passed int64
		for range calls {
			if _, err := call(within(t, long), request{}); !errors.Is(err, mesh.ErrOverloaded) {
				passed++
			}
		}
		if n := b.Calls(); n != passed*attempts {
			t.Errorf("%d attempts of %d calls that were not dropped, want %d of each", n, passed, attempts)
		}
	})
}

// TestAggregateBudget has the retries of an aggregate be a share of its own calls.
func TestAggregateBudget(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.scripted(t, "b", failFirst(1))
		m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("a", b.Backend)+`
routes: {orders: [{to: all, retry: {`+again+`}}]}
resources:
  - {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: all, connectTimeout: 60s, lbPolicy: CLUSTER_PROVIDED,
     circuitBreakers: {thresholds: [{retryBudget: {budgetPercent: {value: 100}, minRetryConcurrency: 0}}]}, clusterType: {name: envoy.clusters.aggregate,
      typedConfig: {"@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [a]}}}
`)))
		if _, err := p.client(t, m, "orders")(within(t, long), request{}); err != nil || b.Calls() != 2 {
			t.Errorf("%v after %d attempts, want a second one to be within the budget", err, b.Calls())
		}
	})
}
