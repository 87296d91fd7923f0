package resolver

import (
	"math"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weft-mesh/weft/internal/match"
)

// headerMatcher matches one header of a request
// (envoy.config.route.v3.HeaderMatcher).
type headerMatcher struct {
	header headerRef
	kind   headerMatch

	value    match.String // headerValue
	from, to int64        // headerRange; to is outside
	present  bool         // headerPresent

	invert         bool
	missingIsEmpty bool
}

type headerMatch uint8

const (
	headerValue headerMatch = iota
	headerRange
	headerPresent
)

func (m *headerMatcher) match(r *Request) bool {
	v, others, ok := m.header.values(r)
	if !ok && !m.missingIsEmpty {
		// A matcher of values does not match a header that is not there, not even
		// inverted. That is Envoy's rule, and gRPC's.
		return m.kind == headerPresent && m.present == m.invert
	}
	matches := m.matchValue(v)
	for i := 0; !matches && i < len(others); i++ {
		matches = m.matchValue(others[i])
	}
	return matches != m.invert
}

func (m *headerMatcher) matchValue(v string) bool {
	switch m.kind {
	case headerValue:
		return m.value.Match(v)
	case headerRange:
		n, err := strconv.ParseInt(v, 10, 64)
		return err == nil && n >= m.from && n < m.to
	default:
		return m.present
	}
}

// exact returns the one value that the header must have, if the matcher is of that
// kind: such matchers can be looked up.
func (m *headerMatcher) exact() (value string, ok bool) {
	if m.kind != headerValue || m.invert || m.missingIsEmpty {
		return "", false
	}
	return m.value.Exact()
}

// headerRef names a header, or what a pseudo-header stands for.
type headerRef struct {
	name   *HeaderName
	source headerSource
	binary bool // gRPC does not match headers with binary values (gRFC A28)
}

type headerSource uint8

const (
	sourceHeader headerSource = iota
	sourceMethod
	sourcePath
	sourceAuthority
	sourceScheme
	sourceContentType
)

func newHeaderRef(name string) headerRef {
	ref := headerRef{name: NewHeaderName(name)}
	ref.binary = strings.HasSuffix(ref.name.Lower, "-bin")
	switch ref.name.Lower {
	case ":method":
		ref.source = sourceMethod
	case ":path":
		ref.source = sourcePath
	case ":authority", "host":
		ref.source = sourceAuthority
	case ":scheme":
		ref.source = sourceScheme
	case "content-type":
		ref.source = sourceContentType
	}
	return ref
}

// values returns what is matched of the header: each value of an HTTP request's by
// itself, as in Envoy (its match_headers_individually), where others are those behind the
// first; a gRPC call's joined with commas (gRFC A28).
func (h *headerRef) values(r *Request) (value string, others []string, ok bool) {
	switch h.source {
	case sourceMethod:
		return r.method(), nil, true
	case sourcePath:
		if r.RawQuery != "" {
			return r.Path + "?" + r.RawQuery, nil, true
		}
		return r.Path, nil, true
	case sourceAuthority:
		return r.Authority, nil, true
	case sourceScheme:
		return r.Scheme, nil, true
	case sourceContentType:
		if r.GRPC {
			return grpcContentType, nil, true
		}
	}
	if r.Headers == nil || h.binary && r.GRPC {
		return "", nil, false
	}
	values := r.Headers.Values(h.name)
	switch {
	case len(values) == 0:
		return "", nil, false
	case len(values) > 1 && r.GRPC:
		return strings.Join(values, ","), nil, true
	default:
		return values[0], values[1:], true
	}
}

// get returns the header's value; the values of one that was sent several times are
// joined with commas.
func (h *headerRef) get(r *Request) (value string, ok bool) {
	value, others, ok := h.values(r)
	if len(others) > 0 {
		value += "," + strings.Join(others, ",")
	}
	return value, ok
}

