package policy

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weft-mesh/weft/internal/match"
)

func (v *validator) routes(p path, host string, routes []*Route) {
	if _, ok := inbound(host); ok {
		v.inboundName(p, host)
	} else {
		v.name(p, "route list", host)
	}
	if len(routes) == 0 {
		v.missingf(p, "the routes of %q are empty: every call would fail", host)
	}
	for i, r := range routes {
		v.route(p.index(i), host, r)
	}
}

func (v *validator) route(p path, host string, r *Route) {
	if _, ok := inbound(host); ok {
		v.inboundRoute(p, host, r)
		return
	}
	if r.Match != nil {
		v.match(p.field("match"), r.Match)
	}
	v.action(p, host, r)
	v.headers(p.field("headers"), r.Headers)
	v.filterOverrides(p.field("filters"), host, r.Filters)
	if r.Session != nil {
		v.session(p.field("session"), r.Session, true)
	}
	v.fault(p.field("fault"), host, r.Fault, true)
	v.rateLimit(p.field("rateLimit"), r.RateLimit, true)
	for i, h := range r.Hash {
		v.hash(p.field("hash").index(i), h)
	}
	v.notNegative(p.field("timeout"), r.Timeout)
	v.notNegative(p.field("maxStreamDuration"), r.MaxStreamDuration)
	v.notNegative(p.field("idleTimeout"), r.IdleTimeout)
	v.retry(p, r)
}

// to checks that every destination means one thing, and no two the same.
func (v *validator) to(p path, host string, to Destinations) {
	if len(to) == 0 {
		v.missingf(p, "the route goes nowhere: name a service or a subset")
		return
	}
	if len(to) > 1 || !v.singleText(p, to) {
		v.weights(p, to)
	}
	first := make(map[string]string) // cluster to name
	for _, name := range sortedKeys(to) {
		at := p.field(name)
		found, ok := v.destination(at, host, name)
		switch {
		case !ok:
		case first[found.cluster] != "":
			v.nameErrorf(at, "%q and %q are both %s: add their weights", first[found.cluster], name, found.words)
		default:
			first[found.cluster] = name
		}
	}
}

// destination checks that a name in the routes of host means one thing, and returns it.
func (v *validator) destination(p path, host, name string) (found destination, ok bool) {
	all := v.scope.destinations(host, name)
	switch len(all) {
	case 0:
		v.undefined(p, host, name)
		return destination{}, false
	case 1:
		return all[0], true
	default:
		v.nameErrorf(p, "%q means %s and %s: write subset %q in full, or rename one", name, all[0].words, all[1].words, host+"/"+name)
		return destination{}, false
	}
}

// singleText reports whether to was written as plain text, without weights.
func (v *validator) singleText(p path, to Destinations) bool {
	for name := range to {
		if _, ok := v.policy.positions[p.field(name)]; ok {
			return false
		}
	}
	return v.policy.positions != nil
}

// undefined reports a destination that means nothing.
func (v *validator) undefined(p path, host, name string) {
	var err *Error
	of, subset, slash := strings.Cut(name, "/")
	switch {
	case slash && v.policy.Services[of] != nil:
		err = v.nameErrorf(p, "service %q has no subset %q", of, subset)
	case !slash && v.policy.Services[host] != nil:
		err = v.nameErrorf(p, "%q is not defined: it is neither a subset of %q nor a service", name, host)
	default:
		err = v.nameErrorf(p, "service %q is not defined", of)
	}
	err.Suggestion = nearest(name, v.scope.names(host))
}

func (v *validator) match(p path, m *Match) {
	if m.Path != nil {
		v.path(p.field("path"), m.Path)
	}
	lower := make(map[string]string)
	for _, name := range sortedKeys(m.Headers) {
		at := p.field("headers").field(name)
		v.header(at, name, m.Headers[name])
		if other, ok := lower[strings.ToLower(name)]; ok {
			v.nameErrorf(at, "the header %q is given already, as %q: the case of names does not count", name, other)
		}
		lower[strings.ToLower(name)] = name
	}
	for _, name := range sortedKeys(m.Query) {
		at, q := p.field("query").field(name), m.Query[name]
		if name == "" {
			v.nameErrorf(at, "the name of a query parameter is empty")
		}
		v.value(at, valueMatch{q.Exact, q.Prefix, q.Suffix, q.Contains, q.Regex, q.Present, nil, q.IgnoreCase},
			"exact, prefix, suffix, contains, regex and present")
	}
	if m.Method != "" {
		switch {
		case !httpToken.MatchString(m.Method):
			v.errorf(p.field("method"), "%q is not an HTTP method", shorten(m.Method))
		case strings.ToUpper(m.Method) != m.Method:
			v.errorf(p.field("method"), "%q is not an HTTP method: methods are upper case", shorten(m.Method)).Suggestion = strings.ToUpper(m.Method)
		}
	}
	if m.Fraction != nil && *m.Fraction > 1_000_000 {
		v.errorf(p.field("fraction"), "the fraction %s is more than 100%%", *m.Fraction)
	}
}

