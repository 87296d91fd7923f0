package envoy

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// filtered makes up listeners with filters, policies for each, and requests.
type filtered struct {
	policies, requests int // of a listener, and of a policy
	filters            func(*generator) []*hcmv3.HttpFilter
	routes             func(*generator) *routev3.RouteConfiguration
	request            func(*generator) request

	note   func(request, answer)
	enough func() bool // that was noted; if not, more is made up
}

// compare makes the requests of both.
func (f filtered) compare(t *testing.T, grpc bool) {
	t.Helper()
	const listeners = 4
	names := []string{"a", "b", "c"}
	backends := map[string]*meshtest.Backend{}
	for _, name := range names {
		backends[name] = newBackend(t, name)
	}
	g := newGenerator(t, seeded.Seed(t), grpc, names...)
	for n := 0; n < listeners || !f.enough() && n < unlucky*listeners; n++ {
		filters := f.filters(g)
		p := setup{filters: filters}.pair(t, g.grpc, "shop")
		for range f.policies {
			rules := &policy{routes: f.routes(g)}
			for _, name := range names {
				rules.cluster(t, name, g.grpc, endpoint(t, backends[name]))
			}
			if !p.apply(t, rules) {
				t.Fatalf("both refuse it: %v", p.rejections())
			}
			for range f.requests {
				r := f.request(g)
				f.note(r, p.compare(t, r, func() string { return fmt.Sprint(filters, "\n", describe(rules.routes)) }))
				if t.Failed() {
					return
				}
			}
		}
	}
	if !f.enough() {
		t.Error("too few: the generator is no good")
	}
}
