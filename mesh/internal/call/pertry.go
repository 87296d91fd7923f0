package call

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Bound is what policy allows one attempt (per_try_timeout, per_try_idle_timeout), or the
// call (idle_timeout, and timeout where it counts from the request's end). All methods are
// safe on nil, which bounds nothing, and may be called from any goroutine.
type Bound struct {
	cancel   context.CancelCauseFunc
	limit    *boundError                // from Sent on; nil for none
	until    atomic.Pointer[time.Time]  // when that ends; nil before Sent
	timer    atomic.Pointer[time.Timer] // of that; stopped is put in its place when it is of no use any more
	progress *time.Timer                // until something comes; nil for no bound
	idle     time.Duration
	over     atomic.Bool // Stop was called
}

// stopped is what a timer is that will not be started.
var stopped = new(time.Timer)

// boundError is why the context of an attempt, or of a call, ended that took longer than
// policy allows one.
type boundError struct {
	field string
	limit time.Duration
	whole bool // the call's
}

func (e *boundError) Error() string {
	what := "attempt"
	if e.whole {
		what = "call"
	}
	return fmt.Sprintf("the %s took longer than %s allows, %s", what, e.field, e.limit)
}

// Is makes it what an attempt that timed out is to outlier detection and to callers.
func (e *boundError) Is(target error) bool { return target == context.DeadlineExceeded }

// Bound returns the context of an attempt under ctx, the call's, and what bounds it, which
// Stop ends. A hedged attempt that policy has replaced when its time is up goes on.
// per_try_timeout counts from the end of the request (Envoy): Sent must follow, unless sent
// says that there is nothing to wait for.
func (c *Call) Bound(ctx context.Context, sent bool) (context.Context, *Bound) {
	p := c.Policy()
	if p == nil { // it was routed anew
		return ctx, nil
	}
	timeout := p.Retry.PerTryTimeout
	if p.Hedge != nil && p.Hedge.OnPerTryTimeout {
		timeout = 0
	}
	if timeout == 0 && p.Retry.PerTryIdleTimeout == 0 {
		return ctx, nil
	}
	ctx, b := newBound(ctx)
	if timeout > 0 {
		b.limit = &boundError{"per_try_timeout", timeout, false}
	}
	if idle := p.Retry.PerTryIdleTimeout; idle > 0 {
		b.follow(&boundError{"per_try_idle_timeout", idle, false})
	}
	if sent {
		b.Sent()
	}
	return ctx, b
}

// CutsAttempts is the policy's Cuts.
func (c *Call) CutsAttempts() bool { return c.Policy().Cuts() }

// Idle returns the context of the call under ctx, and what bounds the time in which
// nothing comes or goes (idle_timeout); nil if nothing does.
func (c *Call) Idle(ctx context.Context) (context.Context, *Bound) {
	idle := c.route.IdleTimeout
	if idle == 0 {
		return ctx, nil
	}
	ctx, b := newBound(ctx)
	b.follow(&boundError{"idle_timeout", idle, true})
	return ctx, b
}

// TimeoutOnceSent returns the context of a call under ctx that may take d from the end of
// its request on, of which Sent tells (RouteAction.timeout). Its deadline is not known
// before.
func (c *Call) TimeoutOnceSent(ctx context.Context, d time.Duration) (context.Context, *Bound) {
	ctx, b := newBound(ctx)
	b.limit = &boundError{"timeout", d, true}
	return lateDeadline{ctx, b}, b
}

// lateDeadline is a context whose deadline comes to be known.
type lateDeadline struct {
	context.Context
	bound *Bound
}

func (c lateDeadline) Deadline() (time.Time, bool) {
	at, ok := c.Context.Deadline()
	if late := c.bound.until.Load(); late != nil && (!ok || late.Before(at)) {
		return *late, true
	}
	return at, ok
}

type lateDeadlineKey struct{}

func (c lateDeadline) Value(key any) any {
	if _, ok := key.(lateDeadlineKey); ok {
		return c.bound
	}
	return c.Context.Value(key)
}

// ended has the deadline of a call within ctx count once an attempt of it has ended,
// whatever of the request was sent: backoffs are not without a bound.
func (c *Call) ended(ctx context.Context) {
	if c.Request.GRPC {
		return
	}
	if b, ok := ctx.Value(lateDeadlineKey{}).(*Bound); ok {
		b.Sent()
	}
}

func newBound(ctx context.Context) (context.Context, *Bound) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &Bound{cancel: cancel}
}

// follow has the context end when nothing comes for as long as the limit.
func (b *Bound) follow(limit *boundError) {
	b.idle = limit.limit
	b.progress = time.AfterFunc(b.idle, func() { b.cancel(limit) })
}

// TimedOut returns why an attempt's context ended if it was a Bound's doing, else nil.
func TimedOut(attempt context.Context) error { return exceeded(attempt, false) }

// Exceeded returns why a call's context ended if it was a Bound's doing, else nil.
func Exceeded(ctx context.Context) error { return exceeded(ctx, true) }

func exceeded(ctx context.Context, whole bool) error {
	if err := (*boundError)(nil); errors.As(context.Cause(ctx), &err) && err.whole == whole {
		return err
	}
	return nil
}

// Sent says that the request has gone out whole: what is bounded from then on begins to
// count, the first time.
func (b *Bound) Sent() {
	if b == nil || b.limit == nil || b.timer.Load() != nil {
		return
	}
	until := time.Now().Add(b.limit.limit)
	timer := time.AfterFunc(b.limit.limit, func() { b.cancel(b.limit) })
	if b.timer.CompareAndSwap(nil, timer) {
		b.until.Store(&until)
	} else {
		timer.Stop() // it was answered before it had gone out whole
	}
}

// Answered says that an attempt's answer has begun. Its progress is bounded still.
func (b *Bound) Answered() {
	b.done()
	b.Progress()
}

func (b *Bound) done() {
	if b == nil || b.limit == nil {
		return
	}
	if timer := b.timer.Swap(stopped); timer != nil && timer != stopped {
		timer.Stop()
	}
}

// Progress says that something came, or went out.
func (b *Bound) Progress() {
	if b == nil || b.progress == nil {
		return
	}
	b.progress.Reset(b.idle)
	if b.over.Load() { // the end of a call may be told of before it is read
		b.progress.Stop()
	}
}

// Bounds reports whether progress matters.
func (b *Bound) Bounds() bool { return b != nil && b.progress != nil }

// Counts reports whether there is a time until which an answer has to begin.
func (b *Bound) Counts() bool { return b != nil && b.limit != nil && b.timer.Load() != stopped }

// WaitsForSent reports whether Sent is still to come.
func (b *Bound) WaitsForSent() bool { return b != nil && b.limit != nil && b.timer.Load() == nil }

// Stop ends the context.
func (b *Bound) Stop() {
	if b == nil {
		return
	}
	if timer := b.timer.Swap(stopped); timer != nil && timer != stopped {
		timer.Stop()
	}
	if b.over.Store(true); b.progress != nil {
		b.progress.Stop()
	}
	b.cancel(nil)
}
