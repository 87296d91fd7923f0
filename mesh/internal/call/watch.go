package call

import (
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/balancer"
)

// watch measures the latency of attempts, one after the other, because their cluster's
// policy goes by that.
type watch struct {
	link  atomic.Pointer[balancer.Link] // nil when there is nothing more to measure
	began atomic.Int64                  // since epoch
}

// epoch is what instants are measured from, which is cheaper than to tell the time.
var epoch = time.Now()

// watchAttempt begins to measure an attempt, if its link asks for that, and else forgets the
// last. Whether a call is measured shows with its first attempt: after that, others may use
// it already.
func (c *Call) watchAttempt(l *balancer.Link) {
	wanted := l.WantsLatency()
	if wanted && !c.picked {
		c.watch = new(watch)
	}
	switch {
	case c.watch == nil:
	case wanted:
		c.watch.began.Store(int64(time.Since(epoch)))
		c.watch.link.Store(l)
	default:
		c.watch.link.Store(nil)
	}
}

// Watched reports whether the latency of the attempt under way is measured and not yet
// known. Like Sent, Answered and Unwatch it may be called from any goroutine after the
// first Pick.
func (c *Call) Watched() bool { return c.watch != nil && c.watch.link.Load() != nil }

// Sent has the latency count from now: something was sent for which no answer can have
// come before.
func (c *Call) Sent() {
	if c.watch != nil {
		c.watch.began.Store(int64(time.Since(epoch)))
	}
}

// Answered says that the attempt's answer has begun.
func (c *Call) Answered() {
	if c.watch != nil {
		c.watch.answered()
	}
}

func (w *watch) answered() {
	if w.link.Load() == nil {
		return
	}
	if l := w.link.Swap(nil); l != nil {
		l.Answered(w.age())
	}
}

// Unwatch ends the measuring: nothing is learned of the attempt's latency.
func (c *Call) Unwatch() {
	if c.watch != nil {
		c.watch.link.Store(nil)
	}
}

// unwatch ends the measuring of an attempt that ended with this outcome before Answered.
func (c *Call) unwatch(o balancer.Outcome) {
	if !c.Watched() {
		return
	}
	l := c.watch.link.Swap(nil)
	switch {
	case l == nil || errors.Is(o.Err, balancer.ErrUnsent):
	case o.Err != nil || c.Request.GRPC && o.Code == int(codes.Unavailable):
		l.Unanswered(c.watch.age())
	default:
		l.Answered(c.watch.age())
	}
}

func (w *watch) age() time.Duration { return time.Since(epoch) - time.Duration(w.began.Load()) }
