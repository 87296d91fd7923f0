package policy

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

func (c *compiler) route(host string, r *Route) *routev3.Route {
	route := &routev3.Route{Name: r.Name, Match: routeMatch(r.Match)}
	headers(route, r.Headers)
	route.TypedPerFilterConfig = c.overrides(host, r)
	if r.answer(route) {
		return route
	}
	action := &routev3.RouteAction{}
	rewrite(action, r.Rewrite)
	speaksGRPC := false
	weighted := &routev3.WeightedCluster{}
	for _, name := range sortedKeys(r.To) {
		to := c.scope.destinations(host, name)[0]
		speaksGRPC = speaksGRPC || to.service != nil && to.service.Protocol == GRPC
		weighted.Clusters = append(weighted.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name:   to.cluster,
			Weight: wrapperspb.UInt32(r.To[name]),
		})
	}
	for _, s := range c.scope.policy.Services {
		speaksGRPC = speaksGRPC || r.ToHeader != "" && s.Protocol == GRPC
	}
	switch {
	case r.ToHeader != "":
		action.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: strings.ToLower(r.ToHeader)}
	case len(weighted.Clusters) == 1:
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: weighted.Clusters[0].Name}
	default:
		action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted}
	}
	c.timeouts(action, r, speaksGRPC)
	action.HashPolicy = hashPolicies(r.Hash)
	action.RequestMirrorPolicies = c.mirrors(host, r.Mirror)
	retries(route, action, r)
	route.Action = &routev3.Route_Route{Route: action}
	return route
}

// timeouts sets the bounds of a call. No timeout is said in so many words: silence
// is 15 s to Envoy and forever to gRPC, and one policy means one thing.
func (c *compiler) timeouts(action *routev3.RouteAction, r *Route, speaksGRPC bool) {
	action.Timeout = durationpb.New(0)
	action.IdleTimeout = optionalDuration(r.IdleTimeout)
	stream := r.MaxStreamDuration
	if r.Timeout != nil {
		action.Timeout = durationpb.New(*r.Timeout)
		if stream == nil && speaksGRPC && *r.Timeout > 0 {
			stream = r.Timeout
		}
	}
	if stream != nil {
		action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(*stream)}
	}
}

func routeMatch(m *Match) *routev3.RouteMatch {
	if m == nil {
		m = &Match{}
	}
	match := &routev3.RouteMatch{}
	setPath(match, m.Path)
	for _, name := range sortedKeys(m.Headers) {
		match.Headers = append(match.Headers, headerMatcher(name, m.Headers[name]))
	}
	if m.Method != "" {
		match.Headers = append(match.Headers, headerMatcher(":method", &HeaderMatch{Exact: &m.Method}))
	}
	for _, name := range sortedKeys(m.Query) {
		match.QueryParameters = append(match.QueryParameters, queryMatcher(name, m.Query[name]))
	}
	if m.Fraction != nil {
		match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: fractionalPercent(*m.Fraction)}
	}
	return match
}

func setPath(match *routev3.RouteMatch, m *PathMatch) {
	if m == nil {
		m = &PathMatch{Prefix: new("/")}
	}
	switch {
	case m.Exact != nil:
		match.PathSpecifier = &routev3.RouteMatch_Path{Path: *m.Exact}
	case m.Regex != nil:
		match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(*m.Regex)}
	case m.SeparatedPrefix != nil:
		match.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: *m.SeparatedPrefix}
	case m.Template != nil:
		match.PathSpecifier = &routev3.RouteMatch_PathMatchPolicy{PathMatchPolicy: &corev3.TypedExtensionConfig{
			Name:        "envoy.path.match.uri_template.uri_template_matcher",
			TypedConfig: pack(&templatev3.UriTemplateMatchConfig{PathTemplate: *m.Template}),
		}}
	default:
		match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: *m.Prefix}
	}
	if m.IgnoreCase {
		match.CaseSensitive = wrapperspb.Bool(false)
	}
}

// headerMatcher writes text matches as string_match, which both gRPC (A63) and
// Envoy read and which alone can ignore case; the older fields are deprecated. The
// name is lower case, as it is on the wire: gRPC compares it letter by letter.
func headerMatcher(name string, m *HeaderMatch) *routev3.HeaderMatcher {
	matcher := &routev3.HeaderMatcher{
		Name:                      strings.ToLower(name),
		InvertMatch:               m.Invert,
		TreatMissingHeaderAsEmpty: m.TreatMissingAsEmpty,
	}
	switch {
	case m.Present != nil:
		matcher.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: *m.Present}
	case m.Range != nil:
		matcher.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{
			RangeMatch: &typev3.Int64Range{Start: m.Range.Start, End: m.Range.End},
		}
	default:
		matcher.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{
			StringMatch: stringMatcher(m.Exact, m.Prefix, m.Suffix, m.Contains, m.Regex, m.IgnoreCase),
		}
	}
	return matcher
}

func queryMatcher(name string, m *QueryMatch) *routev3.QueryParameterMatcher {
	matcher := &routev3.QueryParameterMatcher{Name: name}
	if m.Present != nil {
		matcher.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: *m.Present}
		return matcher
	}
	matcher.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{
		StringMatch: stringMatcher(m.Exact, m.Prefix, m.Suffix, m.Contains, m.Regex, m.IgnoreCase),
	}
	return matcher
}

func stringMatcher(exact, prefix, suffix, contains, expr *string, ignoreCase bool) *matcherv3.StringMatcher {
	m := &matcherv3.StringMatcher{IgnoreCase: ignoreCase}
	switch {
	case exact != nil:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: *exact}
	case prefix != nil:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: *prefix}
	case suffix != nil:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: *suffix}
	case contains != nil:
		m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: *contains}
	default:
		m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(*expr)}
	}
	return m
}

func regex(expr string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: expr} }

// fractionalPercent takes the coarsest denominator that is exact, so that 25% is
// 25 of 100 to whoever reads the resource.
func fractionalPercent(f Fraction) *typev3.FractionalPercent {
	switch n := uint32(f); {
	case n%10_000 == 0:
		return &typev3.FractionalPercent{Numerator: n / 10_000, Denominator: typev3.FractionalPercent_HUNDRED}
	case n%100 == 0:
		return &typev3.FractionalPercent{Numerator: n / 100, Denominator: typev3.FractionalPercent_TEN_THOUSAND}
	default:
		return &typev3.FractionalPercent{Numerator: n, Denominator: typev3.FractionalPercent_MILLION}
	}
}

// optionalDuration and optionalUint32 leave out what the policy leaves out.
func optionalDuration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

func optionalUint32(u *uint32) *wrapperspb.UInt32Value {
	if u == nil {
		return nil
	}
	return wrapperspb.UInt32(*u)
}
