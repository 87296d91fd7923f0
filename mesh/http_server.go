package mesh

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resolver"
)

// handler is an HTTP handler that goes by policy.
type handler struct {
	*server
	next http.Handler
}

// inboundCalls are spare, of requests that passed no filter, or only such as left them
// alone: nobody else has seen them.
var inboundCalls = sync.Pool{New: func() any { return new(call.Call) }}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c := inboundCalls.Get().(*call.Call)
	c.Request = inboundRequest(req)
	if err := h.accept(req.Context(), c); err != nil {
		writeReply(w, replyTo(err))
		return
	}
	passed, err := req, error(nil)
	var given filter.Body
	var reader *inboundReader
	_, responses := c.Bodies()
	if c.Filtered() {
		if wanted, _ := c.Bodies(); wanted && req.Body != nil && req.Body != http.NoBody {
			given = giveBody(req.Body, knownLength(req))
		}
		passed, err = h.admit(c, req, given)
		if _, made := c.RequestBody(); err == nil && made != given {
			passed, reader = h.passed(passed, given, made)
		}
	}
	if in, _ := c.Entered(); in == nil && err == nil {
		defer func() {
			c.End(balancer.Outcome{}) // which nobody sees
			*c = call.Call{}
			inboundCalls.Put(c)
		}()
		h.next.ServeHTTP(w, req)
		return
	}
	out := &inboundWriter{ResponseWriter: w, call: c, server: h.server, req: req}
	ended := errHandlerPanicked
	defer func() { c.End(balancer.Outcome{Code: out.status, Err: ended}) }()
	if err != nil {
		writeReply(out, replyTo(err))
	} else if c.Follows() && (responses || reader != nil) {
		passing := newPassingWriter(out, reader)
		defer func() { passing.finish(errors.Is(ended, errHandlerPanicked)) }()
		h.next.ServeHTTP(passing, passed)
		ended = req.Context().Err()
		return
	} else {
		if c.Follows() {
			w = out
		}
		h.next.ServeHTTP(w, passed)
	}
	out.finish()
	ended = req.Context().Err()
}

// inboundRequest is what policy sees of a request that came in.
func inboundRequest(req *http.Request) resolver.Request {
	r := resolver.Request{
		Authority: req.Host,
		RawQuery:  req.URL.RawQuery,
		Method:    req.Method,
		Scheme:    "http",
		Headers:   headers(req.Header),
	}
	r.Path, r.Unescaped = pathOf(req.URL)
	if req.TLS != nil {
		r.Scheme = "https"
	}
	return r
}

// admit has the request pass the filters, with its body if they want that, and returns it
// as they left it. The error is for the request's sender.
func (h *handler) admit(c *call.Call, req *http.Request, body filter.Body) (*http.Request, error) {
	panicked := true
	defer func() {
		if panicked {
			c.End(balancer.Outcome{Err: errHandlerPanicked})
		}
	}()
	err := c.Admit(req.Context(), filter.HTTPHeader(req.Header), protocolOf(req), req.RemoteAddr, body)
	panicked = false
	if err != nil {
		return nil, h.outside(c, err)
	}
	in, rewritten := c.Entered()
	if in == nil || !rewritten && !in.Header.Changed() {
		return req, nil
	}
	r := *req
	if r.Header = in.Header.Map(); r.Header == nil {
		r.Header = http.Header{}
	}
	if rewritten {
		u := *req.URL
		u.RawQuery = in.RawQuery
		to, err := withPath(&u, in.Path)
		if err != nil {
			return nil, h.outside(c, &call.Error{Kind: call.ErrRefused, Code: codes.Unavailable, Target: h.name, Err: err})
		}
		r.URL, r.Host = to, in.Authority
	}
	return &r, nil
}

// replyTo is the response that stands for an error.
func replyTo(err error) *filter.Reply {
	if reply := filter.ReplyOf(err); reply != nil {
		return reply
	}
	reply := &filter.Reply{Status: http.StatusServiceUnavailable, Body: status.Convert(err).Message()}
	switch {
	case errors.Is(err, call.ErrNoRoute):
		reply.Status = http.StatusNotFound
	case status.Code(err) == codes.DeadlineExceeded:
		reply.Status = http.StatusGatewayTimeout
	}
	return reply
}

func writeReply(w http.ResponseWriter, reply *filter.Reply) {
	header := w.Header()
	if reply.Body != "" {
		header.Set("Content-Type", "text/plain")
		header.Set("Content-Length", strconv.Itoa(len(reply.Body)))
	}
	for name, values := range reply.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(reply.HTTPStatus())
	_, _ = io.WriteString(w, reply.Body)
}