func (v *validator) path(p path, m *PathMatch) {
	var given []string
	for _, one := range []struct {
		name  string
		value *string
	}{{"prefix", m.Prefix}, {"exact", m.Exact}, {"separatedPrefix", m.SeparatedPrefix}, {"regex", m.Regex}, {"template", m.Template}} {
		if one.value == nil {
			continue
		}
		given = append(given, one.name)
		at := p.field(one.name)
		switch {
		case one.name == "regex":
			v.regex(at, *one.value)
		case !strings.HasPrefix(*one.value, "/"):
			v.errorf(at, "the path %q does not start with a slash", shorten(*one.value))
		case one.name == "template":
			if _, _, err := match.Template(*one.value); err != nil {
				v.errorf(at, "bad template %q: %v", shorten(*one.value), err)
			}
		case strings.ContainsAny(*one.value, "?#"):
			v.errorf(at, "the path %q holds a query: match that with query", shorten(*one.value))
		case one.name == "separatedPrefix" && strings.HasSuffix(*one.value, "/"):
			v.errorf(at, "the separatedPrefix %q ends with a slash: leave the slash out, or use prefix", shorten(*one.value))
		}
	}
	v.exactlyOne(p, given, "prefix, exact, regex, separatedPrefix and template")
	if m.IgnoreCase && (m.Regex != nil || m.Template != nil) {
		v.nameErrorf(p.field("ignoreCase"), `"ignoreCase" is not for regex, where (?i) says it, nor for template`)
	}
}

// httpToken is the syntax of methods and header names (RFC 9110, section 5.6.2).
var httpToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// pseudoHeaders are what HTTP/2 carries beside the headers, and Envoy matches like them.
var pseudoHeaders = []string{":authority", ":method", ":path", ":scheme"}

func (v *validator) header(p path, name string, h *HeaderMatch) {
	if !httpToken.MatchString(name) && !slices.Contains(pseudoHeaders, name) {
		v.nameErrorf(p, "%q is not the name of a header", shorten(name))
	}
	v.value(p, valueMatch{h.Exact, h.Prefix, h.Suffix, h.Contains, h.Regex, h.Present, h.Range, h.IgnoreCase},
		"exact, prefix, suffix, contains, regex, present and range")
	if r := h.Range; r != nil && r.Start >= r.End && !v.incomplete[p.field("range")] {
		v.errorf(p.field("range"), "the range from %d up to, but not with, %d is empty", r.Start, r.End)
	}
}

// valueMatch is what the matches of headers and query parameters have in common.
type valueMatch struct {
	exact, prefix, suffix, contains, regex *string

	present    *bool
	rng        *Range
	ignoreCase bool
}

func (v *validator) value(p path, m valueMatch, all string) {
	var given []string
	for _, one := range []struct {
		name  string
		value *string
	}{{"exact", m.exact}, {"prefix", m.prefix}, {"suffix", m.suffix}, {"contains", m.contains}, {"regex", m.regex}} {
		if one.value == nil {
			continue
		}
		given = append(given, one.name)
		switch {
		case one.name == "regex":
			v.regex(p.field(one.name), *one.value)
		case *one.value == "" && one.name != "exact":
			v.errorf(p.field(one.name), "an empty %s matches every value: say {present: true}", one.name)
		}
	}
	caseless := len(given) > 0 && m.regex == nil
	if m.present != nil {
		given = append(given, "present")
	}
	if m.rng != nil {
		given = append(given, "range")
	}
	v.exactlyOne(p, given, all)
	if m.ignoreCase && !caseless {
		v.nameErrorf(p.field("ignoreCase"), `"ignoreCase" is for exact, prefix, suffix and contains only`)
	}
}

func (v *validator) notNegative(p path, d *time.Duration) {
	if d != nil && *d < 0 {
		v.errorf(p, "%s: it must not be negative", *d)
	}
}
