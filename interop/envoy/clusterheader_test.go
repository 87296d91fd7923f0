package envoy

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestClusterHeader has a header of the call name its cluster, of a route and of one of
// its weighted clusters: one that is there, one that is not, and none.
func TestClusterHeader(t *testing.T) {
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			p := newPair(t, protocol == "grpc", "shop")
			rules := &policy{routes: toCluster("a", nil)}
			for _, name := range []string{"a", "b"} {
				rules.cluster(t, name, p.grpc, endpoint(t, newBackend(t, name)))
			}
			h := rules.routes.GetVirtualHosts()[0]
			h.Routes[0].GetRoute().ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "X-Cluster"}
			weighted := toCluster("", nil).GetVirtualHosts()[0].GetRoutes()[0]
			weighted.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/weighted"}
			weighted.GetRoute().ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
				Clusters: []*routev3.WeightedCluster_ClusterWeight{
					{ClusterHeader: "x-cluster", Weight: wrapperspb.UInt32(1)}, {Name: "a", Weight: wrapperspb.UInt32(0)},
				},
			}}
			h.Routes = append([]*routev3.Route{weighted}, h.Routes...)
			if !p.apply(t, rules) {
				t.Fatalf("both refuse it: %v", p.rejections())
			}
			for _, path := range []string{"/plain/x", "/weighted/x"} {
				for _, header := range [][]string{
					{"x-cluster", "a"}, {"x-cluster", "b"}, {"x-cluster", "nowhere"}, {"x-cluster", ""}, nil, {"x-cluster", "b", "x-cluster", "a"},
				} {
					r := request{host: "shop", path: path, header: header}
					want, got := p.call(t, p.envoy, r), p.call(t, p.weft, r)
					if want.Refused == noCluster { // which Weft says is no route
						want = answer{Refused: noRoute}
					}
					if diff := gocmp.Diff(want, got); diff != "" {
						t.Errorf("%+v (-Envoy +Weft):\n%s", r, diff)
					}
				}
			}
		})
	}
}
