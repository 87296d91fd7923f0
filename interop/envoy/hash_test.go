package envoy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestHash makes up hash policies and clusters that go by them (ring_hash and maglev,
// with weights, localities, priorities, hostnames and keys), and expects every request
// at the endpoint to which Envoy sends it.
func TestHash(t *testing.T) {
	const policies, requests = 60, 60
	for _, protocol := range []string{"http1", "grpc"} {
		for _, sick := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/sick=%v", protocol, sick), func(t *testing.T) {
				g := newGenerator(t, seeded.Seed(t), protocol == "grpc")
				p := newPair(t, g.grpc, "shop")
				var backends []*meshtest.Backend
				for i := range 7 {
					backends = append(backends, newBackend(t, fmt.Sprintf("b%d", i)))
				}
				fixed := 0
				for n := range policies {
					rules := &policy{}
					name := fmt.Sprintf("cluster-%d", n) // fresh, so that nothing of the last one counts
					var list []*endpointv3.LbEndpoint
					for _, b := range backends[:1+g.IntN(len(backends))] {
						list = append(list, endpoint(t, b))
					}
					for len(list) < 2 {
						list = append(list, endpoint(t, backends[1]))
					}
					g.hashing(rules.cluster(t, name, g.grpc, list...))
					g.spread(rules.endpoints[0], sick)
					rules.routes = g.hashRoutes(name)
					if !p.apply(t, rules) {
						t.Fatalf("both refuse it: %v", p.rejections())
					}
					for range requests {
						r := g.request()
						r.host = "shop"
						if p.compareHash(t, r, rules) {
							fixed++
						}
						if t.Failed() {
							return
						}
					}
				}
				t.Logf("%d of %d requests had a hash", fixed, policies*requests)
				if fixed < requests {
					t.Error("too few: the generator is no good")
				}
			})
		}
	}
}

// hashRoutes is one virtual host whose routes all lead to a cluster.
func (g *generator) hashRoutes(cluster string) *routev3.RouteConfiguration {
	h := &routev3.VirtualHost{Name: "host", Domains: []string{"*"}}
	for range 3 {
		r := &routev3.Route{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: []*routev3.HeaderMatcher{g.headerMatcher()}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
				HashPolicy:       g.hashPolicies(),
			}},
		}
		r.RequestHeadersToAdd, r.RequestHeadersToRemove = g.headerChanges(false)
		for _, o := range r.GetRequestHeadersToAdd() {
			if g.grpc { // which hashes several values as one (gRFC A42)
				o.AppendAction = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
			}
		}
		h.Routes = append(h.Routes, r)
	}
	last := proto.CloneOf(h.Routes[0])
	last.Match.Headers = nil
	h.Routes = append(h.Routes, last)
	return &routev3.RouteConfiguration{Name: routesName, VirtualHosts: []*routev3.VirtualHost{h}}
}

// cookieValue is what of a generated cookie is anybody's choice.
var cookieValue = regexp.MustCompile(`="[0-9a-f]+"`)

// compareHash makes a request of both. If Envoy sends it to one endpoint always, so must
// Weft. It returns false if Envoy does not.
func (p *pair) compareHash(t *testing.T, r request, rules *policy) bool {
	t.Helper()
	want, got := p.call(t, p.envoy, r), p.call(t, p.weft, r)
	fixed := true
	if given := slices.Concat(want.Header.Values("Set-Cookie"), got.Header.Values("Set-Cookie")); len(given) > 0 {
		// Each makes up a cookie as it likes, and honours the other's.
		fixed = false
		for _, cookie := range given {
			if !slices.Contains(r.header, "cookie") {
				cookie, _, _ = strings.Cut(cookie, ";")
				again := r
				again.header = append([]string{"cookie", cookie}, r.header...)
				p.compareHash(t, again, rules)
			}
		}
	} else if backendOf(want) != backendOf(got) {
		for i := 0; fixed && i < 400; i++ {
			fixed = backendOf(p.call(t, p.envoy, r)) == backendOf(want)
		}
	}
	if !fixed && want.Seen != nil && got.Seen != nil {
		want.Seen.Backend = got.Seen.Backend
	}
	for _, a := range []answer{want, got} {
		for i, v := range a.Header["Set-Cookie"] {
			a.Header["Set-Cookie"][i] = cookieValue.ReplaceAllString(v, "=...")
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%+v (-Envoy +Weft):\n%s\n%s\n%s\n%s", r, diff, describe(rules.routes),
			protojson.Format(rules.clusters[0]), protojson.Format(rules.endpoints[0]))
	}
	return fixed
}

func backendOf(a answer) string {
	if a.Seen == nil {
		return ""
	}
	return a.Seen.Backend
}
