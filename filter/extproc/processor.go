package extproc

import (
	"context"
	"fmt"
	"strconv"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

// processor is the filter of a route.
type processor struct{ *config }

// Bodies implements [filter.BodyFilter]: what answers a header may replace also a body that
// is not sent.
func (p *processor) Bodies() (request, response bool) {
	return true, p.mode.responseBody != bodyNone || !p.observes && (p.mode.sendsResponse() || p.overridable())
}

func (p *processor) Request(ctx context.Context, r *filter.Request) (filter.Follower, error) {
	if err := p.mode.suits(r); err != nil {
		return nil, misused(err)
	}
	c := &processing{config: p.config, request: r, mode: p.mode, stream: newStream(ctx, p.config, r.GRPC)}
	c.stream.override = c.override
	c.stream.protocol = &servicev3.ProtocolConfiguration{
		RequestBodyMode: p.mode.requestBody, ResponseBodyMode: p.mode.responseBody,
		SendBodyWithoutWaitingForHeaderResponse: p.hasty,
	}
	d := &c.stream.request
	d.mode, c.stream.response.mode = p.mode.requestBody, p.mode.responseBody
	d.notes = attributes(c.requestAttributes, r)
	c.stream.watch()
	given := r.Body
	in := &part{direction: d, header: &r.Header, body: &r.Body}
	if c.mode.sendsRequest() {
		in.event = &servicev3.ProcessingRequest{Request: &servicev3.ProcessingRequest_RequestHeaders{RequestHeaders: c.requestHeaders(r)}}
	}
	if err := c.process(in); err != nil {
		c.stream.end(errEnded)
		return nil, err
	}
	return c.follower(r.Body != given), nil
}

func (c *processing) requestHeaders(r *filter.Request) *servicev3.HttpHeaders {
	path := r.Path
	if r.RawQuery != "" {
		path += "?" + r.RawQuery
	}
	pseudo := []string{":method", r.Method, ":path", path, ":authority", r.Authority, ":scheme", r.Scheme}
	if n, ok := filter.BodyLen(r.Body); ok && len(r.Header.Values(contentLength)) == 0 {
		pseudo = append(pseudo, "content-length", strconv.Itoa(n)) // net/http has it beside the header
	}
	return &servicev3.HttpHeaders{Headers: c.forward.headerMap(&r.Header, pseudo...), EndOfStream: r.Body == nil && !r.GRPC}
}

var contentLength = filter.NewHeaderName("content-length")

// processing is one call on its way.
type processing struct {
	*config
	request *filter.Request
	stream  *stream
	mode    mode // may be changed by the server, which stream.mu guards

	replaced bool // the response was, at its header: nothing more of it is for the server
	trailed  bool // the trailer is sent, as the end of a body
}

// part is a request or a response as it comes to be processed.
type part struct {
	*direction
	header  *filter.Header
	body    *filter.Body
	event   *servicev3.ProcessingRequest // of the header; nil if that is not sent
	trailer func() bool                  // as those of body
	send    func()
}

// process has the server see what comes before the body, and as much of that as is
// buffered, and has the rest see it on its way. The error ends the call.
func (c *processing) process(p *part) error {
	d := p.direction
	var under *body
	if p.event != nil {
		p.event.Attributes, d.notes = d.notes, nil
		e := &expected{about: headerEvent}
		begins := *p.body != nil && c.begins(d) // before the answer may override the mode
		c.stream.post(d, p.event, e)
		if begins {
			under = c.piecewise(p)
			under.begin()
		}
		answer, err := c.stream.await(e)
		if err != nil {
			return err
		}
		if replaced, err := c.headerAnswered(p, answer, under != nil); err != nil || replaced {
			return err
		}
	}
	switch source := *p.body; {
	case under != nil:
		*p.body = under
	case source == nil || d.mode == bodyNone || c.stream.isOver():
	case c.observes:
		if d.mode == bodyStreamed || d.mode == bodyGRPC { // as in Envoy
			*p.body = observe(&observed{direction: d, Body: source, trailer: p.trailer})
		}
	case buffered(d.mode):
		made, err := c.buffer(d, source, p.header)
		*p.body = made
		return err
	default:
		*p.body = c.piecewise(p)
	}
	return nil
}

// begins reports whether a body is sent before its header is answered: servers may wait for
// it. Where the answer may say that it is not to be sent, it waits.
func (c *processing) begins(d *direction) bool {
	switch d.mode {
	case bodyStreamed:
		return c.hasty && !c.observes
	case bodyDuplex, bodyGRPC:
		return !c.overridable() && !c.observes
	default:
		return false
	}
}

func (c *processing) piecewise(p *part) *body {
	b := &body{direction: p.direction, source: *p.body, trailer: p.trailer, send: p.send}
	if p.direction == &c.stream.request {
		b.done = func() {
			c.stream.mu.Lock()
			over := !c.mode.response()
			c.stream.mu.Unlock()
			if over {
				c.stream.end(nil)
			}
		}
	}
	return b
}

// headerAnswered does what the server answers to a header; under says that it has the
// beginning of the body already. It reports whether the server has seen enough of the
// request or the response.
func (c *processing) headerAnswered(p *part, answer *servicev3.ProcessingResponse, under bool) (replaced bool, err error) {
	common := answer.GetRequestHeaders().GetResponse()
	if p.direction == &c.stream.response {
		common = answer.GetResponseHeaders().GetResponse()
	}
	replaced = common.GetStatus() == servicev3.CommonResponse_CONTINUE_AND_REPLACE
	if replaced && (p.grpc || under) {
		return false, c.stream.fail(fmt.Errorf("the server answered %s with status %v, which is not supported", p.name(headerEvent), common.GetStatus()))
	}
	if err := c.rules.mutate(p.header, common.GetHeaderMutation()); err != nil {
		c.stream.end(errEnded)
		return false, forbidden(err)
	}
	if !replaced {
		return false, nil
	}
	if p.direction == &c.stream.response {
		c.replaced = true
	}
	if m := common.GetBodyMutation(); m != nil && (len(m.GetBody()) > 0 || *p.body != nil) {
		*p.body = filter.BodyOf(mutated(nil, m))
	}
	return true, nil
}

// override does a mode_override, with stream.mu held.
func (c *processing) override(in *servicev3.ProcessingResponse) error {
	if !c.overridable() {
		return nil
	}
	to, err := parseMode(in.GetModeOverride())
	if err == nil {
		if to = c.config.mode.overridden(to); !c.allowsMode(to) {
			return nil
		}
		err = to.check()
	}
	if err == nil {
		err = to.suits(c.request)
	}
	if err != nil {
		return fmt.Errorf("mode_override.%w", err)
	}
	if c.mode = to; c.stream.request.awaitsHeader() {
		c.stream.request.mode = to.requestBody
	}
	c.stream.response.mode = to.responseBody
	return nil
}

// follower is what follows the rest of the call. The stream ends now if nothing of the
// rest is sent.
func (c *processing) follower(body bool) filter.Follower {
	over := c.stream.isOver()
	response, trailer := c.mode.sendsResponse() || c.mode.responseBody != bodyNone, c.mode.sendsTrailer()
	switch {
	case over && !body:
		return nil
	case over:
		return c
	case response && (trailer || c.overridable() || c.request.GRPC): // whose trailer may be all there is
		return &responseAndTrailer{responseOnly{c}, trailerOnly{c}}
	case response:
		return &responseOnly{c}
	case trailer:
		return &trailerOnly{c}
	case body:
		return c
	}
	c.stream.end(nil)
	return nil
}

func (c *processing) End(filter.Outcome) { c.stream.end(errEnded) }

type responseOnly struct{ *processing }

func (c *responseOnly) Response(_ context.Context, r *filter.Response) error {
	d := &c.stream.response
	d.notes = attributes(c.responseAttributes, r.Request)
	given := r.Body
	out := &part{direction: d, header: &r.Header, body: &r.Body, trailer: func() bool {
		return d.grpc || len(r.Trailer.Map()) > 0
	}}
	if c.mode.sendsTrailer() {
		out.send = func() {
			c.trailed = true // read by Trailer, once the body has been read
			_ = c.trailer(r) // whoever reads the body gets to know
		}
	}
	if c.mode.sendsResponse() {
		out.event = &servicev3.ProcessingRequest{Request: &servicev3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &servicev3.HttpHeaders{
			Headers:     c.forward.headerMap(&r.Header, ":status", strconv.Itoa(r.Status)),
			EndOfStream: r.Body == nil && !d.grpc && (!c.observes || d.mode != bodyNone), // else it was not asked for
		}}}
	}
	err := c.process(out)
	switch {
	case err != nil:
		c.stream.end(errEnded)
	case c.replaced || given == r.Body && !c.mode.sendsTrailer():
		c.requestOver()
	}
	return err
}

