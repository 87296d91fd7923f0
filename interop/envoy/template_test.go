package envoy

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	templatematchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	templaterewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"

	"github.com/weft-mesh/weft/interop/internal/seeded"
)

// TestTemplateRewrite rewrites paths by templates (path_rewrite_policy).
func TestTemplateRewrite(t *testing.T) {
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			g := newGenerator(t, seeded.Seed(t), protocol == "grpc")
			p := newPair(t, g.grpc, "shop")
			backend := newBackend(t, "a")
			for range 10 {
				rules := &policy{routes: toCluster("a", nil)}
				rules.cluster(t, "a", g.grpc, endpoint(t, backend))
				h := rules.routes.GetVirtualHosts()[0]
				for range 6 {
					by := pick(g, [2]string{"/{x}/{y}", "/{y}/{x}"}, [2]string{"/a/{x=**}", "/{x}/a"}, [2]string{"/{x=*/b}/**", "/n/{x}/{x}"},
						[2]string{"/{x}/list", "/{x}-{x}.y"}, [2]string{"/{x=**}/v1", "/{x}"}, [2]string{"/*/{x}", "/fixed"}, [2]string{"/{x=a/*}/{y=**}", "/{y}/{x}/"})
					r := toCluster("a", nil).GetVirtualHosts()[0].GetRoutes()[0]
					r.Match.PathSpecifier = &routev3.RouteMatch_PathMatchPolicy{PathMatchPolicy: &corev3.TypedExtensionConfig{
						Name:        "envoy.path.match.uri_template.uri_template_matcher",
						TypedConfig: pack(t, &templatematchv3.UriTemplateMatchConfig{PathTemplate: by[0]}),
					}}
					r.GetRoute().PathRewritePolicy = &corev3.TypedExtensionConfig{
						Name:        "envoy.path.rewrite.uri_template.uri_template_rewriter",
						TypedConfig: pack(t, &templaterewritev3.UriTemplateRewriteConfig{PathTemplateRewrite: by[1]}),
					}
					h.Routes = append([]*routev3.Route{r}, h.Routes...)
				}
				if !p.apply(t, rules) {
					t.Fatalf("both refuse it: %v", p.rejections())
				}
				for range 40 {
					r := g.request()
					r.host = "shop"
					p.compare(t, r, func() string { return describe(rules.routes) })
					if t.Failed() {
						return
					}
				}
			}
		})
	}
}
