package extproc

import (
	"errors"
	"fmt"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weft-mesh/weft/internal/match"
)

// rules say which headers the server may change
// (envoy.config.common.mutation_rules.v3.HeaderMutationRules).
type rules struct {
	allow, disallow *match.String // of names; nil for none
	disallowAll     bool
	allowEnvoy      bool
	isError         bool // a mutation that is not allowed fails the call
}

func parseRules(m *mutationv3.HeaderMutationRules) (rules, error) {
	v := rules{
		disallowAll: m.GetDisallowAll().GetValue(),
		allowEnvoy:  m.GetAllowEnvoy().GetValue(),
		isError:     m.GetDisallowIsError().GetValue(),
	}
	for _, one := range []struct {
		field string
		from  *matcherv3.RegexMatcher
		to    **match.String
	}{{"allow_expression", m.GetAllowExpression(), &v.allow}, {"disallow_expression", m.GetDisallowExpression(), &v.disallow}} {
		if one.from == nil {
			continue
		}
		s, err := regex(one.from)
		if err != nil {
			return v, fmt.Errorf("%s.regex: %w", one.field, err)
		}
		*one.to = &s
	}
	return v, nil
}

// allows reports whether a header, in lower case, may be changed.
func (r *rules) allows(name string) bool {
	switch {
	case r.disallow != nil && r.disallow.Match(name):
		return false
	case r.allow != nil && r.allow.Match(name):
		return true
	case r.disallowAll:
		return false
	default:
		return r.allowEnvoy || !strings.HasPrefix(name, "x-envoy-")
	}
}

// forward says which headers the server gets (HeaderForwardingRules).
type forward struct {
	allowed, disallowed []match.String
	hasAllowed          bool
}

func parseForward(m *extprocv3.HeaderForwardingRules) (forward, error) {
	v := forward{hasAllowed: m.GetAllowedHeaders() != nil}
	for _, list := range []struct {
		field string
		from  *matcherv3.ListStringMatcher
		to    *[]match.String
	}{{"allowed_headers", m.GetAllowedHeaders(), &v.allowed}, {"disallowed_headers", m.GetDisallowedHeaders(), &v.disallowed}} {
		for i, pattern := range list.from.GetPatterns() {
			s, err := stringMatcher(pattern)
			if err != nil {
				return v, fmt.Errorf("%s.patterns[%d]: %w", list.field, i, err)
			}
			*list.to = append(*list.to, s)
		}
	}
	return v, nil
}

// sends reports whether the server gets a header, in lower case.
func (f *forward) sends(name string) bool {
	return !matchesAny(f.disallowed, name) && (!f.hasAllowed || matchesAny(f.allowed, name))
}

func matchesAny(list []match.String, name string) bool {
	for i := range list {
		if list[i].Match(name) {
			return true
		}
	}
	return false
}

func stringMatcher(m *matcherv3.StringMatcher) (match.String, error) {
	fold := m.GetIgnoreCase()
	switch v := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return match.NewString(match.Exact, v.Exact, fold)
	case *matcherv3.StringMatcher_Prefix:
		return match.NewString(match.Prefix, v.Prefix, fold)
	case *matcherv3.StringMatcher_Suffix:
		return match.NewString(match.Suffix, v.Suffix, fold)
	case *matcherv3.StringMatcher_Contains:
		return match.NewString(match.Contains, v.Contains, fold)
	case *matcherv3.StringMatcher_SafeRegex:
		return regex(v.SafeRegex)
	default:
		return match.String{}, errors.New("must have a match that is supported: exact, prefix, suffix, contains, safe_regex")
	}
}

// maxRegex bounds an expression's text, in bytes.
const maxRegex = 16 << 10

func regex(m *matcherv3.RegexMatcher) (match.String, error) {
	if n := len(m.GetRegex()); n == 0 || n > maxRegex {
		return match.String{}, fmt.Errorf("must be from 1 to %d bytes long", maxRegex)
	}
	return match.NewString(match.Regex, m.GetRegex(), false)
}
