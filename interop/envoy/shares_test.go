package envoy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// calls are how many a share is measured by.
const calls = 600

// TestPriorities divides calls among endpoints in all states of health, in one and two
// priorities: failover, overprovisioning, degraded and draining endpoints, panic.
func TestPriorities(t *testing.T) {
	const h, d, u, x = corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DEGRADED, corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING
	type priorities [][]corev3.HealthStatus
	p := newPair(t, false)
	var backends []*meshtest.Backend
	for i := range 7 {
		backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
	}
	for n, shape := range []priorities{
		{{h, d, d}}, {{d, d}}, {{h, u, u, u}}, {{x, x}}, {{h, x, x}}, {{u, u}},
		{{h, u, u, u}, {h}}, {{h, u, u}, {d, h}}, {{h, u, d}, {d, u}}, {{u, u}, {u, u}}, {{u, d}, {u, u}}, {{u, u}, {d, d}},
		{{h, u, u, u, u}, {u, u}}, {{h, d}, {h}}, {{h, d, u, u}, {h}}, {{h, x, x}, {h}}, {{h, x, x, u}, {h}}, {{h, h, x, u}, {h, h, h}},
	} {
		for _, policyKind := range []clusterv3.Cluster_LbPolicy{clusterv3.Cluster_ROUND_ROBIN, clusterv3.Cluster_RANDOM} {
			rules := &policy{routes: toCluster(fmt.Sprintf("c%d-%v", n, policyKind), nil)}
			rules.cluster(t, fmt.Sprintf("c%d-%v", n, policyKind), false).LbPolicy = policyKind
			rules.endpoints[0].Endpoints = nil
			next := 0
			for i, states := range shape {
				l := &endpointv3.LocalityLbEndpoints{Priority: uint32(i), Locality: &corev3.Locality{Zone: "z"}}
				for _, state := range states {
					e := endpoint(t, backends[next])
					e.HealthStatus = state
					next++
					l.LbEndpoints = append(l.LbEndpoints, e)
				}
				rules.endpoints[0].Endpoints = append(rules.endpoints[0].Endpoints, l)
			}
			if !p.apply(t, rules) {
				t.Fatalf("both refuse it: %v", p.rejections())
			}
			p.compareShares(t, request{method: "GET", host: "shop", path: "/"}, fmt.Sprint(policyKind, shape))
		}
	}
}

// TestWeights divides calls by the weights of clusters, endpoints and localities.
func TestWeights(t *testing.T) {
	p := newPair(t, false)
	g := newGenerator(t, seeded.Seed(t), false)
	var backends []*meshtest.Backend
	for i := range 6 {
		backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
	}
	for n := range 12 {
		rules := &policy{}
		split := &routev3.WeightedCluster{}
		for i := range 2 {
			name := fmt.Sprintf("c%d-%d", n, i)
			c := rules.cluster(t, name, false)
			c.LbPolicy = pick(g, clusterv3.Cluster_ROUND_ROBIN, clusterv3.Cluster_RANDOM, clusterv3.Cluster_LEAST_REQUEST)
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			}}
			a := rules.endpoints[i]
			a.Endpoints = nil
			for j, b := range backends[3*i : 3*i+3] {
				e := endpoint(t, b)
				if c.GetLbPolicy() == clusterv3.Cluster_ROUND_ROBIN {
					e.LoadBalancingWeight = wrapperspb.UInt32(pick(g, uint32(1), 2, 5))
				}
				if j < 2 {
					a.Endpoints = append(a.Endpoints, &endpointv3.LocalityLbEndpoints{
						Locality: &corev3.Locality{Zone: fmt.Sprint(j)}, LoadBalancingWeight: wrapperspb.UInt32(pick(g, uint32(1), 3)),
					})
				}
				l := a.Endpoints[len(a.Endpoints)-1]
				l.LbEndpoints = append(l.LbEndpoints, e)
			}
			split.Clusters = append(split.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(pick(g, uint32(1), 3, 9))})
		}
		rules.routes = toCluster("", nil)
		rules.routes.VirtualHosts[0].Routes[0].GetRoute().ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: split}
		if !p.apply(t, rules) {
			t.Fatalf("both refuse it: %v", p.rejections())
		}
		p.compareShares(t, request{method: "GET", host: "shop", path: "/"}, fmt.Sprint(split, rules.clusters, rules.endpoints))
	}
}

