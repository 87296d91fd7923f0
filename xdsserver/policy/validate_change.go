package policy

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/weft-mesh/weft/internal/format"
)

// action checks that the route does one thing with its calls.
func (v *validator) action(p path, host string, r *Route) {
	var given []string
	for _, one := range []struct {
		name string
		is   bool
	}{{"to", r.To != nil}, {"toHeader", r.ToHeader != ""}, {"redirect", r.Redirect != nil}, {"respond", r.Respond != nil}} {
		if one.is {
			given = append(given, one.name)
		}
	}
	if v.exactlyOne(p, given, "to, toHeader, redirect and respond"); len(given) != 1 {
		return
	}
	switch given[0] {
	case "to":
		v.to(p.field("to"), host, r.To)
	case "toHeader":
		if !httpToken.MatchString(r.ToHeader) {
			v.errorf(p.field("toHeader"), "%q is not the name of a header", shorten(r.ToHeader))
		}
	case "redirect":
		v.redirect(p.field("redirect"), r.Redirect)
	case "respond":
		v.respond(p.field("respond"), r.Respond)
	}
	if r.To != nil || r.ToHeader != "" {
		if r.Rewrite != nil {
			v.rewrite(p.field("rewrite"), r.Rewrite)
			v.rewriteTemplate(p.field("rewrite").field("template"), r)
		}
		for i, m := range r.Mirror {
			v.mirror(p.field("mirror").index(i), host, m)
		}
		return
	}
	for _, one := range []struct {
		name string
		is   bool
	}{{"rewrite", r.Rewrite != nil}, {"mirror", r.Mirror != nil}, {"timeout", r.Timeout != nil}, {"maxStreamDuration", r.MaxStreamDuration != nil}, {"idleTimeout", r.IdleTimeout != nil},
		{"retry", r.Retry != nil}, {"hedge", r.Hedge != nil}} {
		if one.is {
			v.nameErrorf(p.field(one.name), "%q is for routes that send calls somewhere: a route with %q does not", one.name, given[0])
		}
	}
}

func (v *validator) rewrite(p path, r *Rewrite) {
	if r.Prefix != "" && r.Regex != nil {
		v.nameErrorf(p.field("regex"), `"regex" cannot stand beside "prefix": both change the path`)
	}
	if r.Host != "" && r.EndpointHost {
		v.nameErrorf(p.field("endpointHost"), `"endpointHost" cannot stand beside "host": both change the host`)
	}
	if r.Prefix == "" && r.Regex == nil && r.Template == "" && r.Host == "" && !r.EndpointHost {
		v.missingf(p, "the rewrite is empty: say prefix, regex, template, host or endpointHost")
	}
	v.newPath(p.field("prefix"), r.Prefix)
	v.regexRewrite(p.field("regex"), r.Regex)
	v.newHost(p.field("host"), r.Host)
}

func (v *validator) redirect(p path, r *Redirect) {
	var given []string
	if r.Path != "" {
		given = append(given, "path")
	}
	if r.Prefix != "" {
		given = append(given, "prefix")
	}
	if r.Regex != nil {
		given = append(given, "regex")
	}
	if len(given) > 1 {
		v.exactlyOne(p, given, "path, prefix and regex")
	}
	if len(given) == 0 && r.Scheme == "" && r.Host == "" && r.Port == 0 && !r.StripQuery {
		v.missingf(p, "the redirect is to the request's own URL: say scheme, host, port, path, prefix, regex or stripQuery")
	}
	v.newPath(p.field("path"), r.Path)
	v.newPath(p.field("prefix"), r.Prefix)
	v.regexRewrite(p.field("regex"), r.Regex)
	v.newHost(p.field("host"), r.Host)
	if r.Port > 65535 {
		v.errorf(p.field("port"), "%d is not a port", r.Port)
	}
	if _, ok := redirectCodes[r.Status]; !ok {
		v.errorf(p.field("status"), "%d is not one of 301, 302, 303, 307, 308", r.Status)
	}
}

// maxBody is the most that Envoy sends unless told otherwise, in bytes.
const maxBody = 4096

func (v *validator) respond(p path, r *Respond) {
	if r.Status < 200 || r.Status > 599 {
		v.errorf(p.field("status"), "%d is not from 200 to 599", r.Status)
	}
	if len(r.Body) > maxBody {
		v.errorf(p.field("body"), "the body is %d bytes long, more than %d", len(r.Body), maxBody)
	}
}

