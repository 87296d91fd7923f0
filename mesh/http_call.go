package mesh

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/resolver"
)

// exchange is one HTTP request's way through policy.
type exchange struct {
	sending
	call call.Call

	// What serves the next call, too.
	sampler call.Sampler
	bare    *bareRequest // nil where none is at hand
}

// sending is what an exchange knows of how its request is sent and answered.
type sending struct {
	cancel    context.CancelFunc   // of the deadline that policy set; nil for none
	conn      *endpointConn        // of the last attempt
	body      *answerBody          // for the response; nil where none is at hand
	tried     []*balancer.Endpoint // that accepted no connection
	status    int                  // of the response that is the application's
	responded bool                 // the response passed the filters
}

// exchanges are spare ones.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchanges.Get().(*exchange)
	if err := x.begin(t, req); err != nil {
		closeBody(req)
		return nil, err
	}
	if x.call.Bare() && !needsGuard(req) {
		resp, err := x.inTurn(t.view(x.call.Cluster), req, req, nil)
		return x.finish(req, resp, err)
	}
	out := req
	if !x.call.Plain() {
		out = x.streaming(req)
		if resp, done, err := x.enter(out.Context(), req); done {
			return resp, err
		}
		out = x.remade(out)
	}
	resp, err := x.send(t, out)
	return x.finish(req, resp, err)
}

// send sends the request as policy has it sent.
func (x *exchange) send(t *transport, req *http.Request) (*http.Response, error) {
	view := t.view(x.call.Cluster)
	out, within := req, (*limits)(nil)
	if x.call.Timeout() != 0 || x.call.IdleTimeout() != 0 {
		out, within = x.limited(req)
	}
	if !x.call.Plain() {
		var err error
		if out, err = x.change(out); err != nil {
			closeBody(req)
			return nil, err
		}
		if x.call.Mirrored() {
			out = x.mirror(t, out)
		}
	}
	var resp *http.Response
	var err error
	if x.call.Policy() != nil {
		resp, err = x.attempts(view, out)
	} else {
		if needsGuard(out) {
			out = guard(out)
		}
		resp, err = x.try(view, x.number(out.Context(), out, 1))
	}
	if within != nil {
		return within.answered(resp, err)
	}
	return resp, err
}

// try sends the request to one endpoint after another until a connection takes it.
func (x *exchange) try(view *balancer.View, out *http.Request) (*http.Response, error) {
	var failed error // why the last attempt made no connection
	for {
		link, err := x.call.Pick(out.Context(), view, x.tried)
		if err != nil {
			closeBody(out)
			return nil, x.unpicked(err, failed)
		}
		x.conn = link.Conn().(*endpointConn)
		if !x.call.Plain() {
			out = x.rehost(out, link.Endpoint())
		}
		if to := link.Endpoint().OriginalDst(); to != nil {
			out = readdress(out, to)
		}
		resp, err := x.roundTrip(out)
		if err != nil {
			out, resp, err = x.wait(out, err)
		}
		if err == nil {
			commit(out)
			x.call.Answered()
			if link.WantsLoad() {
				learnLoad(link, resp)
			}
			if link.Endpoint().IsChecked() {
				heed(link.Endpoint(), resp)
			}
			return resp, nil
		}
		failed = err
		if out, err = x.elsewhere(link, out, err); err != nil {
			return nil, err
		}
	}
}

// unpicked is the error of a request that no endpoint was picked for, after the last one that
// was made no connection because it failed.
func (x *exchange) unpicked(err, failed error) error {
	if failed != nil && !errors.Is(err, resilience.ErrLimit) {
		err = &balancer.UnreachableError{Cluster: x.call.Cluster.Name(), Last: failed}
	}
	return x.call.Refused(err)
}

// elsewhere returns a request as it is sent to another endpoint than link's, where it failed
// with err; or else the error that it ends with.
func (x *exchange) elsewhere(link *balancer.Link, out *http.Request, err error) (*http.Request, error) {
	switch {
	case errors.Is(err, resilience.ErrLimit):
		x.call.Done(balancer.Outcome{Err: balancer.ErrUnsent})
		commit(out)
		return nil, x.call.Refused(err)
	case !errors.As(err, new(*connectError)) || out.Context().Err() != nil:
		commit(out)
		return nil, err
	}
	x.call.Done(balancer.Outcome{Err: err})
	if !link.Spared() {
		x.tried = append(x.tried, link.Endpoint())
	}
	return rewind(out)
}

