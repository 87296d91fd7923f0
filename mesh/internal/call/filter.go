package call

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// passed is what a call keeps of the filters that it passes. Calls of routes without
// filters have none.
type passed struct {
	request  filter.Request
	sent     *filter.Request // nil if it went as the filters left it, or not yet
	response filter.Response
	grpc     bool
	changed  bool // path, query or authority

	follower filter.Follower // nil if no filter cares for the rest
	header   filter.ResponseFollower
	trailer  filter.TrailerFollower
	paced    filter.PacedFollower

	body    filter.Body // of the request, as it was given; nil if no filter wants it
	shown   filter.Body // of the response
	trailed bool        // what came after that is known
}

// spare are those of calls that the filters left alone.
var spare = sync.Pool{New: func() any { return new(passed) }}

// Enter has the call pass its route's filters, in order, within ctx. header is the
// request's header, protocol what %PROTOCOL% stands for, body its body if Bodies asks for
// that. The call goes on as the filters left it.
//
// The error is a filter's [filter.Reply], which HTTP requests get as a response, an
// *[Error], or a status. Then, too, End ends the call.
func (c *Call) Enter(ctx context.Context, header filter.Header, protocol string, body filter.Body) error {
	if len(c.Change().Filters()) == 0 {
		return c.answered()
	}
	r := c.filterRequest(header, protocol)
	r.Body = body
	if err := c.enter(ctx, r); err != nil {
		return err
	}
	c.prefer()
	return c.answered()
}

// filterRequest is the call's request as filters see it.
func (c *Call) filterRequest(header filter.Header, protocol string) filter.Request {
	route, host, cluster := c.Change().Names()
	return filter.Request{
		Header:    header,
		Authority: c.Request.Authority, Path: c.Request.Path, RawQuery: c.Request.RawQuery,
		Method: cmp.Or(c.Request.Method, "GET"), Scheme: c.Request.Scheme, Protocol: protocol, GRPC: c.Request.GRPC,
		Target: c.Target.Name, Route: route, VirtualHost: host, Cluster: cluster,
	}
}

// enter has a request pass the filters.
func (c *Call) enter(ctx context.Context, request filter.Request) error {
	p := spare.Get().(*passed)
	p.request, p.grpc, p.body = request, c.Request.GRPC, request.Body
	follower, err := c.Change().Filters().Request(ctx, &p.request)
	r := &p.request
	p.changed = r.Path != c.Request.Path || r.RawQuery != c.Request.RawQuery || r.Authority != c.Request.Authority
	if err == nil && follower == nil && !p.changed && !r.Header.Changed() && r.Override == (filter.Host{}) && r.Body == p.body {
		*p = passed{}
		spare.Put(p)
		return nil // as if there were no filters
	}
	c.passed, p.follower = p, follower
	p.header, p.trailer, p.paced = filter.OfResponse(follower), filter.OfTrailer(follower), filter.OfPace(follower)
	if err != nil {
		return c.filtered(err)
	}
	c.Request.Path, c.Request.RawQuery, c.Request.Authority = r.Path, r.RawQuery, r.Authority
	c.Request.Headers = &r.Header
	return nil
}

// Entered is the request as the filters left it, which is not to be changed any more;
// nil if it passed none, or they left it alone and do not follow it. changed reports whether more of it than its header changed.
func (c *Call) Entered() (r *filter.Request, changed bool) {
	if c.passed == nil {
		return nil, false
	}
	return &c.passed.request, c.passed.changed
}

// FollowsResponse reports whether a filter that the call passed wants to see the
// response.
func (c *Call) FollowsResponse() bool {
	p := c.passed
	return p != nil && (p.header != nil || p.trailer != nil || p.request.Body != p.body)
}

// FollowsTrailer reports whether one wants to see the trailer.
func (c *Call) FollowsTrailer() bool { return c.passed != nil && c.passed.trailer != nil }

// SentAs says how the request was sent, for filters that see the response.
func (c *Call) SentAs(header filter.Header, authority, path, query string) {
	p := c.passed
	if p == nil || !c.Change().ChangesRequest(p.grpc) && !c.Change().AutoHost(p.grpc) {
		return
	}
	sent := p.request
	sent.Header, sent.Authority, sent.Path, sent.RawQuery = header, authority, path, query
	p.sent = &sent
}

// Response has the header of the response pass the filters, and returns it as they left
// it. The error takes the place of the response; it is as Enter's.
func (c *Call) Response(ctx context.Context, header filter.Header, status int) (map[string][]string, error) {
	p := c.passed
	if p == nil {
		return header.Map(), nil
	}
	p.response = filter.Response{Request: cmp.Or(p.sent, &p.request), Header: header, Status: status, Body: p.shown}
	if link := c.Link; link != nil {
		p.response.Endpoint, p.response.Cluster = link.Endpoint().Address(), c.Cluster.Name()
	}
	if p.header != nil {
		if err := p.header.Response(ctx, &p.response); err != nil {
			return nil, c.filtered(err)
		}
	}
	return p.response.Header.Map(), nil
}

// Trailer has the trailer of the response pass the filters, and returns it as they left
// it.
func (c *Call) Trailer(trailer filter.Header) map[string][]string {
	p := c.passed
	switch {
	case p == nil:
		return trailer.Map()
	case p.trailer == nil && p.trailed:
		return p.response.Trailer.Map()
	case p.trailer == nil:
		return trailer.Map()
	}
	p.response.Request = cmp.Or(p.sent, &p.request)
	if !p.trailed {
		p.response.Trailer = trailer
	}
	p.trailer.Trailer(&p.response)
	return p.response.Trailer.Map()
}

// TrailerFailed is what the call ends with in place of its status, because a filter would
// have it so at the trailer; nil for its status. It is as Enter's.
func (c *Call) TrailerFailed() error {
	if c.passed == nil || c.passed.response.Err == nil {
		return nil
	}
	return c.filtered(c.passed.response.Err)
}

// end tells the filters how the call ended.
func (p *passed) end(o balancer.Outcome) {
	if p.follower == nil {
		return
	}
	f := p.follower
	p.follower = nil
	if p.grpc {
		f.End(filter.Outcome{Code: codes.Code(o.Code), Err: o.Err})
		return
	}
	f.End(filter.Outcome{Status: o.Code, Err: o.Err})
}

// filtered is the error of a call that a filter ended.
func (c *Call) filtered(err error) error {
	if r := filter.ReplyOf(err); r != nil {
		if errors.Is(r.Err, resilience.ErrLimit) && !errors.Is(r.Err, ErrOverloaded) {
			overloaded := *r
			overloaded.Err = fmt.Errorf("%w: %w", ErrOverloaded, r.Err)
			r = &overloaded
		}
		return r // under gRPC a status
	}
	if isStatus(err) {
		return err
	}
	var kind error
	code := codes.Unavailable
	switch {
	case errors.Is(err, resilience.ErrLimit):
		kind = ErrOverloaded
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return c.Target.refuse(kind, code, err)
}
