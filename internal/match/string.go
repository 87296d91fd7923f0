package match

import (
	"fmt"
	"regexp"
	"strings"
)

// String matches one string value (envoy.type.matcher.v3.StringMatcher). The
// zero value matches only the empty string. It is immutable, and Match allocates
// nothing.
type String struct {
	kind       Kind
	value      string // lowered when ignoreCase
	ignoreCase bool
	re         *regexp.Regexp
}

// Kind is the way a String compares.
type Kind int

// The kinds. Regex is RE2 and must match the whole value.
const (
	Exact Kind = iota
	Prefix
	Suffix
	Contains
	Regex
)

// NewString returns a matcher. ignoreCase is about ASCII letters, and does not
// apply to Regex, both as in Envoy. The error is that of the regular expression's
// parser.
func NewString(kind Kind, value string, ignoreCase bool) (String, error) {
	s := String{kind: kind, value: value, ignoreCase: ignoreCase && kind != Regex}
	if s.ignoreCase {
		s.value = LowerASCII(value)
	}
	if kind == Regex {
		re, err := FullRegex(value)
		if err != nil {
			return String{}, err
		}
		s.re = re
	}
	return s, nil
}

// FullRegex compiles an RE2 expression that has to match a whole value.
func FullRegex(expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil { // so that the error shows what the user wrote
		return nil, fmt.Errorf("bad regex: %w", err)
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}

// Match reports whether v matches.
func (s *String) Match(v string) bool {
	if s.ignoreCase {
		return s.matchFold(v)
	}
	switch s.kind {
	case Prefix:
		return strings.HasPrefix(v, s.value)
	case Suffix:
		return strings.HasSuffix(v, s.value)
	case Contains:
		return strings.Contains(v, s.value)
	case Regex:
		return s.re.MatchString(v)
	default:
		return v == s.value
	}
}

func (s *String) matchFold(v string) bool {
	n := len(s.value)
	if len(v) < n {
		return false
	}
	switch s.kind {
	case Prefix:
		return HasPrefixFold(v, s.value)
	case Suffix:
		return equalsLower(v[len(v)-n:], s.value)
	case Contains:
		for i := 0; i+n <= len(v); i++ {
			if equalsLower(v[i:i+n], s.value) {
				return true
			}
		}
		return false
	default:
		return len(v) == n && equalsLower(v, s.value)
	}
}

// Exact returns the one value that matches, if there is just one.
func (s *String) Exact() (value string, ok bool) {
	return s.value, s.kind == Exact && !s.ignoreCase
}
