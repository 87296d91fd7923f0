package policy

import (
	"regexp"
	"strings"
)

const maxTemplateVariables = 5

var (
	templateLiteral  = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()+,;:@=%-]+$`)
	templateVariable = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
)

// templateProblem says what is wrong with a path template, "" for nothing. The
// syntax is that of envoy.extensions.path.match.uri_template.v3: segments that are
// literals, * for one segment, ** for the rest, and variables {name} or
// {name=pattern} that stand for some of these; ** is the last operator, followed
// by no more than literal text.
func templateProblem(template string) string {
	names := make(map[string]bool)
	rest := false
	segment := func(s string) string {
		switch {
		case rest && (s == "*" || s == "**"):
			return "nothing but plain segments can follow **"
		case s == "**":
			rest = true
		case s == "*":
		case s == "":
			return "it has an empty segment"
		case !templateLiteral.MatchString(s):
			return "the segment " + s + " is not plain text, *, ** or a {variable}"
		}
		return ""
	}
	for _, s := range splitTemplate(strings.TrimPrefix(template, "/")) {
		inner, isVariable := strings.CutPrefix(s, "{")
		if !isVariable {
			if problem := segment(s); problem != "" {
				return problem
			}
			continue
		}
		inner, closed := strings.CutSuffix(inner, "}")
		name, pattern, hasPattern := strings.Cut(inner, "=")
		switch {
		case !closed:
			return "a { is not closed at the end of its segment"
		case !templateVariable.MatchString(name) || len(name) > 16:
			return "the variable {" + name + "} is not named by a letter and up to 15 letters, digits or _"
		case names[name]:
			return "the variable {" + name + "} stands twice"
		case len(names) == maxTemplateVariables:
			return "it has more than 5 variables"
		case rest:
			return "no variable can follow **"
		}
		names[name] = true
		if !hasPattern {
			continue
		}
		for _, s := range strings.Split(pattern, "/") {
			if problem := segment(s); problem != "" {
				return problem
			}
		}
	}
	return ""
}

// splitTemplate cuts at the slashes that are not within a variable.
func splitTemplate(s string) []string {
	var parts []string
	start, inside := 0, false
	for i := range len(s) {
		switch s[i] {
		case '{':
			inside = true
		case '}':
			inside = false
		case '/':
			if !inside {
				parts = append(parts, s[start:i])
				start = i + 1
			}
		}
	}
	return append(parts, s[start:])
}
