package policy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"

	"github.com/weft-mesh/weft/internal/match"
)

// rewriteTemplate checks a path that is made of the variables of the route's match.
func (v *validator) rewriteTemplate(p path, r *Route) {
	to := r.Rewrite.Template
	if to == "" {
		return
	}
	if r.Rewrite.Prefix != "" || r.Rewrite.Regex != nil {
		v.nameErrorf(p, `"template" cannot stand beside "prefix" or "regex": all change the path`)
	}
	if r.Match == nil || r.Match.Path == nil || r.Match.Path.Template == nil {
		v.errorf(p, "the template has no variables: the route's match is not by a template")
		return
	}
	if v.newPath(p, to); strings.ContainsAny(to, "*?") {
		v.errorf(p, "the template %q holds what does not belong in a path", shorten(to))
	}
	variables, _, err := match.Template(*r.Match.Path.Template)
	if err != nil {
		return // which is said of the match
	}
	for rest := to; rest != ""; {
		text, after, found := strings.Cut(rest, "{")
		name, next, closed := strings.Cut(after, "}")
		switch {
		case strings.Contains(text, "}") || found && !closed:
			v.errorf(p, "a brace of the template %q has no other", shorten(to))
			return
		case found && (name == "" || variables.SubexpIndex(name) < 0):
			v.errorf(p, "the template has {%s}, which the route's match does not", shorten(name))
			return
		}
		rest = next
	}
}

func rewriteTemplate(template string) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name:        "envoy.path.rewrite.uri_template.uri_template_rewriter",
		TypedConfig: pack(&rewritev3.UriTemplateRewriteConfig{PathTemplateRewrite: template}),
	}
}