// begin finds the request's target and routes it.
func (x *exchange) begin(t *transport, req *http.Request) error {
	if req.URL == nil {
		return errors.New("weft: the request has no URL")
	}
	target := t.mesh.http.current.Load().find(req)
	if target == nil {
		var err error
		if target, err = t.mesh.addHTTPTarget(req); err != nil {
			return err
		}
	}
	target.use()
	path, unescaped := pathOf(req.URL)
	authority, query, header := authorityOf(req), req.URL.RawQuery, headers(req.Header)
	method, scheme := req.Method, req.URL.Scheme
	x.call.Target, x.call.Client = &target.Target, t.id
	r := &x.call.Request
	r.Authority, r.Path, r.RawQuery, r.Method, r.Scheme, r.Headers = authority, path, query, method, scheme, header
	r.Unescaped = unescaped
	return x.call.Begin(req.Context())
}

// pathOf returns the path of a request for [resolver.Request], and whether it is still to be
// escaped.
func pathOf(u *url.URL) (path string, unescaped bool) {
	if u.RawPath == "" && u.Path != "" {
		return u.Path, true
	}
	return escapedPath(u), false
}

func escapedPath(u *url.URL) string { return cmp.Or(u.EscapedPath(), "/") }

// headers shows a request's header to header matchers.
type headers http.Header

func (h headers) Values(n *resolver.HeaderName) []string { return h[n.Canonical] }

// finish makes what came of a request the application's, and arranges for the end of a
// response to be noticed.
func (x *exchange) finish(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return x.failed(req, err)
	}
	sent := resp.Request
	resp.Request = req // not the copy that was sent
	plain := x.call.Plain()
	if !plain {
		if err := x.received(req, sent, resp); err != nil {
			// What the filter says is not the endpoint's doing.
			x.call.Done(balancer.Outcome{Code: resp.StatusCode})
			return x.refused(req, err)
		}
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if conn := x.upgraded(resp); conn != nil {
			resp.Body = conn
			return resp, nil
		}
	}
	if resp.Body == http.NoBody {
		x.end(balancer.Outcome{Code: resp.StatusCode})
		x.recycle()
		return resp, nil
	}
	if !plain {
		resp.Body = x.followed(sent, resp)
	}
	resp.Body = x.until(resp)
	return resp, nil
}

// failed ends a request that was not answered.
func (x *exchange) failed(req *http.Request, err error) (*http.Response, error) {
	if filter.ReplyOf(err) != nil {
		return x.refused(req, err)
	}
	x.end(unanswered(req.Context(), err))
	return nil, forCaller(err)
}

// received changes the response to a request as it was sent, and has it pass the filters.
func (x *exchange) received(req, sent *http.Request, resp *http.Response) error {
	if _, count := x.call.CountsAttempts(); count {
		resp.Header.Set(attemptCount.Canonical, strconv.Itoa(x.call.Attempted()))
	}
	if c := x.call.Change(); c.ChangesResponse() {
		changeResponse(c, x.sent(sent), protocolOf(sent), resp)
	}
	if x.call.FollowsResponse() {
		x.call.SentAs(filter.HTTPHeader(sent.Header), sent.Host, sent.URL.EscapedPath(), sent.URL.RawQuery)
	}
	if err := x.filterResponse(req, resp); err != nil {
		return err
	}
	if cookies := x.call.SetCookie(); cookies != "" {
		for cookie := range strings.SplitSeq(cookies, "\n") {
			resp.Header.Add("Set-Cookie", cookie)
		}
	}
	return nil
}

// followed returns the body of a response for filters to follow, or to hold back.
func (x *exchange) followed(sent *http.Request, resp *http.Response) io.ReadCloser {
	body := resp.Body
	if x.call.FollowsTrailer() {
		body = &trailerBody{ReadCloser: body, x: x, resp: resp}
	}
	if paced := x.call.Pace(); paced != nil {
		body = pace(sent.Context(), body, paced)
	}
	return body
}

// end reports the outcome and stops the deadline. It is called once.
func (x *exchange) end(o balancer.Outcome) {
	x.call.End(o)
	if x.conn != nil {
		x.conn.released()
	}
	if x.cancel != nil {
		x.cancel()
	}
}

// recycle has an exchange of RoundTrip's that has ended serve another, if nobody can have a
// hold on it any more.
func (x *exchange) recycle() {
	if x.call.Alone() {
		x.sending = sending{}
		x.call.Renew()
		exchanges.Put(x)
	}
}
