package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// headerChanges makes up what one level changes; mostly nothing.
func (g *generator) headerChanges(response bool) (add []*corev3.HeaderValueOption, remove []string) {
	if !g.one(3) {
		return nil, nil
	}
	for range g.IntN(4) {
		add = append(add, &corev3.HeaderValueOption{
			Header:         &corev3.HeaderValue{Key: g.changedHeader(response), Value: g.format(response)},
			AppendAction:   corev3.HeaderValueOption_HeaderAppendAction(g.IntN(4)),
			KeepEmptyValue: g.one(4),
		})
	}
	for g.one(3) {
		remove = append(remove, g.changedHeader(response))
	}
	return add, remove
}

func (g *generator) changedHeader(response bool) string {
	if response {
		return pick(g, "x-r", "x-s", "X-new", "x-t")
	}
	return pick(g, "x-a", "x-b", "X-new", "x-c")
}

// format makes up a header's value.
func (g *generator) format(response bool) string {
	list := []string{"v", "w", "", "%REQ(x-a)%", "%REQ(x-b?x-a)%", "%REQ(x-c):1%", "%PROTOCOL%", "%ROUTE_NAME%",
		"%UPSTREAM_CLUSTER%", "100%%", "%REQ(:authority)%,%REQ(:method)%",
		"%REQ(x-none)%", "[%REQ(x-none)%]"}
	if !response || g.forwards {
		list = append(list, "<%REQ(:path)%>")
	}
	if response && g.forwards {
		list = append(list, "%RESPONSE_CODE%")
	}
	if response {
		list = append(list, "%RESP(x-r)%", "%RESP(x-s?x-r)%")
	}
	return pick(g, list...)
}

// rewrites makes up how the route changes path and host.
func (g *generator) rewrites(a *routev3.RouteAction, m *routev3.RouteMatch) {
	switch g.IntN(8) {
	case 0, 1:
		if hasPrefix(m) {
			a.PrefixRewrite = pick(g, "/", "/new", "/new/", "/a/b?c=d")
		}
	case 2:
		a.RegexRewrite = g.regexRewrite()
	case 3:
		a.PathRewrite = pick(g, "/fixed", "/%REQ(x-word)%", "%REQ(:path)%/more", "/to?q%REQ(x-word)%") // never an empty query
	}
	hosts := 10
	if g.grpc {
		hosts = 4 // two of which a gRPC client knows (gRFCs A81, A111)
	}
	switch host := g.IntN(hosts); {
	case g.grpc && host > 1:
	case host == 0:
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "route.rewritten"}
	case host == 1:
		a.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
	case host == 2:
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteHeader{HostRewriteHeader: "x-word"}
	case host == 3:
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewritePathRegex{HostRewritePathRegex: &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: "^/([^/]*).*$"},
			Substitution: `\1.rewritten`,
		}}
	case host == 4:
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewrite{HostRewrite: pick(g, "to.%REQ(x-word)%", "%REQ(:authority)%.to", "%REQ(x-none)%")}
	}
	a.AppendXForwardedHost = g.one(3)
}

func hasPrefix(m *routev3.RouteMatch) bool {
	switch m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix, *routev3.RouteMatch_Path, *routev3.RouteMatch_PathSeparatedPrefix:
		return true
	}
	return false
}

func (g *generator) regexRewrite() *matcherv3.RegexMatchAndSubstitute {
	return pick(g,
		&matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "a"}, Substitution: "z"},
		&matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "^/(.)(.*)$"}, Substitution: `/\2\1$0`},
		&matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "/"}, Substitution: "//"},
		&matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "x*"}, Substitution: "/"},
		&matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "^(/.*)/[^/]*$"}, Substitution: `\1`},
	)
}

func (g *generator) redirect(m *routev3.RouteMatch) *routev3.RedirectAction {
	r := &routev3.RedirectAction{
		ResponseCode: routev3.RedirectAction_RedirectResponseCode(g.IntN(5)),
		StripQuery:   g.one(4),
	}
	switch g.IntN(4) {
	case 0:
		r.SchemeRewriteSpecifier = &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true}
	case 1:
		r.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: pick(g, "https", "HTTP", "ftp")}
	}
	if g.one(3) {
		r.HostRedirect = pick(g, "to.example", "to.example:1")
	}
	if g.one(4) {
		r.PortRedirect = pick(g, uint32(80), 8443)
	}
	switch g.IntN(6) {
	case 0:
		r.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: pick(g, "/to", "/to?x=y", "/to?")}
	case 1:
		if hasPrefix(m) {
			r.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: pick(g, "/to", "/to/", "/to?x=y")}
		}
	case 2:
		r.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: g.regexRewrite()}
	case 3:
		r.PathRewriteSpecifier = &routev3.RedirectAction_PathRewrite{PathRewrite: pick(g, "/fixed", "/%REQ(x-word)%")}
	}
	return r
}
