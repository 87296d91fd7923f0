package envoy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func fold(s string) string { return strings.ToLower(s) }

func (g *generator) match() *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	switch g.IntN(8) {
	case 0, 1:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: g.path()}
	case 2:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: g.pathRegex()}
	case 3:
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimSuffix(g.path(), "/")}
	case 4:
		m.PathSpecifier = g.template()
	default:
		path := g.path()
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: path[:1+g.IntN(len(path))]}
	}
	if g.one(4) {
		m.CaseSensitive = wrapperspb.Bool(false)
	}
	for g.one(4) {
		m.Headers = append(m.Headers, g.headerMatcher())
	}
	if g.one(8) {
		m.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	}
	if g.one(8) {
		m.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
			Numerator:   pick(g, uint32(0), 1_000_000),
			Denominator: typev3.FractionalPercent_MILLION,
		}}
	}
	if g.grpc { // which has neither
		return m
	}
	for g.one(8) {
		m.QueryParameters = append(m.QueryParameters, g.queryMatcher())
	}
	if g.one(8) {
		m.Cookies = append(m.Cookies, &routev3.CookieMatcher{
			Name: pick(g, "c", "d"), StringMatch: g.stringMatcher(), InvertMatch: g.one(4),
		})
	}
	return m
}

func (g *generator) pathRegex() *matcherv3.RegexMatcher {
	return &matcherv3.RegexMatcher{Regex: pick(g, "/a.*", "/(a|b)/[^/]+", ".*/list", "/[a-z.]+/[a-z]+", "/a", "(?i)/A/.*", "/(.*)/(.*)", ".*")}
}

func (g *generator) template() *routev3.RouteMatch_PathMatchPolicy {
	return &routev3.RouteMatch_PathMatchPolicy{PathMatchPolicy: &corev3.TypedExtensionConfig{
		Name: "envoy.path.match.uri_template.uri_template_matcher",
		TypedConfig: pack(g.t, &templatev3.UriTemplateMatchConfig{PathTemplate: pick(g,
			"/a/*", "/*/b", "/a/**", "/{x}/b", "/a/{x=*}", "/{x=**}", "/{x=a/*}/list", "/*/*", "/**/list", "/a/*/v1", "/{x}.{y}", "/v1/{n=**}.y")}),
	}}
}

func (g *generator) stringMatcher() *matcherv3.StringMatcher {
	m := &matcherv3.StringMatcher{IgnoreCase: g.one(4)}
	v := g.value()
	if v == "" {
		v = "1"
	}
	switch g.IntN(5) {
	case 0:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: v}
	case 1:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: v}
	case 2:
		m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: v}
	case 3:
		m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: g.valueRegex()}
		m.IgnoreCase = false
	default:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: g.value()}
	}
	return m
}

func (g *generator) valueRegex() *matcherv3.RegexMatcher {
	return &matcherv3.RegexMatcher{Regex: pick(g, "[0-9]+", "a.*", "[^a]", "A|1", "a?", ".*b")}
}

func (g *generator) headerMatcher() *routev3.HeaderMatcher {
	m := &routev3.HeaderMatcher{Name: g.headerName(), InvertMatch: g.one(4), TreatMissingHeaderAsEmpty: g.one(4)}
	if g.one(6) {
		m.Name = pick(g, ":path", ":method", ":authority", "host", "content-type", ":scheme")
	}
	v := g.value()
	if v == "" {
		v = "a"
	}
	switch g.IntN(10) {
	case 0:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_ExactMatch{ExactMatch: g.value()} //nolint:staticcheck // control planes still send these
	case 1:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: v} //nolint:staticcheck // control planes still send these
	case 2:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_SuffixMatch{SuffixMatch: v} //nolint:staticcheck // control planes still send these
	case 3:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: v} //nolint:staticcheck // control planes still send these
	case 4:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: g.valueRegex()} //nolint:staticcheck // control planes still send these
	case 5, 6:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: !g.one(3)}
	case 7:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{
			Start: int64(g.IntN(5)) - 5, End: int64(1 + g.IntN(20)),
		}}
	default:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: g.stringMatcher()}
	}
	return m
}

func (g *generator) queryMatcher() *routev3.QueryParameterMatcher {
	q := &routev3.QueryParameterMatcher{Name: g.param()}
	switch g.IntN(3) {
	case 0:
		q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: !g.one(3)}
	case 1:
		q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: g.stringMatcher()}
	}
	return q
}
