package mesh

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
)

// change returns req as policy and filters have it sent: a copy, unless they change
// nothing.
func (x *exchange) change(req *http.Request) (*http.Request, error) {
	change := x.call.Change()
	changes := change.ChangesRequest(false)
	entered, rewritten := x.call.Entered()
	if !changes && !rewritten && (entered == nil || !entered.Header.Changed()) {
		return req, nil
	}
	r := *req
	h := filter.HTTPHeader(req.Header)
	if entered != nil {
		h = entered.Header.Copy()
	}
	var to resolver.Rewritten
	if rewritten {
		to.Path, to.Host = entered.Path, entered.Authority
		u := *req.URL
		u.RawQuery = entered.RawQuery
		r.URL = &u
	}
	if changes {
		by := change.Request(&x.call.Request, &h, protocolOf(req))
		to.Host, to.Path = cmp.Or(by.Host, to.Host), cmp.Or(by.Path, to.Path)
	}
	if r.Header = h.Map(); r.Header == nil {
		r.Header = http.Header{}
	}
	if to.Host != "" {
		r.Host = to.Host
	}
	if to.Path != "" {
		u, err := withPath(r.URL, to.Path)
		if err != nil {
			return nil, x.call.Refused(fmt.Errorf("%w: policy rewrites %s to a bad path: %w", resolver.ErrUnsupported, x.call.Request.Path, err))
		}
		r.URL = u
	}
	if x.call.HasHash() {
		x.call.Sends(x.sent(&r))
	}
	return &r, nil
}

// sent is a request as it is sent, for policy to look at.
func (x *exchange) sent(req *http.Request) *resolver.Request {
	r := x.call.Request
	if req.Host != "" {
		r.Authority = req.Host
	}
	r.Path, r.RawQuery, r.Headers = req.URL.EscapedPath(), req.URL.RawQuery, headers(req.Header)
	return &r
}

// rehost has a request name the endpoint that it goes to as its host, if policy asks
// for that. The request is a copy already.
func (x *exchange) rehost(req *http.Request, e *balancer.Endpoint) *http.Request {
	change := x.call.Change()
	if !change.AutoHost(false) || e.Hostname() == "" {
		return req
	}
	r := *req // an attempt before may still have the other
	r.Host = e.Hostname()
	h := filter.HTTPHeader(req.Header)
	change.Rehosted(&x.call.Request, &h)
	r.Header = h.Map()
	return &r
}

// withPath returns u with another path, in the form that goes on the wire. A query in
// it comes before u's own.
func withPath(u *url.URL, path string) (*url.URL, error) {
	to := *u
	path, query, found := strings.Cut(path, "?")
	if found {
		if u.RawQuery != "" {
			query += "?" + u.RawQuery
		}
		to.RawQuery, to.ForceQuery = query, true
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q does not begin with a slash", path)
	}
	to.Opaque, to.Path, to.RawPath = "", plain, path
	return &to, nil
}

// answer is the response of a route that answers itself.
func (x *exchange) answer(req *http.Request, a *resolver.Answer) (*http.Response, error) {
	resp := newResponse(req, a.Status, string(a.Body))
	if a.Redirect {
		resp.Header.Set("Location", a.Location(&x.call.Request, protocolOf(req)))
	}
	changeResponse(a.Change(), &x.call.Request, protocolOf(req), resp)
	if err := x.filterResponse(req, resp); err != nil {
		return x.refused(req, err)
	}
	x.conclude(req, resp)
	return resp, nil
}

// newResponse is a response that is no backend's.
func newResponse(req *http.Request, status int, body string) *http.Response {
	closeBody(req)
	resp := &http.Response{
		Status:     strconv.Itoa(status) + " " + http.StatusText(status),
		StatusCode: status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{},
		Body:    http.NoBody,
		Request: req,
	}
	if body != "" {
		resp.Header.Set("Content-Type", "text/plain")
		resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
		resp.ContentLength = int64(len(body))
		if req.Method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified {
			resp.Body = io.NopCloser(strings.NewReader(body))
		}
	}
	return resp
}

// changeResponse changes the headers of a response, which is new, to the request as it
// was sent; or, of one that is no backend's, as the filters left it.
func changeResponse(c *resolver.Change, r *resolver.Request, protocol string, resp *http.Response) {
	if c.ChangesResponse() {
		h := filter.OwnHTTPHeader(resp.Header)
		c.Response(r, &h, protocol, resp.StatusCode)
	}
}

// protocolOf is what policy may call the protocol of the application's request.
func protocolOf(req *http.Request) string {
	if req.Proto == "" {
		return "HTTP/1.1"
	}
	return req.Proto
}
