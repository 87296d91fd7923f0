package resolver

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/internal/match"
)

// queryMatcher matches one query parameter of an HTTP request
// (envoy.config.route.v3.QueryParameterMatcher). Names and values are compared as
// they stand in the query, without decoding, and of several values the first
// counts: both as in Envoy.
type queryMatcher struct {
	name    string
	kind    paramMatch
	value   match.String // paramValue
	present bool         // paramPresent
}

type paramMatch uint8

const (
	paramValue paramMatch = iota
	paramPresent
)

func (m *queryMatcher) match(r *Request) bool {
	return m.matchValue(queryValue(r.RawQuery, m.name))
}

func (m *queryMatcher) matchValue(v string, ok bool) bool {
	if m.kind == paramPresent {
		return ok == m.present
	}
	return ok && m.value.Match(v)
}

// queryValue returns the first value of a parameter.
func queryValue(query, name string) (value string, ok bool) {
	for query != "" {
		var param string
		param, query, _ = strings.Cut(query, "&")
		if key, value, _ := strings.Cut(param, "="); key == name {
			return value, true
		}
	}
	return "", false
}

func (p *path) queryMatcher(q *routev3.QueryParameterMatcher) (queryMatcher, error) {
	if q.GetName() == "" {
		return queryMatcher{}, p.to("name").errorf("must not be empty")
	}
	m := queryMatcher{name: q.GetName()}
	var err error
	switch s := q.GetQueryParameterMatchSpecifier().(type) {
	case nil:
		m.kind, m.present = paramPresent, true
	case *routev3.QueryParameterMatcher_PresentMatch:
		m.kind, m.present = paramPresent, s.PresentMatch
	case *routev3.QueryParameterMatcher_StringMatch:
		m.value, err = p.to("string_match").stringMatcher(s.StringMatch)
	default:
		err = p.errorf("%w: match of kind %T", ErrUnsupported, s)
	}
	return m, err
}

// cookieMatcher matches one cookie of a request
// (envoy.config.route.v3.CookieMatcher). A cookie that is missing does not match,
// and so matches when inverted.
type cookieMatcher struct {
	name   string
	value  match.String
	invert bool
}

func (m *cookieMatcher) match(r *Request) bool {
	v, ok := cookieValue(r, m.name)
	return (ok && m.value.Match(v)) != m.invert
}

// cookieValue returns the first value of a cookie.
func cookieValue(r *Request, name string) (value string, ok bool) {
	if r.Headers == nil {
		return "", false
	}
	for _, line := range r.Headers.Values(cookieHeader) {
		for line != "" {
			var cookie string
			cookie, line, _ = strings.Cut(line, ";")
			key, value, found := strings.Cut(strings.TrimSpace(cookie), "=")
			if found && key == name {
				if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
					value = value[1 : n-1]
				}
				return value, true
			}
		}
	}
	return "", false
}

var cookieHeader = NewHeaderName("cookie")

func (p *path) cookieMatcher(c *routev3.CookieMatcher) (cookieMatcher, error) {
	if c.GetName() == "" {
		return cookieMatcher{}, p.to("name").errorf("must not be empty")
	}
	value, err := p.to("string_match").stringMatcher(c.GetStringMatch())
	return cookieMatcher{name: c.GetName(), value: value, invert: c.GetInvertMatch()}, err
}
