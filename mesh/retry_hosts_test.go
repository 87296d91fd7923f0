package mesh_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestRetryOmitsHosts has retries leave out endpoints by their labels, as long as there are
// others (row Z1).
func TestRetryOmitsHosts(t *testing.T) {
	for name, predicate := range map[string]string{
		"omit_host_metadata": `{name: omit, typedConfig: {"@type": type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig, metadataMatch: {filterMetadata: {envoy.lb: {stage: canary}}}}}`,
		"none":               ``,
	} {
		for _, p := range protocols {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				fails := func(int) act { return act{fail: codes.Unavailable} }
				stable, canary := p.scripted(t, "stable", fails), p.scripted(t, "canary", fails)
				m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, `
services: {orders: {protocol: %s, balance: {policy: random}, limits: {maxRetries: 100}, endpoints: [{address: %q, labels: {stage: stable}}, {address: %q, labels: {stage: canary}}]}}
resources:
%s          retryPolicy: {retryOn: "gateway-error,unavailable", numRetries: 3, retryBackOff: {baseInterval: 0.001s}, retryHostPredicate: [%s]}
          routes: [{match: {prefix: /}, route: {cluster: orders}}]
`, p.name, stable.Addr, canary.Addr, counted, predicate)))
				call := p.client(t, m, "counted")
				ctx := within(t, long)
				retried := 0
				var early int // calls of the canary while gRPC may have yet to connect to the other
				for begun := false; !begun || canary.Calls() < int64(early)+20 || stable.Calls() < 20; {
					if !begun && canary.Calls() > 0 && stable.Calls() > 0 {
						begun, early = true, int(canary.Calls())
					}
					if _, err := call(ctx, request{}); err == nil {
						t.Fatal("a call succeeded")
					}
					if ctx.Err() != nil {
						t.Fatal("one of the endpoints gets no calls")
					}
				}
				for _, n := range canary.headers("x-envoy-attempt-count")[early:] {
					if n != "1" {
						retried++
					}
				}
				if (retried == 0) != (predicate != "") {
					t.Errorf("%d retries went to the endpoint that is left out", retried)
				}
			})
		}
	}
}

// TestRetryOmitsHostsOfPolicy has the policy file say so: the endpoint that is left out gets
// no attempt of a call but the first.
func TestRetryOmitsHostsOfPolicy(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		fails := func(int) act { return act{fail: codes.Unavailable} }
		stable, canary := p.scripted(t, "stable", fails), p.scripted(t, "canary", fails)
		m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, `
services: {orders: {protocol: %s, balance: {policy: random}, limits: {maxRetries: 100}, endpoints: [{address: %q, labels: {stage: stable}}, {address: %q, labels: {stage: canary}}]}}
routes: {orders: [{to: orders, retry: {%s, previousHosts: false, omitHosts: [{stage: canary}]}}]}
`, p.name, stable.Addr, canary.Addr, again)))
		call := p.client(t, m, "orders")
		ctx := within(t, long)
		for stable.Calls() == 0 || canary.Calls() == 0 { // gRPC may have yet to connect to one
			if _, err := call(ctx, request{}); err == nil || ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		const calls = 50
		before := canary.Calls()
		for range calls {
			_, _ = call(ctx, request{})
		}
		if n := canary.Calls() - before; n > calls { // of four attempts each, about two
			t.Errorf("of %d calls %d attempts went to the endpoint that is left out", calls, n)
		}
	})
}
