package mesh

import (
	"context"
	"io"
	"net/http"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
)

// streaming has the request end when policy says that its stream does, where there are
// filters, which may take their time. Elsewhere that is seen to when it is sent.
func (x *exchange) streaming(req *http.Request) *http.Request {
	d := x.call.StreamDuration()
	if d <= 0 || !x.call.Filtered() {
		return req
	}
	ctx, cancel := context.WithTimeout(req.Context(), d)
	x.stopping(cancel)
	return req.WithContext(ctx)
}

// enter has the request pass the filters, within ctx. done is true if one of them, or the route,
// answered it.
func (x *exchange) enter(ctx context.Context, req *http.Request) (resp *http.Response, done bool, err error) {
	var body filter.Body
	if wanted, _ := x.call.Bodies(); wanted && req.Body != nil && req.Body != http.NoBody {
		body = giveBody(req.Body, knownLength(req))
	}
	if err := x.call.Enter(ctx, filter.HTTPHeader(req.Header), protocolOf(req), body); err != nil {
		resp, err = x.refused(req, err)
		return resp, true, err
	}
	if a := x.call.Answer(); a != nil {
		resp, err = x.answer(req, a)
		return resp, true, err
	}
	return nil, false, nil
}

// refused ends a request that a filter ended with an error, which is the response if
// it is a reply.
func (x *exchange) refused(req *http.Request, err error) (*http.Response, error) {
	reply := filter.ReplyOf(err)
	if reply == nil {
		closeBody(req)
		x.end(balancer.Outcome{Err: err})
		return nil, err
	}
	resp := newResponse(req, reply.HTTPStatus(), reply.Body)
	for name, values := range reply.Header {
		resp.Header[http.CanonicalHeaderKey(name)] = values
	}
	if !x.responded {
		changeResponse(x.call.Change(), &x.call.Request, protocolOf(req), resp) // as Envoy's local replies
		if err := x.filterResponse(req, resp); err != nil {
			return x.refused(req, err)
		}
	}
	x.conclude(req, resp)
	reply.Mark(resp)
	return resp, nil
}

// filterResponse has a response pass the filters, once. After an error it is not to be
// used any more.
func (x *exchange) filterResponse(req *http.Request, resp *http.Response) error {
	x.responded = true
	if !x.call.FollowsResponse() {
		return nil
	}
	x.showBody(resp)
	h, err := x.call.Response(req.Context(), filter.OwnHTTPHeader(resp.Header), resp.StatusCode)
	if err != nil {
		_ = resp.Body.Close()
		return err
	}
	resp.Header = h
	x.remakes(resp)
	return nil
}

// trailerBody is a response's body whose end filters wait for, because of what comes
// after it.
type trailerBody struct {
	io.ReadCloser
	x    *exchange
	resp *http.Response
	done bool
}

func (b *trailerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.done {
		b.done = true
		if len(b.resp.Trailer) > 0 {
			b.resp.Trailer = b.x.call.Trailer(filter.OwnHTTPHeader(b.resp.Trailer))
		}
	}
	return n, err
}
