package resolver

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/weft-mesh/weft/internal/match"
)

// The characters of a path segment that a URI template knows: unreserved, percent,
// sub-delims without the asterisk, and ":@" (RFC 3986, as Envoy reads it).
const (
	templateChars   = `a-zA-Z0-9\-._~%!$&'()+,;:@=`
	templateGlob    = `[` + templateChars + `]+`  // *
	templateGlobAll = `[/` + templateChars + `]*` // **
	maxTemplateVars = 5                           // Envoy's bound
	maxTemplateName = 16                          // Envoy's bound
	maxTemplateSize = 8 << 10                     // bytes
)

var (
	templateLiteral = regexp.MustCompile(`\A[/` + templateChars + `]+\z`)
	templateVar     = regexp.MustCompile(`\A[a-zA-Z][a-zA-Z0-9_]*\z`)
)

// compileTemplate compiles a path template
// (envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig): "*" is one
// segment or the rest of one, "**" any number of segments, "{name}" a segment and
// "{name=pattern}" what the pattern matches. literal is what every path that
// matches starts with.
func compileTemplate(template string) (re *regexp.Regexp, literal string, err error) {
	if !strings.HasPrefix(template, "/") {
		return nil, "", fmt.Errorf("template %q does not start with /", template)
	}
	if len(template) > maxTemplateSize {
		return nil, "", fmt.Errorf("template is %d bytes long, more than %d", len(template), maxTemplateSize)
	}
	c := templateCompiler{vars: make(map[string]bool)}
	if err := c.compile(template, false); err != nil {
		return nil, "", fmt.Errorf("template %q: %w", template, err)
	}
	re, err = match.FullRegex(c.expr.String())
	if err != nil {
		return nil, "", fmt.Errorf("template %q: %w", template, err)
	}
	return re, template[:strings.IndexAny(template+"*", "*{")], nil
}

type templateCompiler struct {
	expr    strings.Builder
	vars    map[string]bool
	globAll bool // "**" was met
}

func (c *templateCompiler) compile(rest string, inVar bool) error {
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "**"):
			if err := c.add("**", templateGlobAll); err != nil {
				return err
			}
			c.globAll = true
			rest = rest[2:]
		case rest[0] == '*':
			if err := c.add("*", templateGlob); err != nil {
				return err
			}
			rest = rest[1:]
		case rest[0] == '{':
			if inVar {
				return errors.New("a variable within a variable")
			}
			end := strings.IndexByte(rest, '}')
			if end < 0 {
				return errors.New("unclosed {")
			}
			if err := c.variable(rest[1:end]); err != nil {
				return err
			}
			rest = rest[end+1:]
		default:
			end := strings.IndexAny(rest+"*", "*{")
			if !templateLiteral.MatchString(rest[:end]) {
				return fmt.Errorf("%q has a character that a path cannot have", rest[:end])
			}
			c.expr.WriteString(regexp.QuoteMeta(rest[:end]))
			rest = rest[end:]
		}
	}
	return nil
}

// add adds an operator.
func (c *templateCompiler) add(name, expr string) error {
	if c.globAll {
		return fmt.Errorf("%s after **, which must be the last", name)
	}
	c.expr.WriteString(expr)
	return nil
}

func (c *templateCompiler) variable(def string) error {
	name, pattern, ok := strings.Cut(def, "=")
	switch {
	case !templateVar.MatchString(name):
		return fmt.Errorf("%q is not a variable's name", name)
	case len(name) > maxTemplateName:
		return fmt.Errorf("variable name %q is longer than %d", name, maxTemplateName)
	case c.vars[name]:
		return fmt.Errorf("variable %q stands twice", name)
	case len(c.vars) == maxTemplateVars:
		return fmt.Errorf("more than %d variables", maxTemplateVars)
	case ok && pattern == "":
		return fmt.Errorf("variable %q has an empty pattern", name)
	}
	c.vars[name] = true
	if !ok {
		return c.add("{"+name+"}", templateGlob)
	}
	return c.compile(pattern, true)
}
