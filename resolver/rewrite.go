package resolver

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// pathRewrite changes the path of a call (the rewrites of
// envoy.config.route.v3.RouteAction and RedirectAction). Nil leaves it.
type pathRewrite struct {
	// prefix takes the place of the first matched bytes of the path; of all of it
	// where matched is negative.
	prefix  string
	matched int

	regex    *regexRewrite
	template *templateRewrite
	whole    *substitution
}

// rewrite returns the new path, which may hold a query.
func (w *pathRewrite) rewrite(path string, of *subject) string {
	switch {
	case w.regex != nil:
		return w.regex.replace(path)
	case w.template != nil:
		return w.template.expand(path)
	case w.whole != nil:
		if v := w.whole.value(of); v != "" {
			return v
		}
		return path
	case w.matched < 0 || w.matched > len(path):
		return w.prefix
	default:
		return w.prefix + path[w.matched:]
	}
}

// pathRewriter is a message with the rewrites that both actions have.
type pathRewriter interface {
	GetPrefixRewrite() string
	GetRegexRewrite() *matcherv3.RegexMatchAndSubstitute
	GetPathRewrite() string
}

// pathRewrite compiles the rewrite of calls that match m. It is nil if there is none,
// and ok is false if there is one that cannot be done.
func (p *path) pathRewrite(a pathRewriter, m *routeMatch) (w *pathRewrite, ok bool, err error) {
	given := 0
	if a.GetPrefixRewrite() != "" {
		given++
		w = &pathRewrite{prefix: a.GetPrefixRewrite(), matched: m.matched()}
	}
	if a.GetRegexRewrite() != nil {
		given++
		regex, err := p.to("regex_rewrite").regexRewrite(a.GetRegexRewrite())
		if err != nil {
			return nil, false, err
		}
		w = &pathRewrite{regex: regex}
	}
	if a.GetPathRewrite() != "" {
		given++
		whole, ok, err := p.to("path_rewrite").substitution(a.GetPathRewrite(), false)
		if err != nil || !ok {
			return nil, false, err
		}
		w = &pathRewrite{whole: whole}
	}
	if given > 1 {
		return nil, false, p.errorf("only one of prefix_rewrite, regex_rewrite and path_rewrite may be set")
	}
	return w, true, nil
}

// matched is how many bytes of a path a prefix rewrite replaces: those that matched
// literally, or -1 for the whole path, when it was matched otherwise.
func (m *routeMatch) matched() int {
	if m.regex != nil || m.connect {
		return -1
	}
	return len(m.literal)
}

// regexRewrite replaces each match of a regular expression
// (envoy.type.matcher.v3.RegexMatchAndSubstitute).
type regexRewrite struct {
	pattern      *regexp.Regexp
	substitution string // in the syntax of regexp.Expand
}

func (w *regexRewrite) replace(s string) string { return w.pattern.ReplaceAllString(s, w.substitution) }

func (p *path) regexRewrite(r *matcherv3.RegexMatchAndSubstitute) (*regexRewrite, error) {
	q := p.to("pattern")
	if err := q.regexSize(r.GetPattern().GetRegex()); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(r.GetPattern().GetRegex())
	if err != nil {
		return nil, q.to("regex").errorf("%w", err)
	}
	var b strings.Builder
	for s := r.GetSubstitution(); s != ""; s = s[1:] {
		switch {
		case s[0] == '$':
			b.WriteString("$$")
		case s[0] != '\\':
			b.WriteByte(s[0])
		case len(s) > 1 && s[1] == '\\':
			b.WriteByte('\\')
			s = s[1:]
		case len(s) > 1 && s[1] >= '0' && s[1] <= '9':
			if n := int(s[1] - '0'); n > re.NumSubexp() {
				return nil, p.to("substitution").errorf(`\%d: the pattern has %d groups`, n, re.NumSubexp())
			}
			b.WriteString("${" + s[1:2] + "}")
			s = s[1:]
		default:
			return nil, p.to("substitution").errorf(`a backslash stands before a digit or another backslash`)
		}
	}
	return &regexRewrite{re, b.String()}, nil
}