func (p *path) headerMatchers(list []*routev3.HeaderMatcher) ([]headerMatcher, error) {
	if len(list) == 0 {
		return nil, nil
	}
	matchers := make([]headerMatcher, len(list))
	for i, h := range list {
		m, err := p.at("headers", i).headerMatcher(h)
		if err != nil {
			return nil, err
		}
		matchers[i] = m
	}
	return matchers, nil
}

func (p *path) headerMatcher(h *routev3.HeaderMatcher) (headerMatcher, error) {
	if h.GetName() == "" {
		return headerMatcher{}, p.to("name").errorf("must not be empty")
	}
	m := headerMatcher{
		header:         newHeaderRef(h.GetName()),
		invert:         h.GetInvertMatch(),
		missingIsEmpty: h.GetTreatMissingHeaderAsEmpty(),
	}
	var err error
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case nil:
		m.kind, m.present = headerPresent, true
	case *routev3.HeaderMatcher_PresentMatch:
		m.kind, m.present = headerPresent, s.PresentMatch
	case *routev3.HeaderMatcher_RangeMatch:
		m.kind, m.from, m.to = headerRange, s.RangeMatch.GetStart(), s.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_StringMatch:
		m.value, err = p.to("string_match").stringMatcher(s.StringMatch)
	case *routev3.HeaderMatcher_ExactMatch:
		if s.ExactMatch == "" { // any value, as in Envoy
			m.value, err = match.NewString(match.Prefix, "", false)
		} else {
			m.value, err = match.NewString(match.Exact, s.ExactMatch, false)
		}
	case *routev3.HeaderMatcher_PrefixMatch:
		m.value, err = match.NewString(match.Prefix, s.PrefixMatch, false)
	case *routev3.HeaderMatcher_SuffixMatch:
		m.value, err = match.NewString(match.Suffix, s.SuffixMatch, false)
	case *routev3.HeaderMatcher_ContainsMatch:
		m.value, err = match.NewString(match.Contains, s.ContainsMatch, false)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		m.value, err = p.to("safe_regex_match").regex(s.SafeRegexMatch)
	default:
		err = p.errorf("%w: match of kind %T", ErrUnsupported, s)
	}
	return m, err
}

// stringMatcher compiles an envoy.type.matcher.v3.StringMatcher.
func (p *path) stringMatcher(s *matcherv3.StringMatcher) (match.String, error) {
	fold := s.GetIgnoreCase()
	switch v := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return match.NewString(match.Exact, v.Exact, fold)
	case *matcherv3.StringMatcher_Prefix:
		return match.NewString(match.Prefix, v.Prefix, fold)
	case *matcherv3.StringMatcher_Suffix:
		return match.NewString(match.Suffix, v.Suffix, fold)
	case *matcherv3.StringMatcher_Contains:
		return match.NewString(match.Contains, v.Contains, fold)
	case *matcherv3.StringMatcher_SafeRegex:
		return p.to("safe_regex").regex(v.SafeRegex)
	case nil:
		return match.String{}, p.errorf("must say how to match")
	default:
		return match.String{}, p.errorf("%w: match of kind %T", ErrUnsupported, v)
	}
}

func (p *path) regex(r *matcherv3.RegexMatcher) (match.String, error) {
	if err := p.regexSize(r.GetRegex()); err != nil {
		return match.String{}, err
	}
	m, err := match.NewString(match.Regex, r.GetRegex(), false)
	if err != nil {
		return match.String{}, p.to("regex").errorf("%w", err)
	}
	return m, nil
}

// regexSize bounds what an expression may cost: RE2 is linear in the input, but its
// program grows with the expression.
func (p *path) regexSize(expr string) error {
	if expr == "" {
		return p.to("regex").errorf("must not be empty")
	}
	if len(expr) > math.MaxUint16 {
		return p.to("regex").errorf("is %d bytes long, more than %d", len(expr), math.MaxUint16)
	}
	return nil
}
