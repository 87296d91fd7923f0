package resolver

import (
	"maps"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weft-mesh/weft/filter"
)

// matchTree is a compiled xds.type.matcher.v3.Matcher (gRFC A106) whose actions are of
// type T. It is immutable.
//
// An on_match whose own matcher finds nothing counts as not matched: what stands beside
// it has its turn, and in the end on_no_match.
type matchTree[T any] struct {
	list []matchField[T] // of a matcher_list

	// Of a matcher_tree.
	input     matchInput
	exact     map[string]*onMatch[T]
	prefixes  []matchPrefix[T] // the longest first
	otherwise *onMatch[T]      // on_no_match; nil for none
}

type matchField[T any] struct {
	when matchPredicate
	then *onMatch[T]
}

type matchPrefix[T any] struct {
	prefix string
	then   *onMatch[T]
}

// onMatch is what follows from a match: an action, or a tree.
type onMatch[T any] struct {
	tree   *matchTree[T] // nil for the action
	action T
}

func (m *onMatch[T]) find(r *matchRequest) (action T, ok bool) {
	switch {
	case m == nil:
		return action, false
	case m.tree != nil:
		return m.tree.find(r)
	default:
		return m.action, true
	}
}

// find returns the action for a request; ok is false if there is none.
func (t *matchTree[T]) find(r *matchRequest) (action T, ok bool) {
	for i := range t.list {
		if t.list[i].when.match(r) {
			if action, ok = t.list[i].then.find(r); ok {
				return action, true
			}
		}
	}
	if t.input != nil {
		if value, there := t.input(r); there {
			if action, ok = t.exact[value].find(r); ok {
				return action, true
			}
			for _, p := range t.prefixes {
				if strings.HasPrefix(value, p.prefix) {
					if action, ok = p.then.find(r); ok {
						return action, true
					}
				}
			}
		}
	}
	return t.otherwise.find(r)
}

// mapped is the tree with other actions.
func (t *matchTree[T]) mapped(f func(T) T) *matchTree[T] {
	if t == nil {
		return nil
	}
	own := &matchTree[T]{input: t.input, otherwise: t.otherwise.mapped(f)}
	for _, field := range t.list {
		own.list = append(own.list, matchField[T]{field.when, field.then.mapped(f)})
	}
	if t.exact != nil {
		own.exact = make(map[string]*onMatch[T], len(t.exact))
		for value, then := range t.exact {
			own.exact[value] = then.mapped(f)
		}
	}
	for _, p := range t.prefixes {
		own.prefixes = append(own.prefixes, matchPrefix[T]{p.prefix, p.then.mapped(f)})
	}
	return own
}

func (m *onMatch[T]) mapped(f func(T) T) *onMatch[T] {
	switch {
	case m == nil:
		return nil
	case m.tree != nil:
		return &onMatch[T]{tree: m.tree.mapped(f)}
	default:
		return &onMatch[T]{action: f(m.action)}
	}
}

// matchRequest is a request in the forms that inputs and matchers take.
type matchRequest struct {
	request Request
	call    *filter.Request
}

// matchInput is a value of a request; ok is false if it has none.
type matchInput func(r *matchRequest) (value string, ok bool)

// matchTreeCompiler compiles trees.
type matchTreeCompiler[T any] struct {
	config *filter.Config // whose registry has the custom matchers
	action func(p *path, a *xdscorev3.TypedExtensionConfig) (T, error)
}

// maxMatchDepth bounds trees and predicates (gRFC A106).
const maxMatchDepth = 16

func (c *matchTreeCompiler[T]) tree(p *path, m *xdsmatcherv3.Matcher, depth int) (*matchTree[T], error) {
	if depth > maxMatchDepth {
		return nil, p.errorf("is more than %d deep", maxMatchDepth)
	}
	t := &matchTree[T]{}
	var err error
	switch s := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		err = c.list(p.to("matcher_list"), s.MatcherList, t, depth)
	case *xdsmatcherv3.Matcher_MatcherTree_:
		err = c.lookup(p.to("matcher_tree"), s.MatcherTree, t, depth)
	default:
		err = p.errorf("must have matcher_list or matcher_tree")
	}
	if err == nil && m.GetOnNoMatch() != nil {
		t.otherwise, err = c.onMatch(p.to("on_no_match"), m.GetOnNoMatch(), depth)
	}
	return t, err
}

