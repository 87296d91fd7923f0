package resolver

import (
	"math/rand/v2"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weft-mesh/weft/internal/match"
)

// routeMatch is what a request must be for a route to take it
// (envoy.config.route.v3.RouteMatch). The literal is looked up by a [routeIndex];
// conditions are then evaluated one by one.
type routeMatch struct {
	// literal is what the path is, or starts with; in lower case if fold.
	literal string
	exact   bool
	fold    bool

	// segment says that the literal, a prefix, must end where a segment of the path does.
	segment bool
	// regex, if any, must match the whole path. It may be that of a template.
	regex    *regexp.Regexp
	template bool

	connect  bool // CONNECT requests only
	grpc     bool // gRPC only
	tls      bool // asks for a client certificate, which no call of a mesh client came with
	headers  []headerMatcher
	query    []queryMatcher
	cookies  []cookieMatcher
	fraction *fraction

	unconditional bool // always, as the index has found
}

// conditions reports whether a request, whose path has the literal, meets the rest.
func (m *routeMatch) conditions(r *Request, path string) bool {
	if m.exact && len(path) != len(m.literal) {
		return false
	}
	if m.segment && len(path) > len(m.literal) && path[len(m.literal)] != '/' {
		return false
	}
	if m.connect && r.method() != "CONNECT" {
		return false
	}
	if m.grpc && !r.isGRPC() {
		return false
	}
	if m.tls && !r.GRPC { // gRPC leaves it out (gRFC A28)
		return false
	}
	if len(m.query) > 0 {
		if r.GRPC { // gRFC A28
			return false
		}
		for i := range m.query {
			if !m.query[i].match(r) {
				return false
			}
		}
	}
	for i := range m.headers {
		if !m.headers[i].match(r) {
			return false
		}
	}
	for i := range m.cookies {
		if !m.cookies[i].match(r) {
			return false
		}
	}
	if m.regex != nil && !m.regex.MatchString(path) {
		return false
	}
	return m.fraction == nil || m.fraction.take()
}

// always reports whether a path with the literal is all that the match asks for. (An
// exact one that does not regard case is indexed among prefixes, and asks for more.)
func (m *routeMatch) always() bool {
	return !(m.exact && m.fold) && !m.segment && !m.connect && !m.grpc && !m.tls && m.regex == nil && m.fraction == nil &&
		len(m.headers)+len(m.query)+len(m.cookies) == 0
}

// fraction takes a share of the requests, at random
// (envoy.config.core.v3.RuntimeFractionalPercent; there is no runtime, so that the
// default value always holds).
type fraction struct{ numerator, denominator uint32 }

func (f *fraction) take() bool { return rand.Uint32N(f.denominator) < f.numerator }

func (p *path) fraction(f *typev3.FractionalPercent) (*fraction, error) {
	denominator := uint32(100)
	switch f.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
	case typev3.FractionalPercent_TEN_THOUSAND:
		denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		denominator = 1_000_000
	default:
		return nil, p.to("denominator").errorf("unknown value %d", f.GetDenominator())
	}
	return &fraction{f.GetNumerator(), denominator}, nil
}

var routeMatchFields = fieldNames("prefix", "path", "safe_regex", "connect_matcher", "path_separated_prefix",
	"path_match_policy", "case_sensitive", "runtime_fraction", "headers", "query_parameters", "cookies", "grpc",
	"tls_context")

func (p *path) routeMatch(rm *routev3.RouteMatch) (*routeMatch, error) {
	if rm == nil {
		return nil, p.errorf("is required")
	}
	m := &routeMatch{grpc: rm.GetGrpc() != nil}
	if err := p.pathSpecifier(rm, m); err != nil {
		return nil, err
	}
	if len(rm.GetDynamicMetadata()) > 0 {
		return nil, p.to("dynamic_metadata").errorf("%w", ErrUnsupported)
	}
	if len(rm.GetFilterState()) > 0 {
		return nil, p.to("filter_state").errorf("%w", ErrUnsupported)
	}
	var err error
	if m.headers, err = p.headerMatchers(rm.GetHeaders()); err != nil {
		return nil, err
	}
	for i, q := range rm.GetQueryParameters() {
		qm, err := p.at("query_parameters", i).queryMatcher(q)
		if err != nil {
			return nil, err
		}
		m.query = append(m.query, qm)
	}
	for i, c := range rm.GetCookies() {
		cm, err := p.at("cookies", i).cookieMatcher(c)
		if err != nil {
			return nil, err
		}
		m.cookies = append(m.cookies, cm)
	}
	if t := rm.GetTlsContext(); t != nil {
		m.tls = t.GetPresented().GetValue() || t.GetValidated().GetValue()
	}
	if f := rm.GetRuntimeFraction(); f != nil {
		if m.fraction, err = p.to("runtime_fraction").to("default_value").fraction(f.GetDefaultValue()); err != nil {
			return nil, err
		}
	}
	p.warnUnread(rm, routeMatchFields)
	return m, nil
}

// pathSpecifier compiles the part of the match that is about the path.
func (p *path) pathSpecifier(rm *routev3.RouteMatch, m *routeMatch) error {
	fold := rm.GetCaseSensitive() != nil && !rm.GetCaseSensitive().GetValue()
	switch s := rm.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		m.literal, m.fold = s.Prefix, fold
	case *routev3.RouteMatch_Path:
		m.literal, m.fold, m.exact = s.Path, fold, true
	case *routev3.RouteMatch_PathSeparatedPrefix:
		prefix := s.PathSeparatedPrefix
		if prefix == "" || strings.ContainsAny(prefix, "?#") || strings.HasSuffix(prefix, "/") {
			return p.to("path_separated_prefix").errorf("%q must be a path without ?, # or a slash at the end", prefix)
		}
		m.literal, m.fold, m.segment = prefix, fold, true
	case *routev3.RouteMatch_SafeRegex:
		q := p.to("safe_regex")
		if err := q.regexSize(s.SafeRegex.GetRegex()); err != nil {
			return err
		}
		re, err := match.FullRegex(s.SafeRegex.GetRegex())
		if err != nil {
			return q.to("regex").errorf("%w", err)
		}
		m.regex = re
		m.literal = literalPrefix(s.SafeRegex.GetRegex())
	case *routev3.RouteMatch_ConnectMatcher_:
		m.connect = true
	case *routev3.RouteMatch_PathMatchPolicy:
		q := p.to("path_match_policy").to("typed_config")
		var config uritemplatev3.UriTemplateMatchConfig
		if !s.PathMatchPolicy.GetTypedConfig().MessageIs(&config) {
			return q.errorf("%w: %s", ErrUnsupported, s.PathMatchPolicy.GetTypedConfig().GetTypeUrl())
		}
		err := s.PathMatchPolicy.GetTypedConfig().UnmarshalTo(&config)
		if err != nil {
			return q.errorf("%w", err)
		}
		if m.regex, m.literal, err = match.Template(config.GetPathTemplate()); err != nil {
			return q.to("path_template").errorf("%w", err)
		}
		m.template = true
	case nil:
		return p.errorf("must say which paths match (prefix, path, safe_regex, ...)")
	default:
		return p.errorf("%w: path match of kind %T", ErrUnsupported, s)
	}
	if m.fold {
		m.literal = match.LowerASCII(m.literal)
	}
	return nil
}
