package envoy

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// TestFraction sends a share of the calls by a route (runtime_fraction).
func TestFraction(t *testing.T) {
	p := newPair(t, false)
	rules := &policy{routes: toCluster("a", nil)}
	for _, name := range []string{"a", "b"} {
		rules.cluster(t, name, false, endpoint(t, newBackend(t, name)))
	}
	h := rules.routes.GetVirtualHosts()[0]
	some := toCluster("b", nil).GetVirtualHosts()[0].GetRoutes()[0]
	h.Routes = append([]*routev3.Route{some}, h.Routes...)
	for _, f := range []*typev3.FractionalPercent{
		{Numerator: 30}, {Numerator: 2500, Denominator: typev3.FractionalPercent_TEN_THOUSAND}, {Numerator: 900_000, Denominator: typev3.FractionalPercent_MILLION},
	} {
		some.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: f}
		if !p.apply(t, rules) {
			t.Fatalf("both refuse it: %v", p.rejections())
		}
		p.compareShares(t, request{host: "shop", path: "/"}, f.String())
		h.Routes = h.Routes[1:] // the marker
		rules.routes.VirtualHosts = rules.routes.GetVirtualHosts()[:1]
	}
}
