package envoy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestSessions begins sessions at all endpoints with both sides, by cookies and headers,
// lets endpoints go and fall ill, and expects both to keep and move all of them alike,
// their own and the other's.
func TestSessions(t *testing.T) {
	const policies = 20
	base := &statefulsessionv3.StatefulSession{SessionState: &corev3.TypedExtensionConfig{
		Name:        sessionState + "cookie",
		TypedConfig: pack(t, &cookiev3.CookieBasedSessionState{Cookie: &httpv3.Cookie{Name: sessionCookie, Path: "/"}}),
	}}
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			g := newGenerator(t, seeded.Seed(t), protocol == "grpc")
			p := setup{filters: []*hcmv3.HttpFilter{{
				Name: sessionFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, base)},
			}}}.pair(t, g.grpc, "shop")
			var backends []*meshtest.Backend
			for i := range 5 {
				backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
			}
			kept := 0
			for n := range policies {
				// One cluster is well. In the other the last endpoint is gone, and only the
				// first is sure to be well.
				rules := &policy{}
				well, sick := fmt.Sprint("well-", n), fmt.Sprint("sick-", n)
				var all, left []*endpointv3.LbEndpoint
				for i, b := range backends {
					all = append(all, endpoint(t, b))
					if i < len(backends)-1 {
						left = append(left, endpoint(t, b))
					}
				}
				for _, e := range left[1:] {
					e.HealthStatus = pick(g, sessionHealth...)
				}
				rules.cluster(t, well, g.grpc, all...)
				g.overridden(rules.cluster(t, sick, g.grpc, left...))
				h := &routev3.VirtualHost{Name: "h", Domains: []string{"*"}}
				filters := map[string]any{}
				for _, path := range []string{"/a/", "/ab/", "/b/"} {
					first := g.sessionRoute(well, path+"begin")
					then := g.sessionRoute(sick, path)
					then.TypedPerFilterConfig = first.GetTypedPerFilterConfig()
					h.Routes = append(h.Routes, first, then)
					filters[path] = first.GetTypedPerFilterConfig()
				}
				rules.routes = &routev3.RouteConfiguration{Name: routesName, VirtualHosts: []*routev3.VirtualHost{h}}
				if !p.apply(t, rules) {
					t.Fatalf("both refuse it: %v", p.rejections())
				}
				for _, path := range []string{"/a/", "/ab/", "/b/"} {
					sessions := append(p.sessions(t, path+"begin"), []string{"cookie", sessionCookie + "=nonsense", sessionHeader, "bm9uc2Vuc2U="}, nil)
					for _, header := range sessions {
						r := request{host: "shop", path: path + "then", header: header}
						want, got := p.outcomes(t, r)
						if want != got {
							t.Errorf("%s with %v: Envoy %s, Weft %s\n%v, %v, %v", r.path, header, want, got,
								filters[path], rules.clusters[1].GetCommonLbConfig(), health(left))
						}
						if !strings.Contains(want, ",") {
							kept++
						}
					}
				}
			}
			t.Logf("%d sessions were kept or failed", kept)
			if kept < policies/4 {
				t.Error("too few: the generator is no good")
			}
		})
	}
}

func health(list []*endpointv3.LbEndpoint) (all []corev3.HealthStatus) {
	for _, e := range list {
		all = append(all, e.GetHealthStatus())
	}
	return all
}

// sessions begins one at each endpoint with each side, as headers to send.
func (p *pair) sessions(t *testing.T, path string) (list [][]string) {
	for _, s := range p.sides() {
		begun := map[string][]string{}
		for range 12 { // round_robin among five
			a := p.call(t, s, request{host: "shop", path: path})
			if a.Seen == nil {
				t.Fatalf("%s: %+v", s.name, a)
			}
			var header []string
			if v := a.Header.Get("Set-Cookie"); v != "" && (s == p.envoy || !p.grpc) { // gRPC's names the cluster (gRFC A60)
				v, _, _ = strings.Cut(v, ";")
				header = append(header, "cookie", v)
			}
			if v := a.Header.Get(sessionHeader); v != "" {
				header = append(header, sessionHeader, v)
			}
			if header != nil {
				begun[a.Seen.Backend] = header
			}
		}
		for _, name := range slices.Sorted(maps.Keys(begun)) {
			list = append(list, begun[name])
		}
	}
	return list
}

// outcomes makes a request of both until what came of it is the same set, or has been
// different for long enough.
func (p *pair) outcomes(t *testing.T, r request) (envoy, weft string) {
	want, got := map[string]int{}, map[string]int{}
	for i := range 300 {
		want[sessionOutcome(p.call(t, p.envoy, r))]++
		got[sessionOutcome(p.call(t, p.weft, r))]++
		if i >= 5 && keys(want) == keys(got) {
			break
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(want)), ", "), strings.Join(slices.Sorted(maps.Keys(got)), ", ")
}

var anyCookie = regexp.MustCompile(`="[^"]*"`)

// sessionOutcome is who answered, and what the session is told.
func sessionOutcome(a answer) string {
	who := backendOf(a)
	if who == "" {
		who = fmt.Sprintf("(%d)", a.Status)
	}
	return fmt.Sprint(who, anyCookie.ReplaceAllString(a.Header.Get("Set-Cookie"), "=..."), a.Header.Get(sessionHeader))
}
