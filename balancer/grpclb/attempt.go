package grpclb

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/attributes"

	"github.com/weft-mesh/weft/balancer"
)

// Attempt is the way of one SubConn to a connection. A SubConn makes one attempt at a
// time.
type Attempt struct {
	Endpoint *balancer.Endpoint

	deadline atomic.Int64 // of what is under way; Unix nanoseconds
}

type attemptKey struct{}

// AttemptOf returns what a connection with these address attributes is made for, or
// nil: the dialer and the transport credentials do as the endpoint's cluster asks.
func AttemptOf(a *attributes.Attributes) *Attempt {
	t, _ := a.Value(attemptKey{}).(*Attempt)
	return t
}

// Begin bounds ctx, that of dialing, by the time that policy gives to all of the
// attempt.
func (a *Attempt) Begin(ctx context.Context) (context.Context, context.CancelFunc) {
	a.deadline.Store(time.Now().Add(a.Endpoint.ConnectTimeout()).UnixNano())
	return a.Continue(ctx)
}

// Continue bounds ctx, that of TLS, by what Begin left, if that was called.
func (a *Attempt) Continue(ctx context.Context) (context.Context, context.CancelFunc) {
	if at := a.deadline.Load(); at != 0 {
		return context.WithDeadline(ctx, time.Unix(0, at))
	}
	return ctx, func() {}
}
