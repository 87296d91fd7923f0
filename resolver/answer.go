package resolver

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Answer is what a route answers itself instead of sending the call to a cluster: a
// direct response or a redirect. It is immutable.
type Answer struct {
	// Status is the HTTP status, 200 to 599.
	Status int
	// Body is the response's body; may be empty. It must not be changed.
	Body []byte
	// Redirect says that the answer has a Location, which only HTTP can follow.
	Redirect bool

	redirect redirect
	to       Destination
}

// Change is what policy changes of the answer, which is its headers.
func (a *Answer) Change() *Change { return a.to.Change }

// redirect is a compiled RedirectAction.
type redirect struct {
	scheme, host string
	port         string // ":8443"
	path         *pathRewrite
	toPath       string // path_redirect
	stripQuery   bool
}

// Location is where a redirect sends the request r.
func (a *Answer) Location(r *Request, protocol string) string {
	d := &a.redirect
	scheme := d.scheme
	if scheme == "" {
		scheme = r.Scheme
	}
	host := d.host
	if host == "" {
		host = d.hostOf(r, scheme)
	}
	path, query := r.Path, r.RawQuery
	switch {
	case d.toPath != "":
		path = d.toPath
		if strings.Contains(path, "?") { // whose query stands
			return scheme + "://" + host + d.port + path
		}
	case d.path != nil:
		of := a.to.Change.subject(r, protocol)
		path = d.path.rewrite(path, &of)
	}
	if query != "" {
		path += "?" + query
	}
	if d.stripQuery {
		path, _, _ = strings.Cut(path, "?")
	}
	return scheme + "://" + host + d.port + path
}

// hostOf is the host that the request named, without its port where the redirect has
// another, or where it was the default port of a scheme that is left.
func (d *redirect) hostOf(r *Request, scheme string) string {
	host, port := splitPort(r.Authority)
	if port == "" {
		return r.Authority
	}
	leaves := r.Scheme != scheme && (r.Scheme == "http" && port == "80" || r.Scheme == "https" && port == "443")
	if d.port == "" && !leaves {
		return r.Authority
	}
	return host
}

var redirectFields = fieldNames("https_redirect", "scheme_redirect", "host_redirect", "port_redirect", "path_redirect",
	"prefix_rewrite", "regex_rewrite", "path_rewrite", "response_code", "strip_query")

var redirectStatus = map[routev3.RedirectAction_RedirectResponseCode]int{
	routev3.RedirectAction_MOVED_PERMANENTLY:  301,
	routev3.RedirectAction_FOUND:              302,
	routev3.RedirectAction_SEE_OTHER:          303,
	routev3.RedirectAction_TEMPORARY_REDIRECT: 307,
	routev3.RedirectAction_PERMANENT_REDIRECT: 308,
}

// redirect compiles a RedirectAction.
func (p *path) redirect(m *routev3.RedirectAction, to *routePolicy) error {
	p.warnUnread(m, redirectFields)
	status, ok := redirectStatus[m.GetResponseCode()]
	if !ok {
		return p.to("response_code").errorf("unknown value %d", m.GetResponseCode())
	}
	d := redirect{
		scheme:     m.GetSchemeRedirect(),
		host:       m.GetHostRedirect(),
		toPath:     m.GetPathRedirect(),
		stripQuery: m.GetStripQuery(),
	}
	if m.GetHttpsRedirect() {
		d.scheme = "https"
	}
	if err := validHost(d.host); err != nil {
		return p.to("host_redirect").errorf("%w", err)
	}
	if strings.ContainsAny(d.toPath+d.scheme, "\r\n\x00") {
		return p.errorf("holds a line break")
	}
	if n := m.GetPortRedirect(); n > 65535 {
		return p.to("port_redirect").errorf("%d is not a port", n)
	} else if n > 0 {
		d.port = ":" + strconv.Itoa(int(n))
	}
	var err error
	if d.path, ok, err = p.pathRewrite(m, to.match); err != nil {
		return err
	}
	if !ok {
		to.refuse(p.to("path_rewrite"))
		return nil
	}
	to.answer = &Answer{Status: status, Redirect: true, redirect: d}
	return nil
}

var directResponseFields = fieldNames("status", "body")

// defaultMaxDirectResponse is Envoy's max_direct_response_body_size_bytes.
const defaultMaxDirectResponse = 4096

// directResponse compiles a DirectResponseAction. A body that is anywhere but in the
// resource would have a control plane read this machine's files.
func (p *path) directResponse(m *routev3.DirectResponseAction, to *routePolicy) error {
	if m.GetBodyFormat() != nil {
		to.refuse(p.to("body_format"))
		return nil
	}
	p.warnUnread(m, directResponseFields)
	if s := m.GetStatus(); s < 200 || s > 599 {
		return p.to("status").errorf("%d is not from 200 to 599", s)
	}
	answer := &Answer{Status: int(m.GetStatus())}
	switch s := m.GetBody().GetSpecifier().(type) {
	case nil:
	case *corev3.DataSource_InlineString:
		answer.Body = []byte(s.InlineString)
	case *corev3.DataSource_InlineBytes:
		answer.Body = s.InlineBytes
	default:
		to.refuse(p.to("body"))
		return nil
	}
	to.answer = answer
	return nil
}

// answerSizes bounds the bodies, as Envoy does.
func (p *path) answerSizes(rc *routev3.RouteConfiguration, v *routeConfig) error {
	most := defaultMaxDirectResponse
	if w := rc.GetMaxDirectResponseBodySizeBytes(); w != nil {
		most = int(w.GetValue())
	}
	for i, h := range v.hosts {
		for j, r := range h.routes {
			if r.answer != nil && len(r.answer.Body) > most {
				return p.at("virtual_hosts", i).at("routes", j).to("direct_response").to("body").
					errorf("is %d bytes long, more than max_direct_response_body_size_bytes, %d", len(r.answer.Body), most)
			}
		}
	}
	return nil
}
