package resolver_test

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/resolver"
)

func templateRoute(match, rewrite string) string {
	return routeJSON(`{"match": {"pathMatchPolicy": {"name": "m", "typedConfig": {
			"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "pathTemplate": "` + match + `"}}},
		"route": {"cluster": "c", "pathRewritePolicy": {"name": "r", "typedConfig": {
			"@type": "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", "pathTemplateRewrite": "` + rewrite + `"}}}}`)
}

func TestTemplateRewrite(t *testing.T) {
	for _, c := range []struct{ match, rewrite, path, want string }{
		{"/api/users/{id}/{country}", "/{country}/users/{id}", "/api/users/7/de", "/de/users/7"},
		{"/bar/{lang}/{country}", "/{country}/{lang}/{lang}", "/bar/en/usa", "/usa/en/en"},
		{"/media/{file=**}", "/{file}", "/media/a/b/c.mp4", "/a/b/c.mp4"},
		{"/m/{path=v1/*}/x", "/n/{path}", "/m/v1/abc/x", "/n/v1/abc"},
		{"/a/*", "/b", "/a/c", "/b"},
		{"/a/{x}.m3u8", "/b/{x}-y", "/a/c.m3u8", "/b/c-y"},
	} {
		table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, templateRoute(c.match, c.rewrite)))
		r := &resolver.Request{Path: c.path, Headers: headers{}}
		route, err := table.Route(r)
		if err != nil {
			t.Fatal(err)
		}
		to, err := route.Pick()
		if err != nil {
			t.Fatal(err)
		}
		if got := to.Change.Request(r, headers{}, "HTTP/2").Path; got != c.want {
			t.Errorf("%s by %s of %s is %q, want %q", c.path, c.rewrite, c.match, got, c.want)
		}
	}
}

func TestRefusedTemplateRewrites(t *testing.T) {
	const at = "path_rewrite_policy.typed_config.path_template_rewrite:"
	for rewrite, text := range map[string]string{
		"x": "must begin with a slash", "/{id": "has no other", "/id}": "has no other", "/{id}/{id": "has no other",
		"/{other}": "has no variable {other}", "/*": "does not belong", "/a?b": "does not belong", "": "must begin with a slash",
	} {
		_, err := decode(t, parse(t, &routev3.RouteConfiguration{}, templateRoute("/{id}", rewrite)))
		wantError(t, err, at, text)
	}
	_, err := decode(t, parse(t, &routev3.RouteConfiguration{}, routeJSON(`{"match": {"prefix": "/"}, "route": {"cluster": "c", "pathRewritePolicy": {
		"name": "r", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", "pathTemplateRewrite": "/x"}}}}`)))
	wantError(t, err, at, "matches by path_match_policy")
}
