package envoy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestMirrors makes up mirror policies of all three levels, all or nothing each, and
// compares what all backends got of each request.
func TestMirrors(t *testing.T) {
	const policies, requests = 30, 12
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			names := []string{"a", "b", "c"}
			g := newGenerator(t, seeded.Seed(t), protocol == "grpc", names...)
			rec := &recorded{byID: map[string][]seen{}}
			backends := map[string]*meshtest.Backend{}
			for _, name := range names {
				backends[name] = newRecorder(t, name, rec.add)
			}
			p := newPair(t, g.grpc, "shop")
			copied := 0
			for i := range policies {
				rules := &policy{routes: g.mirroredRoutes()}
				for _, name := range names {
					rules.cluster(t, name, g.grpc, endpoint(t, backends[name]))
				}
				if !p.apply(t, rules) {
					t.Fatalf("both refuse it: %v", p.rejections())
				}
				for _, name := range names { // Weft asks for such clusters when a call names them
					if a := p.call(t, p.weft, request{host: "shop", path: demandPath, header: []string{mirrorHeader, name}}); a.Seen == nil {
						t.Fatalf("%s: %+v", name, a)
					}
				}
				expected := map[string]int{}
				for j := range requests {
					// The last one comes after whatever the others had too many of.
					copied += p.compareCopies(t, rec, g.mirroredRequest(), fmt.Sprintf("%d-%d", i, j), rules.routes, expected)
					if t.Failed() {
						return
					}
				}
				for id, n := range expected {
					if got := rec.of(id, g.grpc); len(got) != n {
						t.Errorf("%s came %d times, want %d: %+v\n%s", id, len(got), n, got, describe(rules.routes))
					}
				}
			}
			t.Logf("%d copies", copied)
			if copied < policies {
				t.Error("too few: the generator is no good")
			}
		})
	}
}

// compareCopies makes a request of both, waits for its copies and returns how many each
// has made. It notes how often each ID is to come.
func (p *pair) compareCopies(t *testing.T, rec *recorded, r request, id string, rc *routev3.RouteConfiguration, expected map[string]int) int {
	t.Helper()
	copies := mirrorsOf(rc, r)
	var answers []answer
	var got [][]seen
	for _, s := range p.sides() {
		own := r
		mine := s.name + "-" + id
		own.header = append(slices.Clone(r.header), idHeader, mine)
		a := p.call(t, s, own)
		if a.Seen == nil {
			t.Fatalf("%s: %+v: %+v\n%s", s.name, r, a, describe(rc))
		}
		drop(a.Seen.Header, idHeader)
		answers = append(answers, a)
		expected[mine] = 1 + copies
		await(t, fmt.Sprintf("%d copies by %s of %+v\n%s", copies, s.name, r, describe(rc)), func() bool {
			return len(rec.of(mine, p.grpc)) > copies
		})
		got = append(got, rec.of(mine, p.grpc))
	}
	if diff := gocmp.Diff(answers[0], answers[1]); diff != "" {
		t.Errorf("%+v (-Envoy +Weft):\n%s\n%s", r, diff, describe(rc))
	}
	if diff := gocmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("copies of %+v (-Envoy +Weft):\n%s\n%s", r, diff, describe(rc))
	}
	return copies
}

// idHeader tells requests, and the sides that make them, apart.
const idHeader = "X-Oracle-Id"

// recorded is what backends saw.
type recorded struct {
	mu   sync.Mutex
	byID map[string][]seen
}

func (r *recorded) add(s seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := s.Header.Get(idHeader)
	r.byID[id] = append(r.byID[id], s)
}

// of is what came of one request, the request itself among it, in an order of its own.
func (r *recorded) of(id string, grpc bool) (list []seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.byID[id] {
		s.Header = s.Header.Clone()
		s.normalise(grpc)
		drop(s.Header, idHeader)
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b seen) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return list
}

const (
	mirrorHeader = "x-mirror"            // names the cluster of copies
	demandPath   = "/oracle.Demand/Wait" // where it names that of the call
)