// hostRewrite changes the host that a call names to the backend, which is HTTP's Host
// and gRPC's :authority. Nil leaves it.
type hostRewrite struct {
	auto    bool // the endpoint's own name
	literal string
	header  *headerRef
	path    *regexRewrite
	whole   *substitution

	// grpc says that it is for gRPC calls too: literal and auto are, where the control
	// plane is trusted (gRFCs A81 and A111).
	grpc bool
	// forwarded asks for x-forwarded-host.
	forwarded bool
}

// changes reports whether it changes anything of calls of the protocol.
func (w *hostRewrite) changes(grpc bool) bool { return w != nil && (!grpc || w.grpc) }

// rewrite returns the new host, or nothing if it stays or is the endpoint's.
func (w *hostRewrite) rewrite(of *subject) string {
	switch {
	case w.header != nil:
		v, _ := w.header.first(of.request)
		return v
	case w.path != nil:
		return w.path.replace(of.request.Path)
	case w.whole != nil:
		return w.whole.value(of)
	default:
		return w.literal
	}
}

// hostRewrite compiles the action's rewrite. ok is false if there is one that cannot
// be done.
func (p *path) hostRewrite(a *routev3.RouteAction) (w *hostRewrite, ok bool, err error) {
	trusted := p.decoder.config.Trusted
	switch s := a.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		if s.HostRewriteLiteral == "" {
			return nil, true, nil
		}
		w = &hostRewrite{literal: s.HostRewriteLiteral, grpc: trusted}
		if err = validHost(w.literal); err != nil {
			return nil, false, p.to("host_rewrite_literal").errorf("%w", err)
		}
	case *routev3.RouteAction_AutoHostRewrite:
		if !s.AutoHostRewrite.GetValue() {
			return nil, true, nil
		}
		w = &hostRewrite{auto: true, grpc: trusted}
	case *routev3.RouteAction_HostRewriteHeader:
		ref := newHeaderRef(s.HostRewriteHeader)
		w = &hostRewrite{header: &ref}
	case *routev3.RouteAction_HostRewritePathRegex:
		w = &hostRewrite{}
		w.path, err = p.to("host_rewrite_path_regex").regexRewrite(s.HostRewritePathRegex)
	case *routev3.RouteAction_HostRewrite:
		w = &hostRewrite{}
		w.whole, ok, err = p.to("host_rewrite").substitution(s.HostRewrite, false)
		if err != nil || !ok {
			return nil, false, err
		}
		w.whole.missing = "-"
	case nil:
		return nil, true, nil
	default:
		return nil, false, nil
	}
	w.forwarded = a.GetAppendXForwardedHost()
	return w, err == nil, err
}

// validHost refuses what would break out of a header or a URL.
func validHost(host string) error {
	if strings.ContainsAny(host, " \t\r\n\x00/?#") {
		return fmt.Errorf("%s is not a host", strconv.Quote(host))
	}
	return nil
}

// rewrites reads how the action changes path and host.
func (p *path) rewrites(a *routev3.RouteAction, to *routePolicy) error {
	var ok bool
	var err error
	if to.path, ok, err = p.pathRewrite(a, to.match); err != nil {
		return err
	}
	if !ok {
		to.refuse(p.to("path_rewrite"))
	}
	if e := a.GetPathRewritePolicy(); e != nil {
		template, ok, err := p.to("path_rewrite_policy").templateRewrite(e, to.match)
		switch {
		case err != nil:
			return err
		case to.path != nil:
			return p.to("path_rewrite_policy").errorf("must not stand beside another rewrite of the path")
		case !ok:
			to.refuse(p.to("path_rewrite_policy"))
		}
		to.path = &pathRewrite{template: template}
	}
	if to.host, ok, err = p.hostRewrite(a); err != nil {
		return err
	}
	if !ok {
		to.refuseHTTP(p.to("host_rewrite")) // of which a gRPC client knows nothing
	}
	return nil
}

// clusterHost reads the host that calls to one of the weighted clusters name.
func (p *path) clusterHost(c *routev3.WeightedCluster_ClusterWeight) (*hostRewrite, error) {
	host := c.GetHostRewriteLiteral()
	if host == "" {
		return nil, nil
	}
	if err := validHost(host); err != nil {
		return nil, p.to("host_rewrite_literal").errorf("%w", err)
	}
	return &hostRewrite{literal: host, grpc: p.decoder.config.Trusted}, nil
}
