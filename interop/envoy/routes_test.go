package envoy

import (
	"testing"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestRoutes makes up route configurations and requests, and expects Weft to do with
// each what Envoy does: the backend that is asked, what of the request it sees, and
// what of its answer the caller sees.
func TestRoutes(t *testing.T) {
	const policies, requests = 60, 60
	for _, protocol := range []string{"http1", "http2", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			names := []string{"a", "b", "c", "d"}
			backends := map[string]*meshtest.Backend{}
			for _, name := range names {
				backends[name] = newBackend(t, name)
			}
			g := newGenerator(t, seeded.Seed(t), protocol == "grpc", names...)
			hosts := []string{"shop", "shop.example", "a.shop.example", "api.test:8080", "x.org"}
			p := newPair(t, g.grpc, hosts...)
			refused, reached := 0, map[string]int{}
			for range policies {
				rules := &policy{routes: g.routeConfig()}
				for _, name := range names {
					e := endpoint(t, backends[name])
					if name != "a" {
						e.GetEndpoint().Hostname = name + ".host"
					}
					rules.cluster(t, name, protocol != "http1", e)
				}
				if !p.apply(t, rules) {
					refused++
					continue
				}
				for range requests {
					r := g.request()
					if g.grpc {
						r.host = pick(g, hosts...)
					}
					a := p.compare(t, r, func() string { return describe(rules.routes) })
					switch {
					case a.Seen != nil:
						reached[a.Seen.Backend]++
					case a.Refused != "":
						reached[a.Refused]++
					case a.Header.Get("Location") != "":
						reached["redirect"]++
					default:
						reached["direct"]++
					}
					if t.Failed() {
						return
					}
				}
			}
			t.Logf("%d policies refused by both; answers: %v", refused, reached)
			for _, name := range append(names, noRoute, "direct") {
				if reached[name] == 0 {
					t.Errorf("no call came to %s: the generator is no good", name)
				}
			}
		})
	}
}