// mirrorsOf is how many copies of a request policy wants.
func mirrorsOf(rc *routev3.RouteConfiguration, r request) (n int) {
	h := rc.GetVirtualHosts()[0]
	list := h.GetRequestMirrorPolicies()
	for _, route := range h.GetRoutes() {
		if route.GetMatch().GetPrefix() == "" {
			continue // of the test's own
		}
		if own := route.GetRoute().GetRequestMirrorPolicies(); strings.HasPrefix(r.path, route.GetMatch().GetPrefix()) {
			if len(own) > 0 {
				list = own
			}
			break
		}
	}
	if len(list) == 0 {
		list = rc.GetRequestMirrorPolicies()
	}
	for _, m := range list {
		all := m.GetRuntimeFraction() == nil || m.GetRuntimeFraction().GetDefaultValue().GetNumerator() > 0
		if all && (m.GetCluster() != "" || slices.Contains(r.header, mirrorHeader)) {
			n++
		}
	}
	return n
}

// mirroredRoutes makes up a virtual host whose routes differ in what they mirror.
func (g *generator) mirroredRoutes() *routev3.RouteConfiguration {
	h := &routev3.VirtualHost{Name: "h", Domains: []string{"*"}, RequestMirrorPolicies: g.mirrors()}
	rc := &routev3.RouteConfiguration{Name: routesName, RequestMirrorPolicies: g.mirrors(), VirtualHosts: []*routev3.VirtualHost{h}}
	rc.RequestHeadersToAdd, rc.RequestHeadersToRemove = g.headerChanges(false)
	for _, prefix := range []string{"/a", "/v1", "/"} {
		r := &routev3.Route{
			Name:  "route-" + prefix,
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
		}
		g.forwards = true
		a := &routev3.RouteAction{
			ClusterSpecifier:      &routev3.RouteAction_Cluster{Cluster: pick(g, g.clusters...)},
			RequestMirrorPolicies: g.mirrors(),
		}
		g.rewrites(a, r.GetMatch())
		r.Action = &routev3.Route_Route{Route: a}
		r.RequestHeadersToAdd, r.RequestHeadersToRemove = g.headerChanges(false)
		g.forwards = false
		h.Routes = append(h.Routes, r)
	}
	h.Routes = append([]*routev3.Route{{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: demandPath}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_ClusterHeader{ClusterHeader: mirrorHeader}}},
	}}, h.Routes...)
	return rc
}

// mirrors makes up what one level mirrors; every other time nothing.
func (g *generator) mirrors() (list []*routev3.RouteAction_RequestMirrorPolicy) {
	for range g.IntN(4) - 1 {
		m := &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:                       pick(g, g.clusters...),
			DisableShadowHostSuffixAppend: g.one(3),
			RequestHeadersMutations:       g.copyMutations(),
		}
		if g.one(3) {
			m.Cluster, m.ClusterHeader = "", mirrorHeader
		}
		if g.one(3) {
			m.HostRewriteLiteral = pick(g, "mirror.rewritten", "mirror:1")
		}
		if g.one(2) {
			m.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: pick(g, uint32(0), 100, 100)}}
		}
		list = append(list, m)
	}
	return list
}

// copyMutations leaves out what is known to differ.
func (g *generator) copyMutations() (list []*mutationv3.HeaderMutation) {
	for _, m := range g.mutationList(false) {
		if m.GetRemoveOnMatch() == nil && !strings.Contains(m.GetAppend().GetHeader().GetValue(), ":path") {
			list = append(list, m)
		}
	}
	return list
}

func (g *generator) mirroredRequest() request {
	r := g.request()
	r.host = "shop"
	if !g.grpc {
		r.host = pick(g, "shop", "api.test:8080", "[::1]", "[::1]:8080")
		r.path = strings.ReplaceAll(r.path, "%41", "A")
	}
	if g.one(2) {
		r.header = append(r.header, mirrorHeader, pick(g, g.clusters...))
	}
	return r
}
