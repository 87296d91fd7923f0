package mesh

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

// Set, Add and Del make a header that is not the caller's one that policy can change.
// Add leaves the slice that it found alone, which may be the caller's.

func (h headers) Set(n *resolver.HeaderName, value string) { h[n.Canonical] = []string{value} }

func (h headers) Add(n *resolver.HeaderName, value string) {
	h[n.Canonical] = append(slices.Clip(h[n.Canonical]), value)
}

func (h headers) Del(n *resolver.HeaderName) {
	delete(h, n.Canonical)
	if n.Canonical == "User-Agent" {
		h[n.Canonical] = nil // else http.Transport sends its own
	}
}

// change returns req as policy has it sent: a copy, unless policy changes nothing.
func (x *exchange) change(req *http.Request) (*http.Request, error) {
	change := x.call.Change()
	if !change.ChangesRequest(false) {
		return req, nil
	}
	r := *req
	if r.Header = maps.Clone(req.Header); r.Header == nil {
		r.Header = http.Header{}
	}
	to := change.Request(&x.call.Request, headers(r.Header), protocolOf(req))
	if to.Host != "" {
		r.Host = to.Host
	}
	if to.Path != "" {
		u, err := withPath(req.URL, to.Path)
		if err != nil {
			return nil, x.call.Refused(fmt.Errorf("%w: policy rewrites %s to a bad path: %w", resolver.ErrUnsupported, x.call.Request.Path, err))
		}
		r.URL = u
	}
	return &r, nil
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
	r.Header = maps.Clone(req.Header)
	change.Rehosted(&x.call.Request, headers(r.Header))
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
		to.RawQuery = query
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
func (x *exchange) answer(req *http.Request, a *resolver.Answer) *http.Response {
	closeBody(req)
	resp := &http.Response{
		Status:     strconv.Itoa(a.Status) + " " + http.StatusText(a.Status),
		StatusCode: a.Status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{},
		Body:    http.NoBody,
		Request: req,
	}
	if a.Redirect {
		resp.Header.Set("Location", a.Location(&x.call.Request, protocolOf(req)))
	}
	if len(a.Body) > 0 {
		resp.Header.Set("Content-Type", "text/plain")
		resp.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		resp.ContentLength = int64(len(a.Body))
		if req.Method != http.MethodHead {
			resp.Body = io.NopCloser(bytes.NewReader(a.Body))
		}
	}
	x.changeResponse(a.Change(), req, resp)
	x.end(balancer.Outcome{Code: a.Status})
	return resp
}

// changeResponse changes the headers of a response, which is new.
func (x *exchange) changeResponse(c *resolver.Change, req *http.Request, resp *http.Response) {
	if c.ChangesResponse() {
		c.Response(&x.call.Request, headers(resp.Header), protocolOf(req), resp.StatusCode)
	}
}

// protocolOf is what policy may call the protocol of the application's request.
func protocolOf(req *http.Request) string {
	if req.Proto == "" {
		return "HTTP/1.1"
	}
	return req.Proto
}