// requestOver ends the stream once the response is over, unless the request's body still goes.
func (c *processing) requestOver() {
	if !c.stream.request.goes() {
		c.stream.end(nil)
	}
}

type trailerOnly struct{ *processing }

func (c *trailerOnly) Trailer(r *filter.Response) {
	var err error
	switch {
	case c.stream.response.grpc && r.Status == 0:
		err = c.alone(r)
	case c.replaced || c.trailed || !c.mode.sendsTrailer(): // by a mode_override
	default:
		err = c.trailer(r)
	}
	if err == nil {
		return
	}
	r.Err = err
	r.Trailer.DelFunc(func(string) bool { return true })
	if reply := filter.ReplyOf(err); reply != nil && c.stream.response.grpc {
		for name, values := range reply.Header {
			for _, v := range values {
				r.Trailer.Add(filter.NewHeaderName(name), v)
			}
		}
	}
}

// alone has a gRPC response processed that is a trailer alone, as the header with which it
// ends (gRFC A93; Envoy).
func (c *processing) alone(r *filter.Response) error {
	if !c.mode.sendsResponse() {
		return nil
	}
	d := &c.stream.response
	d.notes = attributes(c.responseAttributes, r.Request)
	var body filter.Body // none
	return c.process(&part{direction: d, header: &r.Trailer, body: &body, event: &servicev3.ProcessingRequest{
		Request: &servicev3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &servicev3.HttpHeaders{
			Headers: c.forward.headerMap(&r.Trailer, ":status", "200"), EndOfStream: true,
		}},
	}})
}

// trailer has the trailer processed.
func (c *processing) trailer(r *filter.Response) error {
	d := &c.stream.response
	event := &servicev3.ProcessingRequest{
		Request: &servicev3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &servicev3.HttpTrailers{
			Trailers: c.forward.headerMap(&r.Trailer),
		}},
		Attributes: d.notes,
	}
	if event.Attributes == nil && c.responseAttributes != nil {
		event.Attributes = attributes(c.responseAttributes, r.Request)
	}
	answer, err := c.stream.ask(d, event, trailerEvent)
	if err != nil || answer == nil {
		return err
	}
	return c.rules.mutate(&r.Trailer, answer.GetResponseTrailers().GetHeaderMutation())
}

type responseAndTrailer struct {
	responseOnly
	trailerOnly
}

func (c *responseAndTrailer) End(o filter.Outcome) { c.responseOnly.End(o) }
