package extproc

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

// processor is the filter of a route.
type processor struct{ *config }

func (p *processor) Request(ctx context.Context, r *filter.Request) (filter.Follower, error) {
	c := &processing{config: p.config, ctx: ctx, grpc: r.GRPC, mode: p.mode, stream: newStream(ctx, p.config)}
	if c.mode.request {
		path := r.Path
		if r.RawQuery != "" {
			path += "?" + r.RawQuery
		}
		answer, err := c.stream.ask(ctx, &servicev3.ProcessingRequest{
			Request: &servicev3.ProcessingRequest_RequestHeaders{RequestHeaders: &servicev3.HttpHeaders{
				Headers: c.forward.headerMap(&r.Header, ":method", r.Method, ":path", path, ":authority", r.Authority, ":scheme", r.Scheme),
			}},
			Attributes: attributes(c.requestAttributes, r),
		})
		if err == nil && answer != nil {
			_, ok := answer.GetResponse().(*servicev3.ProcessingResponse_RequestHeaders)
			err = c.header(ctx, "request_headers", answer, ok, answer.GetRequestHeaders(), &r.Header)
		}
		if err != nil {
			c.stream.end()
			return nil, err
		}
	}
	return c.follower(), nil
}

// processing is one call on its way.
type processing struct {
	*config
	ctx    context.Context // of the call
	grpc   bool
	mode   mode // may be changed by the server
	stream *stream
}

// follower is what follows the rest of the call. The stream ends now if nothing of the
// rest is sent.
func (c *processing) follower() filter.Follower {
	switch response, trailer := c.mode.response, c.mode.trailer; {
	case c.stream.over:
		return nil
	case response && (trailer || c.overridesMode):
		return &responseAndTrailer{responseOnly{c}, trailerOnly{c}}
	case response:
		return &responseOnly{c}
	case trailer:
		return &trailerOnly{c}
	}
	c.stream.end()
	return nil
}

func (c *processing) End(filter.Outcome) { c.stream.end() }

type responseOnly struct{ *processing }

func (c *responseOnly) Response(ctx context.Context, r *filter.Response) error {
	answer, err := c.stream.ask(ctx, &servicev3.ProcessingRequest{
		Request: &servicev3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &servicev3.HttpHeaders{
			Headers: c.forward.headerMap(&r.Header, ":status", strconv.Itoa(r.Status)),
		}},
		Attributes: attributes(c.responseAttributes, r.Request),
	})
	if err == nil && answer != nil {
		_, ok := answer.GetResponse().(*servicev3.ProcessingResponse_ResponseHeaders)
		err = c.header(ctx, "response_headers", answer, ok, answer.GetResponseHeaders(), &r.Header)
	}
	if err != nil || !c.mode.trailer {
		c.stream.end()
	}
	return err
}

type trailerOnly struct{ *processing }

func (c *trailerOnly) Trailer(r *filter.Response) {
	defer c.stream.end()
	if !c.mode.trailer { // by a mode_override
		return
	}
	answer, err := c.stream.ask(c.ctx, &servicev3.ProcessingRequest{
		Request: &servicev3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &servicev3.HttpTrailers{
			Trailers: c.forward.headerMap(&r.Trailer),
		}},
		Attributes: attributes(c.responseAttributes, r.Request),
	})
	if err == nil && answer != nil {
		if _, ok := answer.GetResponse().(*servicev3.ProcessingResponse_ResponseTrailers); ok {
			err = c.rules.mutate(&r.Trailer, answer.GetResponseTrailers().GetHeaderMutation())
		} else {
			err = c.stream.fail(c.ctx, unexpected("response_trailers", answer))
		}
	}
	if err != nil { // the call cannot be failed any more
		r.Trailer.DelFunc(func(string) bool { return true })
	}
}

type responseAndTrailer struct {
	responseOnly
	trailerOnly
}

func (c *responseAndTrailer) End(o filter.Outcome) { c.responseOnly.End(o) }

// header does what the server answers to a header. The error ends the call.
func (c *processing) header(ctx context.Context, event string, answer *servicev3.ProcessingResponse, ok bool, in *servicev3.HeadersResponse, h *filter.Header) error {
	if m := answer.GetImmediateResponse(); m != nil {
		if c.refusesReply {
			return c.stream.fail(ctx, errors.New("the server may not answer calls (disable_immediate_response)"))
		}
		c.stream.end()
		return immediate(m, c.grpc)
	}
	if !ok {
		return c.stream.fail(ctx, unexpected(event, answer))
	}
	if s := in.GetResponse().GetStatus(); s != servicev3.CommonResponse_CONTINUE {
		return c.stream.fail(ctx, fmt.Errorf("the server answered %s with status %v, which is not supported", event, s))
	}
	if m := answer.GetModeOverride(); m != nil && c.overridesMode {
		to, err := parseMode(m)
		if err != nil {
			return c.stream.fail(ctx, fmt.Errorf("mode_override.%w", err))
		}
		if c.allowsMode(to) {
			c.mode = to
		}
	}
	if err := c.rules.mutate(h, in.GetResponse().GetHeaderMutation()); err != nil {
		c.stream.end()
		return forbidden(err)
	}
	return nil
}
