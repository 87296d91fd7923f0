package call

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/resolver"
)

// ErrRefused is why a server does not serve a call: policy does not let it, or there is
// no policy.
var ErrRefused = errors.New("the call is refused by policy")

// Accept routes a call that came in to a server. The error is an *[Error], and the call
// has then ended; else Admit has it pass the filters, and End ends it.
func (c *Call) Accept(ctx context.Context) error {
	if c.In = c.Target.Gate.enter(nil); c.In == nil {
		return c.Target.refuse(ErrClosed, codes.Unavailable, ErrClosed)
	}
	if err := c.accept(ctx); err != nil {
		c.In.Add(-resilience.CallUnit)
		return err
	}
	return nil
}

func (c *Call) accept(ctx context.Context) error {
	table := c.Target.Table()
	if table == nil {
		var err error
		if table, err = c.Target.await(ctx); err != nil {
			return err
		}
	}
	route, err := table.Route(&c.Request)
	switch {
	case errors.Is(err, resolver.ErrNoRoute):
		return c.Target.refuse(ErrNoRoute, codes.Unavailable, err)
	case err != nil:
		return c.Target.refuse(ErrRefused, codes.Unavailable, err)
	}
	if c.to, err = route.Inbound(); err != nil {
		return c.Target.refuse(ErrRefused, codes.Unavailable, err)
	}
	c.route = route
	return nil
}

// Filtered reports whether the call has filters to pass.
func (c *Call) Filtered() bool { return len(c.Change().Filters()) > 0 }

// Admit has a call that was accepted pass the filters, in order, within ctx. peer is who
// calls, "ip:port"; body is as Enter's. The error is as Enter's.
func (c *Call) Admit(ctx context.Context, header filter.Header, protocol, peer string, body filter.Body) error {
	r := c.filterRequest(header, protocol)
	r.Server, r.Peer, r.Body = true, peer, body
	return c.enter(ctx, r)
}

// Follows reports whether a filter follows the call to its end.
func (c *Call) Follows() bool { return c.passed != nil && c.passed.follower != nil }

// Outside is what the caller of a server gets to know of err, which ended its call: the
// answer or status of a filter, or the kind and code of one that says more of policy
// than is for callers to know.
func Outside(err error) error {
	if filter.ReplyOf(err) != nil {
		return err
	}
	var own *Error
	if !errors.As(err, &own) {
		return err
	}
	outside := &Error{Kind: own.Kind, Code: own.Code, Target: own.Target, Err: ErrRefused}
	switch {
	case errors.Is(err, ErrNoRoute):
		outside.Err = ErrNoRoute
	case own.Code == codes.DeadlineExceeded, own.Code == codes.Canceled:
		outside.Err = errors.New("the call ended while it waited for policy")
	}
	return outside
}
