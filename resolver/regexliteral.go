package resolver

import (
	"regexp/syntax"
	"unicode/utf8"
)

// literalPrefix returns what every string starts with that the expression matches
// from its beginning, as far as it can be told. It is what routes with regular
// expressions are indexed by.
func literalPrefix(expr string) string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return ""
	}
	prefix, _ := literalOf(re)
	return prefix
}

// literalOf returns the prefix, and whether it is the whole of what re matches.
func literalOf(re *syntax.Regexp) (prefix string, whole bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText:
		return "", true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return "", false
		}
		for i, c := range re.Rune {
			if c == utf8.RuneError { // matches any byte that is not UTF-8
				return string(re.Rune[:i]), false
			}
		}
		return string(re.Rune), true
	case syntax.OpCapture:
		return literalOf(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			s, whole := literalOf(sub)
			prefix += s
			if !whole {
				return prefix, false
			}
		}
		return prefix, true
	case syntax.OpPlus:
		prefix, _ = literalOf(re.Sub[0])
		return prefix, false
	default:
		return "", false
	}
}
