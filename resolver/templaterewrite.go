package resolver

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
)

// templateRewrite makes a path of what the variables of a route's path template matched
// (envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig).
type templateRewrite struct {
	match *regexp.Regexp
	parts []templatePart
}

// templatePart is text, or a group of the match.
type templatePart struct {
	text  string
	group int // 0 for text
}

// expand returns the new path; the same if the template does not match.
func (w *templateRewrite) expand(path string) string {
	groups := w.match.FindStringSubmatch(path)
	if groups == nil {
		return path
	}
	var b strings.Builder
	for _, part := range w.parts {
		b.WriteString(part.text)
		if part.group > 0 {
			b.WriteString(groups[part.group])
		}
	}
	return b.String()
}

// templateRewrite compiles the rewrite of calls that match m. ok is false if it is of a
// kind that is not known.
func (p *path) templateRewrite(e *corev3.TypedExtensionConfig, m *routeMatch) (w *templateRewrite, ok bool, err error) {
	var config rewritev3.UriTemplateRewriteConfig
	if !e.GetTypedConfig().MessageIs(&config) {
		return nil, false, nil
	}
	q := p.to("typed_config")
	if err := e.GetTypedConfig().UnmarshalTo(&config); err != nil {
		return nil, false, q.errorf("%w", err)
	}
	q = q.to("path_template_rewrite")
	rest := config.GetPathTemplateRewrite()
	switch {
	case !m.template:
		return nil, false, q.errorf("needs a route that matches by path_match_policy")
	case !strings.HasPrefix(rest, "/"):
		return nil, false, q.errorf("must begin with a slash")
	case strings.ContainsAny(rest, "*?# \t\r\n\x00"):
		return nil, false, q.errorf("%q holds what does not belong in a path", rest)
	}
	w = &templateRewrite{match: m.regex}
	for rest != "" {
		text, after, found := strings.Cut(rest, "{")
		name, next, closed := strings.Cut(after, "}")
		if strings.Contains(text, "}") || found && !closed {
			return nil, false, q.errorf("a brace has no other")
		}
		part := templatePart{text: text}
		if found {
			if part.group = m.regex.SubexpIndex(name); part.group < 0 {
				return nil, false, q.errorf("the route's path template has no variable {%s}", name)
			}
		}
		w.parts = append(w.parts, part)
		rest = next
	}
	return w, true, nil
}
