package call

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Bound is what policy allows one attempt (per_try_timeout, per_try_idle_timeout). All
// methods are safe on nil, which bounds nothing.
type Bound struct {
	cancel   context.CancelCauseFunc
	answer   *time.Timer // until the answer begins
	progress *time.Timer // until something comes
	idle     time.Duration
}

// boundError is why an attempt's context ended that took longer than policy allows one.
type boundError struct {
	field string
	limit time.Duration
}

func (e *boundError) Error() string {
	return fmt.Sprintf("the attempt took longer than %s allows, %s", e.field, e.limit)
}

// Is makes it what an attempt that timed out is to outlier detection and to callers.
func (e *boundError) Is(target error) bool { return target == context.DeadlineExceeded }

// Bound returns the context of an attempt under ctx, the call's, and what bounds it, which
// Stop ends. A hedged attempt that policy has replaced when its time is up goes on.
func (c *Call) Bound(ctx context.Context) (context.Context, *Bound) {
	p := c.Policy()
	timeout := p.Retry.PerTryTimeout
	if p.Hedge != nil && p.Hedge.OnPerTryTimeout {
		timeout = 0
	}
	idle := p.Retry.PerTryIdleTimeout
	if timeout == 0 && idle == 0 {
		return ctx, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	b := &Bound{cancel: cancel, idle: idle}
	if timeout > 0 {
		b.answer = time.AfterFunc(timeout, func() { cancel(&boundError{"per_try_timeout", timeout}) })
	}
	if idle > 0 {
		b.progress = time.AfterFunc(idle, func() { cancel(&boundError{"per_try_idle_timeout", idle}) })
	}
	return ctx, b
}

// TimedOut returns why an attempt's context ended if it was a Bound's doing, else nil.
func TimedOut(attempt context.Context) error {
	if err := (*boundError)(nil); errors.As(context.Cause(attempt), &err) {
		return err
	}
	return nil
}

// Answered says that the answer has begun. Its progress is bounded still.
func (b *Bound) Answered() {
	if b != nil && b.answer != nil {
		b.answer.Stop()
	}
	b.Progress()
}

// Progress says that something came, or went out.
func (b *Bound) Progress() {
	if b != nil && b.progress != nil {
		b.progress.Reset(b.idle)
	}
}

// Bounds reports whether progress matters.
func (b *Bound) Bounds() bool { return b != nil && b.progress != nil }

// Stop ends the attempt's context.
func (b *Bound) Stop() {
	if b == nil {
		return
	}
	if b.answer != nil {
		b.answer.Stop()
	}
	if b.progress != nil {
		b.progress.Stop()
	}
	b.cancel(nil)
}