// TestSubsets picks endpoints by their metadata, with all selectors and fallbacks that
// both know.
func TestSubsets(t *testing.T) {
	const n = 60
	p := newPair(t, false)
	g := newGenerator(t, seeded.Seed(t), false)
	labels := []map[string]any{
		{"version": "1", "stage": "prod"}, {"version": "1", "stage": "dev"}, {"version": "2", "stage": "prod"},
		{"version": "2"}, {"stage": "canary"}, {},
	}
	var backends []*meshtest.Backend
	for i := range labels {
		backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
	}
	for i := range 25 {
		name := fmt.Sprint("c", i)
		rules := &policy{}
		var list []*endpointv3.LbEndpoint
		for j, b := range backends {
			e := endpoint(t, b)
			e.Metadata = lbMetadata(t, labels[j])
			list = append(list, e)
		}
		c := rules.cluster(t, name, false, list...)
		c.LbSubsetConfig = &clusterv3.Cluster_LbSubsetConfig{
			FallbackPolicy: clusterv3.Cluster_LbSubsetConfig_LbSubsetFallbackPolicy(g.IntN(3)),
			DefaultSubset:  lbMetadata(t, pick(g, map[string]any{"stage": "prod"}, map[string]any{"version": "3"}, map[string]any{})).FilterMetadata["envoy.lb"],
		}
		for _, keys := range [][]string{{"version"}, {"stage"}, {"stage", "version"}} {
			if g.one(3) {
				continue
			}
			s := &clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector{Keys: keys}
			if g.one(2) {
				s.FallbackPolicy = clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_LbSubsetSelectorFallbackPolicy(g.IntN(4))
			}
			c.LbSubsetConfig.SubsetSelectors = append(c.LbSubsetConfig.SubsetSelectors, s)
		}
		if len(c.LbSubsetConfig.SubsetSelectors) == 0 {
			continue
		}
		rules.routes = &routev3.RouteConfiguration{Name: routesName, VirtualHosts: []*routev3.VirtualHost{{Name: "h", Domains: []string{"*"}}}}
		h := rules.routes.VirtualHosts[0]
		for j, want := range []map[string]any{
			nil, {"version": "1"}, {"version": "2"}, {"version": "3"}, {"stage": "prod"}, {"stage": "canary"},
			{"stage": "prod", "version": "1"}, {"stage": "dev", "version": "2"}, {"other": "1"},
		} {
			r := toCluster(name, wanted(t, want)).VirtualHosts[0].Routes[0]
			r.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: fmt.Sprint("/", j)}
			h.Routes = append(h.Routes, r)
		}
		if !p.apply(t, rules) {
			t.Fatalf("both refuse it: %v", p.rejections())
		}
		for j := range h.Routes[1:] {
			r := request{method: "GET", host: "shop", path: fmt.Sprint("/", j)}
			if want, got := keys(p.count(t, p.envoy, r, n)), keys(p.count(t, p.weft, r, n)); want != got {
				t.Errorf("%v: Envoy sends calls to %s, Weft to %s, by %v", h.Routes[1+j].GetRoute().GetMetadataMatch(), want, got, c.GetLbSubsetConfig())
			}
		}
	}
}

func lbMetadata(t *testing.T, labels map[string]any) *corev3.Metadata {
	s, err := structpb.NewStruct(labels)
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": s}}
}

func wanted(t *testing.T, labels map[string]any) *corev3.Metadata {
	if labels == nil {
		return nil
	}
	return lbMetadata(t, labels)
}

// toCluster is one route for everything.
func toCluster(name string, match *corev3.Metadata) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: routesName, VirtualHosts: []*routev3.VirtualHost{{
		Name: "h", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name}, MetadataMatch: match,
			}},
		}},
	}}}
}

// count makes n requests and returns who answered how many.
func (p *pair) count(t *testing.T, s *side, r request, n int) map[string]int {
	counts := map[string]int{}
	for range n {
		a := p.call(t, s, r)
		if a.Seen == nil {
			counts[fmt.Sprintf("(%s %d)", a.Refused, a.Status)]++
			continue
		}
		counts[a.Seen.Backend]++
	}
	return counts
}

func keys(m map[string]int) string {
	return fmt.Sprint(slices.Sorted(maps.Keys(m)))
}

// compareShares expects shares that are alike, but for chance: seven standard deviations
// of the difference of two samples are exceeded once in 10^11.
func (p *pair) compareShares(t *testing.T, r request, what string) {
	t.Helper()
	if want, got, alike := p.shares(t, r); !alike {
		t.Errorf("%s: Envoy %v, Weft %v", what, want, got)
	}
}

// awaitShares gives both sides time to learn of what they do not hear by the routes.
func (p *pair) awaitShares(t *testing.T, r request, what func() string) {
	t.Helper()
	for deadline, i := time.Now().Add(long/4), 1; ; i++ {
		want, got, alike := p.shares(t, r)
		switch {
		case alike:
			return
		case i >= 6 && time.Now().After(deadline):
			t.Errorf("%s: Envoy %v, Weft %v", what(), want, got)
			return
		}
	}
}

func (p *pair) shares(t *testing.T, r request) (want, got map[string]int, alike bool) {
	want, got = p.count(t, p.envoy, r, calls), p.count(t, p.weft, r, calls)
	for name := range got {
		want[name] += 0
	}
	for name := range want {
		share := float64(want[name]+got[name]) / (2 * calls)
		if may := 7*math.Sqrt(2*calls*share*(1-share)) + 1; math.Abs(float64(want[name]-got[name])) > may {
			return want, got, false
		}
	}
	return want, got, true
}