func (c *matchTreeCompiler[T]) onMatch(p *path, m *xdsmatcherv3.Matcher_OnMatch, depth int) (*onMatch[T], error) {
	if m.GetKeepMatching() {
		return nil, p.to("keep_matching").errorf("%w", ErrUnsupported)
	}
	then := &onMatch[T]{}
	var err error
	switch s := m.GetOnMatch().(type) {
	case *xdsmatcherv3.Matcher_OnMatch_Matcher:
		then.tree, err = c.tree(p.to("matcher"), s.Matcher, depth+1)
	case *xdsmatcherv3.Matcher_OnMatch_Action:
		then.action, err = c.action(p.to("action").to("typed_config"), s.Action)
	default:
		err = p.errorf("must have matcher or action")
	}
	return then, err
}

func (c *matchTreeCompiler[T]) list(p *path, m *xdsmatcherv3.Matcher_MatcherList, t *matchTree[T], depth int) error {
	if len(m.GetMatchers()) == 0 {
		return p.to("matchers").errorf("must not be empty")
	}
	for i, one := range m.GetMatchers() {
		q := p.at("matchers", i)
		when, err := c.predicate(q.to("predicate"), one.GetPredicate(), depth)
		if err != nil {
			return err
		}
		then, err := c.onMatch(q.to("on_match"), one.GetOnMatch(), depth)
		if err != nil {
			return err
		}
		t.list = append(t.list, matchField[T]{when, then})
	}
	return nil
}

func (c *matchTreeCompiler[T]) lookup(p *path, m *xdsmatcherv3.Matcher_MatcherTree, t *matchTree[T], depth int) (err error) {
	if t.input, err = p.to("input").matchInput(m.GetInput()); err != nil {
		return err
	}
	field, list := "exact_match_map", m.GetExactMatchMap().GetMap()
	if m.GetPrefixMatchMap() != nil {
		field, list = "prefix_match_map", m.GetPrefixMatchMap().GetMap()
	}
	if m.GetCustomMatch() != nil {
		return p.to("custom_match").errorf("%w", ErrUnsupported)
	}
	if len(list) == 0 {
		return p.errorf("must have an exact_match_map or prefix_match_map that is not empty")
	}
	t.exact = make(map[string]*onMatch[T])
	for _, key := range slices.Sorted(maps.Keys(list)) {
		then, err := c.onMatch(p.to(field+"["+key+"]"), list[key], depth)
		switch {
		case err != nil:
			return err
		case m.GetPrefixMatchMap() != nil:
			t.prefixes = append(t.prefixes, matchPrefix[T]{key, then})
		default:
			t.exact[key] = then
		}
	}
	slices.SortStableFunc(t.prefixes, func(a, b matchPrefix[T]) int { return len(b.prefix) - len(a.prefix) })
	return nil
}

// matchInput compiles the inputs that there are: a header, or a query parameter.
func (p *path) matchInput(m *xdscorev3.TypedExtensionConfig) (matchInput, error) {
	p = p.to("typed_config")
	var header matcherv3.HttpRequestHeaderMatchInput
	var query matcherv3.HttpRequestQueryParamMatchInput
	switch a := m.GetTypedConfig(); {
	case a.MessageIs(&header):
		if err := a.UnmarshalTo(&header); err != nil {
			return nil, p.errorf("%w", err)
		}
		if name := header.GetHeaderName(); !validHeaderName(strings.TrimPrefix(name, ":")) {
			return nil, p.to("header_name").errorf("%q is not the name of a header", name)
		}
		ref := newHeaderRef(header.GetHeaderName())
		return func(r *matchRequest) (string, bool) { return ref.get(&r.request) }, nil
	case a.MessageIs(&query):
		if err := a.UnmarshalTo(&query); err != nil {
			return nil, p.errorf("%w", err)
		}
		name := query.GetQueryParam()
		if name == "" {
			return nil, p.to("query_param").errorf("must not be empty")
		}
		return func(r *matchRequest) (string, bool) { return queryValue(r.request.RawQuery, name) }, nil
	default:
		return nil, p.errorf("input of type %q: %w", a.GetTypeUrl(), ErrUnsupported)
	}
}