// newPath checks a path, or the beginning of one, that may be empty.
func (v *validator) newPath(p path, s string) {
	switch _, err := url.PathUnescape(s); {
	case s == "":
	case !strings.HasPrefix(s, "/"):
		v.errorf(p, "the path %q does not start with a slash", shorten(s))
	case err != nil || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '#' || r == 0x7f }):
		v.errorf(p, "the path %q holds what does not belong in a path", shorten(s))
	}
}

// newHost checks a host that may be empty; one that is not ASCII is named by its punycode.
func (v *validator) newHost(p path, s string) {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/?#", r) }) {
		v.errorf(p, "%q is not a host", shorten(s))
	}
}

var backslash = regexp.MustCompile(`\\(.?)`)

func (v *validator) regexRewrite(p path, r *RegexRewrite) {
	if r == nil {
		return
	}
	at := p.field("pattern")
	if r.Pattern == "" {
		v.errorf(at, "the pattern is empty")
		return
	}
	v.regex(at, r.Pattern)
	re, err := regexp.Compile(r.Pattern)
	if err != nil {
		return
	}
	at = p.field("substitution")
	if strings.ContainsAny(r.Substitution, "\r\n\x00") {
		v.errorf(at, "the substitution holds a line break")
	}
	for _, m := range backslash.FindAllStringSubmatch(r.Substitution, -1) {
		switch c := m[1]; {
		case c == `\`:
		case c == "" || c[0] < '0' || c[0] > '9':
			v.errorf(at, `a backslash stands before a digit, for a group, or before another backslash`)
		case int(c[0]-'0') > re.NumSubexp():
			v.errorf(at, `\%s: the pattern has %d groups`, c, re.NumSubexp())
		}
	}
}

func (v *validator) headers(p path, h *Headers) {
	if h == nil {
		return
	}
	v.headerChanges(p.field("request"), h.Request, requestCommands)
	v.headerChanges(p.field("response"), h.Response, append(requestCommands[:len(requestCommands):len(requestCommands)],
		"RESP", "RESPONSE_HEADER", "RESPONSE_CODE"))
}

// requestCommands are what a value may ask about.
var requestCommands = []string{"REQ", "REQUEST_HEADER", "PROTOCOL", "ROUTE_NAME", "UPSTREAM_CLUSTER"}

func (v *validator) headerChanges(p path, c *HeaderChanges, commands []string) {
	if c == nil {
		return
	}
	for i, name := range c.Remove {
		if !changeableHeader(name) {
			v.errorf(p.field("remove").index(i), "%q is not a header that can be changed", shorten(name))
		}
	}
	for _, one := range []struct {
		name   string
		values map[string]string
	}{{"add", c.Add}, {"set", c.Set}, {"append", c.Append}} {
		for _, name := range sortedKeys(one.values) {
			at := p.field(one.name).field(name)
			if !changeableHeader(name) {
				v.nameErrorf(at, "%q is not a header that can be changed", shorten(name))
			}
			v.headerValue(at, one.values[name], commands)
		}
	}
}

// changeableHeader reports whether name is a header's and not the host's.
func changeableHeader(name string) bool {
	return httpToken.MatchString(name) && !strings.EqualFold(name, "host")
}

// maxHeaderValue is what Envoy's rules allow, in bytes.
const maxHeaderValue = 16384

func (v *validator) headerValue(p path, value string, commands []string) {
	switch {
	case value == "":
		v.errorf(p, "the value is empty: that changes nothing")
	case len(value) > maxHeaderValue:
		v.errorf(p, "the value is %d bytes long, more than %d", len(value), maxHeaderValue)
	case strings.ContainsAny(value, "\r\n\x00"):
		v.errorf(p, "the value holds a line break")
	}
	parts, err := format.Parse(value)
	if err != nil {
		v.errorf(p, "%v", err)
		return
	}
	for _, part := range parts {
		if part.Command == "" {
			continue
		}
		known := false
		for _, c := range commands {
			known = known || c == part.Command
		}
		switch needsArg := strings.HasPrefix(part.Command, "REQ") || part.Command == "RESP" || part.Command == "RESPONSE_HEADER"; {
		case !known:
			v.errorf(p, "%s is not known here: want one of %s", part, strings.Join(commands, ", "))
		case needsArg != (part.Arg != ""):
			v.errorf(p, "%s is incomplete, or too much: only headers have their name in parentheses", part)
		}
	}
}
