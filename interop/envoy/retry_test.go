package envoy

import (
	"testing"

	"github.com/weft-mesh/weft/interop/internal/seeded"
)

// TestRetries makes up retry policies and what comes of attempts, and expects as many
// attempts of Weft as of Envoy, with the same bodies and headers, and the same end.
func TestRetries(t *testing.T) {
	const policies, rules, scripts = 2, 40, 5
	for _, protocol := range []string{"http1", "http2", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			g := &retryGenerator{newGenerator(t, seeded.Seed(t), protocol == "grpc"), protocol != "http1"}
			l := newLanes(t, g.grpc, 6, 2)
			attempts := map[int]int{}
			finals := map[string]int{}
			for range policies {
				host := g.host()
				var list []laneRule
				var performances []performance
				for n := range rules {
					r := g.rule()
					r.host = host
					list = append(list, r)
					for range scripts {
						performances = append(performances, performance{rule: n, script: g.script(r.action.GetRetryPolicy()), request: g.request(), timed: timed(r.action)})
					}
				}
				l.applyRules(t, g.http2, list, nil)
				for _, r := range l.compareAll(t, performances, func(f performance, diff string) {
					t.Errorf("%v (-Envoy +Weft):\n%s\n%s", f, diff, describeRule(list[f.rule]))
				}) {
					attempts[len(r.Attempts)]++
					finals[r.Final]++
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("attempts: %v; finals: %v", attempts, finals)
			if attempts[2] == 0 || attempts[3]+attempts[4]+attempts[5] == 0 || len(finals) < 4 {
				t.Error("the generator is no good")
			}
		})
	}
}
