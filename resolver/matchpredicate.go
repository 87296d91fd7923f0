package resolver

import (
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/match"
)

// matchPredicate is a compiled xds.type.matcher.v3.Matcher.MatcherList.Predicate.
type matchPredicate interface{ match(r *matchRequest) bool }

// valuePredicate compares a value. One that is not there does not match.
type valuePredicate struct {
	input matchInput
	value match.String
}

func (p *valuePredicate) match(r *matchRequest) bool {
	v, ok := p.input(r)
	return ok && p.value.Match(v)
}

// customPredicate asks an extension, which looks at all of the request.
type customPredicate struct{ filter.Matcher }

func (p customPredicate) match(r *matchRequest) bool { return p.Matches(r.call) }

type notPredicate struct{ not matchPredicate }

func (p notPredicate) match(r *matchRequest) bool { return !p.not.match(r) }

type orPredicate []matchPredicate

func (p orPredicate) match(r *matchRequest) bool {
	for _, one := range p {
		if one.match(r) {
			return true
		}
	}
	return false
}

type andPredicate []matchPredicate

func (p andPredicate) match(r *matchRequest) bool {
	for _, one := range p {
		if !one.match(r) {
			return false
		}
	}
	return true
}

func (c *matchTreeCompiler[T]) predicate(p *path, m *xdsmatcherv3.Matcher_MatcherList_Predicate, depth int) (matchPredicate, error) {
	if depth > maxMatchDepth {
		return nil, p.errorf("is more than %d deep", maxMatchDepth)
	}
	switch s := m.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		return c.single(p.to("single_predicate"), s.SinglePredicate)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		list, err := c.predicates(p.to("or_matcher"), s.OrMatcher, depth)
		return orPredicate(list), err
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		list, err := c.predicates(p.to("and_matcher"), s.AndMatcher, depth)
		return andPredicate(list), err
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		not, err := c.predicate(p.to("not_matcher"), s.NotMatcher, depth+1)
		return notPredicate{not}, err
	default:
		return nil, p.errorf("must say what to match")
	}
}

func (c *matchTreeCompiler[T]) predicates(p *path, m *xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList, depth int) ([]matchPredicate, error) {
	if len(m.GetPredicate()) < 2 {
		return nil, p.to("predicate").errorf("must have two entries or more")
	}
	var list []matchPredicate
	for i, one := range m.GetPredicate() {
		predicate, err := c.predicate(p.at("predicate", i), one, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, predicate)
	}
	return list, nil
}

func (c *matchTreeCompiler[T]) single(p *path, m *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) (matchPredicate, error) {
	switch s := m.GetMatcher().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch:
		input, err := p.to("input").matchInput(m.GetInput())
		if err != nil {
			return nil, err
		}
		value, err := p.to("value_match").xdsStringMatcher(s.ValueMatch)
		return &valuePredicate{input, value}, err
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch:
		q := p.to("custom_match").to("typed_config")
		parsed, err := c.config.Nested(s.CustomMatch.GetTypedConfig())
		if err != nil {
			return nil, q.errorf("%w", err)
		}
		if parsed.Matcher() == nil {
			return nil, q.errorf("is not a matcher")
		}
		in := m.GetInput().GetTypedConfig()
		if !in.MessageIs((*xdsmatcherv3.HttpAttributesCelMatchInput)(nil)) {
			return nil, p.to("input").errorf("of type %q: %w", in.GetTypeUrl(), ErrUnsupported)
		}
		return customPredicate{parsed.Matcher()}, nil
	default:
		return nil, p.errorf("must have value_match or custom_match")
	}
}

// xdsStringMatcher compiles an xds.type.matcher.v3.StringMatcher.
func (p *path) xdsStringMatcher(s *xdsmatcherv3.StringMatcher) (match.String, error) {
	var kind match.Kind
	var value string
	switch v := s.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		kind, value = match.Exact, v.Exact
	case *xdsmatcherv3.StringMatcher_Prefix:
		kind, value = match.Prefix, v.Prefix
	case *xdsmatcherv3.StringMatcher_Suffix:
		kind, value = match.Suffix, v.Suffix
	case *xdsmatcherv3.StringMatcher_Contains:
		kind, value = match.Contains, v.Contains
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		q := p.to("safe_regex")
		if err := q.regexSize(v.SafeRegex.GetRegex()); err != nil {
			return match.String{}, err
		}
		m, err := match.NewString(match.Regex, v.SafeRegex.GetRegex(), false)
		if err != nil {
			return m, q.to("regex").errorf("%w", err)
		}
		return m, nil
	case nil:
		return match.String{}, p.errorf("must say how to match")
	default:
		return match.String{}, p.errorf("%w: match of kind %T", ErrUnsupported, v)
	}
	if value == "" && kind != match.Exact {
		return match.String{}, p.errorf("must not be empty")
	}
	m, err := match.NewString(kind, value, s.GetIgnoreCase())
	if err != nil {
		return m, p.errorf("%w", err)
	}
	return m, nil
}
