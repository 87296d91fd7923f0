package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The bounds of a template: envoy's for variables and for the whole, in bytes.
const (
	maxTemplateVariables = 5
	maxTemplateName      = 16
	maxTemplateSize      = 256
)

// A template's literals are the characters of a path segment (RFC 3986, pchar)
// without = and *.
const templateChars = `a-zA-Z0-9\-._~%!$&'()+,;:@`

var (
	templateLiteral = regexp.MustCompile(`\A[` + templateChars + `]*\z`)
	templateName    = regexp.MustCompile(`\A[a-zA-Z][a-zA-Z0-9_]*\z`)
)

// Template compiles a path template
// (envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig) to an
// expression that matches whole paths, with a group of its name for each variable. Its segments are plain text, * for one
// segment, ** for any number of them, and variables {name} and {name=pattern} with
// a pattern of such segments; a variable may have text around it, and the last
// operator text behind it. literal is what every path that matches starts with.
func Template(template string) (re *regexp.Regexp, literal string, err error) {
	path, ok := strings.CutPrefix(template, "/")
	switch {
	case !ok:
		return nil, "", errors.New("it does not start with a slash")
	case len(template) > maxTemplateSize:
		return nil, "", fmt.Errorf("it is longer than %d bytes", maxTemplateSize)
	}
	t := templateParser{names: make(map[string]bool)}
	segments, err := splitTemplate(path)
	if err != nil {
		return nil, "", err
	}
	for i, segment := range segments {
		t.expr.WriteByte('/')
		last := i == len(segments)-1
		if segment == "" && last { // the root, or a slash at the end
			break
		}
		if err := t.segment(segment, last); err != nil {
			return nil, "", err
		}
	}
	re, err = FullRegex(t.expr.String())
	return re, template[:strings.IndexAny(template+"*", "*{")], err
}

type templateParser struct {
	expr  strings.Builder
	names map[string]bool
	rest  bool // ** was met, after which no operator can follow
}

func (t *templateParser) segment(s string, last bool) error {
	if open := strings.IndexByte(s, '{'); open >= 0 {
		end := strings.IndexByte(s, '}')
		if err := t.literal(s[:open]); err != nil {
			return err
		}
		if err := t.variable(s[open+1 : end]); err != nil {
			return err
		}
		return t.literal(s[end+1:])
	}
	if s == "" {
		return errors.New("it has an empty segment")
	}
	text := strings.TrimLeft(s, "*")
	operator := s[:len(s)-len(text)]
	if operator != "" {
		if err := t.operator(operator); err != nil {
			return err
		}
		if text != "" && !last {
			return fmt.Errorf("text behind %s stands in the last segment only", operator)
		}
	}
	return t.literal(text)
}

func (t *templateParser) literal(s string) error {
	if !templateLiteral.MatchString(s) {
		return fmt.Errorf("%q is not the text of a segment", s)
	}
	t.expr.WriteString(regexp.QuoteMeta(s))
	return nil
}

func (t *templateParser) operator(s string) error {
	if t.rest {
		return errors.New("no * and no variable can follow **")
	}
	switch s {
	case "*":
		t.expr.WriteString(`[` + templateChars + `=]+`)
	case "**":
		t.expr.WriteString(`[/` + templateChars + `=]*`)
		t.rest = true
	default:
		return fmt.Errorf("%s is neither * nor **", s)
	}
	return nil
}

func (t *templateParser) variable(s string) error {
	name, pattern, given := strings.Cut(s, "=")
	switch {
	case !templateName.MatchString(name) || len(name) > maxTemplateName:
		return fmt.Errorf("%q is not the name of a variable: a letter, and up to %d letters, digits and _", name, maxTemplateName-1)
	case t.names[name]:
		return fmt.Errorf("the variable {%s} stands twice", name)
	case len(t.names) == maxTemplateVariables:
		return fmt.Errorf("it has more than %d variables", maxTemplateVariables)
	}
	t.names[name] = true
	t.expr.WriteString("(?P<" + name + ">")
	defer t.expr.WriteByte(')')
	if !given {
		return t.operator("*")
	}
	for i, segment := range strings.Split(pattern, "/") {
		if i > 0 {
			t.expr.WriteByte('/')
		}
		if err := t.segment(segment, false); err != nil {
			return err
		}
	}
	return nil
}

// splitTemplate cuts at the slashes that are not within a variable. Every segment
// has one variable at most.
func splitTemplate(s string) (segments []string, err error) {
	start, open := 0, false
	variables := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '{' && open:
			return nil, errors.New("a { stands within a variable")
		case c == '{':
			open = true
			if variables++; variables > 1 {
				return nil, errors.New("a segment has two variables")
			}
		case c == '}' && !open:
			return nil, errors.New("a } closes nothing")
		case c == '}':
			open = false
		case c == '/' && !open:
			segments = append(segments, s[start:i])
			start, variables = i+1, 0
		}
	}
	if open {
		return nil, errors.New("a { is not closed")
	}
	return append(segments, s[start:]), nil
}
