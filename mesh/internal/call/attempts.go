package call

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/internal/pause"
	"github.com/weft-mesh/weft/resilience"
)

// Attempt is one attempt of a call, as an adapter makes it.
type Attempt interface {
	// Send sends it and says what came of it. It is called once.
	Send() resilience.Result
	// Drop lets go of what came of it, which is not the call's result, and reports the
	// outcome.
	Drop()
}

// Racer is an attempt that may be in flight with others of its call. Its Drop may be called
// after the call has ended, by the goroutine that sent it.
type Racer interface {
	Attempt
	// Cancel has Send return soon. It may be called at any time, several times.
	Cancel()
}

// Sender makes the further attempts of a call that has one in flight at a time.
type Sender interface {
	// Attempt returns the n-th attempt, 2 or more.
	Attempt(n int) Attempt
}

// tries is what a call keeps once it has, or may have, more than one attempt. The
// attempts of a hedged call share it.
type tries struct {
	sender    Sender
	sent      atomic.Int32
	committed atomic.Bool
	kept      atomic.Int64 // bytes of Buffers
	limit     int64        // of kept

	mu    sync.Mutex
	avoid bool                                        // endpoints that were tried
	omits func(labels map[string]balancer.Value) bool // endpoints that retries leave out; nil for none
	tried []*balancer.Endpoint
	apart int // that many have the attempts after them leave their priorities; 0 for none
	from  int // in tried: those before it count no more for that
}

// Policy is what policy says of the call's attempts; nil for that there is one. Copies
// are not tried again.
func (c *Call) Policy() *resilience.Policy {
	if c.copied {
		return nil
	}
	return c.route.Attempts()
}

// CountsAttempts reports whether requests and responses say how many attempts there were.
func (c *Call) CountsAttempts() (request, response bool) { return c.route.CountsAttempts() }

// Track prepares the call for more than one attempt, which s makes; Sender returns it.
func (c *Call) Track(s Sender) {
	if c.tries == nil {
		c.tries = &tries{}
		if p := c.Policy(); p != nil {
			c.tries.limit = cmp.Or(p.Retry.BufferLimit, resilience.DefaultBufferLimit)
			c.tries.apart = p.Retry.UpdateFrequency
		}
	}
	c.tries.sender, c.Next = s, false
}

// Sender returns what Track was called with; nil if it was not.
func (c *Call) Sender() Sender {
	if c.tries == nil {
		return nil
	}
	return c.tries.sender
}

// Attempted is how many attempts of the call were sent.
func (c *Call) Attempted() int {
	if c.tries == nil {
		return 1
	}
	return max(1, int(c.tries.sent.Load()))
}

// Sampler chooses the calls of which is learned what their first attempts take: about one
// in eight, at random. Calls that are made one after the other share one. The zero value is
// ready.
type Sampler struct{ lots uint64 } // random, three bits for a call, and a one above them

// Clock returns the time since epoch for a call that is chosen, else zero.
func (s *Sampler) Clock() time.Duration {
	if s.lots&7 != 0 {
		s.lots >>= 3
		return 0
	}
	return s.chosen()
}

// chosen is Clock when the next lot is a zero, or all have been drawn.
func (s *Sampler) chosen() time.Duration {
	if s.lots == 0 {
		if s.lots = rand.Uint64() | 1<<63; s.lots&7 != 0 {
			s.lots >>= 3
			return 0
		}
	}
	s.lots >>= 3
	return time.Since(epoch)
}

// Succeeded says that the first answer to a call with a Policy is a success. began is the
// time of Sampler.Clock.
func (c *Call) Succeeded(began time.Duration) {
	if t := c.Cluster.Limits().Throttle(); t != nil {
		t.Succeeded()
	}
	if began != 0 {
		c.took(time.Since(epoch) - began)
	}
}

// took learns what the first attempt took, unless it was routed anew under way.
func (c *Call) took(d time.Duration) {
	if p := c.Policy(); p != nil {
		p.Latency.Record(d)
	}
}

// Retriable reports whether policy lets the request be tried again.
func (c *Call) Retriable() bool { return c.route.Retriable(&c.Request) }

// Passes reports whether the first attempt, which began at the time of Sampler.Clock, had an
// HTTP answer that policy plainly does not retry, and learns from it. Of others Again
// decides where there is a Policy.
func (c *Call) Passes(status int, headers map[string][]string, began time.Duration) bool {
	p := c.Policy()
	if p == nil {
		return true
	}
	if !p.Retry.On.Passes(status, headers) {
		return false
	}
	c.Succeeded(began)
	return true
}

// Again reports whether the result of the first attempt, which began at the time of Sampler.Clock,
// is one to call Retry with. It learns from those that are not.
func (c *Call) Again(r *resilience.Result, began time.Duration) bool {
	p := c.Policy()
	if (p.Retry.On.Retries(r) || r.Pushback.Never) && c.route.Retriable(&c.Request) {
		return true
	}
	if !r.Failed() {
		c.Succeeded(began)
	}
	return false
}

func (c *Call) attempts(ctx context.Context, uploads bool) *resilience.Attempts {
	deadline, _ := ctx.Deadline()
	jitter := resilience.FullJitter
	if c.Request.GRPC {
		jitter = resilience.NarrowJitter
	}
	return resilience.NewAttempts(resilience.Call{
		Policy:   c.Policy(),
		Limits:   c.Cluster.Limits(),
		Priority: c.route.Priority(),
		Deadline: deadline,
		Uploads:  uploads,
		Jitter:   jitter,
	})
}

// Retry makes further attempts, one after another, until it has the call's result, and
// returns the attempt that it is of. The first was sent and came to r; Track was called.
// Nil means that ctx, which is the call's, ended while it waited.
func (c *Call) Retry(ctx context.Context, first Attempt, r *resilience.Result) Attempt {
	t := c.tries
	series := c.Series(ctx)
	defer series.Close()
	for last := first; ; {
		n := series.Again(r, last.Drop)
		switch {
		case n == 0:
			return last
		case n < 0:
			return nil
		}
		last = t.sender.Attempt(n)
		result := last.Send()
		r = &result
	}
}

// Series decides on attempts that are made one after another, for who makes them
// otherwise than by Retry.
type Series struct {
	call     *Call
	ctx      context.Context
	attempts *resilience.Attempts
	n        int // the last that was sent
}

// Series begins with the first attempt, which was sent. ctx is the call's, and Track was
// called. Close must follow.
func (c *Call) Series(ctx context.Context) *Series {
	c.ended(ctx)
	s := &Series{call: c, ctx: ctx, attempts: c.attempts(ctx, false)}
	s.n = s.attempts.Next(time.Now()).Attempt
	c.tries.avoid = c.Policy().Retry.PreviousHosts
	c.omit()
	c.tries.sent.Store(1)
	return s
}

// Again says what follows the result of the last attempt: the number of the next one,
// which is to be sent now; 0 if the result is the call's; -1 if ctx ended. It calls drop
// if the result is not the call's, and then waits for the next attempt's time.
func (s *Series) Again(r *resilience.Result, drop func()) int {
	c := s.call
	if c.Link != nil && s.n == 1 && len(c.tries.tried) == 0 {
		c.tries.tried = append(c.tries.tried, c.Link.Endpoint())
	}
	if c.tries.committed.Load() {
		s.attempts.Commit()
	}
	now := time.Now()
	if s.attempts.Ended(now, s.n, r) {
		return 0
	}
	drop()
	now = time.Now() // it may have read what is left of an answer
	for {
		step := s.attempts.Next(now)
		switch step.Do {
		case resilience.Send:
			s.n = step.Attempt
			c.tries.sent.Store(int32(s.n))
			return s.n
		case resilience.Finish:
			return 0
		}
		if !sleep(s.ctx, step.At.Sub(now)) {
			return -1
		}
		now = time.Now()
	}
}

// Close gives back what the series holds.
func (s *Series) Close() { s.attempts.Close() }

func sleep(ctx context.Context, d time.Duration) bool { return pause.For(ctx, d) == nil }

// Race makes attempts, several at a time where policy has hedges, until it has the call's
// result, and returns the attempt that it is of. The others are cancelled and may end
// after it returned. Nil means that ctx, which is the call's, ended. An attempt that uploads
// calls gone once its request has gone out whole.
func (c *Call) Race(ctx context.Context, uploads bool, attempt func(n int, gone func()) Racer) (winner Racer) {
	type ended struct {
		attempt int
		racer   Racer
		result  resilience.Result
	}
	c.Track(nil)
	c.tries.avoid = true // gRFC A6
	c.omit()
	a := c.attempts(ctx, uploads)
	defer a.Close()
	var racers []Racer
	results, gone, over := make(chan ended), make(chan int), make(chan struct{})
	defer func() {
		close(over)
		for _, r := range racers {
			if r != winner {
				r.Cancel()
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if deadline, ok := ctx.Deadline(); ok { // that of an upload is not known before its end
			a.Until(deadline)
		}
		now := time.Now()
		step := a.Next(now)
		switch step.Do {
		case resilience.Finish:
			return racers[step.Attempt-1]
		case resilience.Send:
			c.tries.sent.Store(int32(step.Attempt))
			r := attempt(step.Attempt, func() {
				select {
				case gone <- step.Attempt:
				case <-over:
				}
			})
			racers = append(racers, r)
			go func() {
				e := ended{step.Attempt, r, r.Send()}
				select {
				case results <- e:
				case <-over:
					r.Drop()
				}
			}()
			continue
		}
		var due <-chan time.Time
		if !step.At.IsZero() {
			timer.Reset(step.At.Sub(now))
			due = timer.C
		}
		select {
		case e := <-results:
			c.ended(ctx)
			if c.tries.committed.Load() {
				a.Commit()
			}
			if !a.Ended(time.Now(), e.attempt, &e.result) {
				e.racer.Drop()
			}
		case n := <-gone:
			a.Gone(time.Now(), n)
		case <-due:
		case <-ctx.Done():
			return nil
		}
	}
}

// Fork returns a call that stands for one attempt of c in a race. It is ended by End, like
// a call of its own.
func (c *Call) Fork() Call {
	c.In.Add(resilience.CallUnit) // c itself is in
	f := *c
	f.Attempt = balancer.Attempt{Cluster: c.Cluster, In: c.In, Priority: c.Priority}
	f.passed = nil
	return f
}

// Adopt takes over the attempt of a fork, which ends without it.
func (c *Call) Adopt(f *Call) {
	c.Attempt = f.Give()
	c.route, c.setCookie, c.goesByHash = f.route, f.setCookie, f.goesByHash
}

// Commit says that the call's request cannot be sent again.
func (c *Call) Commit() { c.tries.committed.Store(true) }

// maxOmitted is how many endpoints that retries leave out a pick passes over.
const maxOmitted = 64

// omit has further attempts leave out the endpoints that policy says.
func (c *Call) omit() {
	if c.route.OmitsAny() {
		c.tries.omits = c.route.Omits
	}
}

// pick picks an endpoint that the call has not tried, where policy asks for that and
// there is one.
func (t *tries) pick(v *balancer.View, info *balancer.PickInfo) (*balancer.Link, error) {
	t.mu.Lock()
	info.Again = info.Again || len(t.tried) > 0
	apart := *info
	if t.avoid {
		apart.Exclude = append(slices.Clip(info.Exclude), t.tried...)
	}
	omits := t.omits
	if len(t.tried) == 0 {
		omits = nil // this is the first
	}
	t.mu.Unlock()
	link, err := t.choose(v, apart) // which may wait
	for n := 0; err == nil && n < maxOmitted && omits != nil && omits(link.Endpoint().Labels()); n++ {
		link.Done(balancer.Outcome{Err: balancer.ErrUnsent})
		apart.Exclude = append(slices.Clip(apart.Exclude), link.Endpoint())
		link, err = t.choose(v, apart)
	}
	if errors.Is(err, balancer.ErrExcluded) && len(apart.Exclude) > len(info.Exclude) {
		link, err = t.choose(v, *info)
	}
	if err == nil {
		t.mu.Lock()
		t.tried = append(t.tried, link.Endpoint())
		t.mu.Unlock()
	}
	return link, err
}

// choose has the view pick, from priorities that the call has not tried where policy asks
// for that.
func (t *tries) choose(v *balancer.View, info balancer.PickInfo) (*balancer.Link, error) {
	if t.apart == 0 {
		return v.Pick(info)
	}
	t.mu.Lock()
	counted := t.tried[t.from:]
	t.mu.Unlock()
	n := len(counted) / t.apart * t.apart
	if n == 0 {
		return v.Pick(info)
	}
	a := balancer.Apart{Attempted: counted[:n]}
	link, err := v.PickApart(info, &a)
	if a.Exhausted {
		t.mu.Lock()
		t.from += len(counted)
		t.mu.Unlock()
	}
	return link, err
}

// Unsent is the result of an attempt for which no endpoint was picked; err is what
// Refused made of why.
func (c *Call) Unsent(err error) resilience.Result {
	r := resilience.Result{Kind: resilience.Refused, NotSent: true, GRPC: c.Request.GRPC}
	if refusal := (*Error)(nil); errors.As(err, &refusal) {
		r.Code = refusal.Code
		if errors.Is(refusal, ErrUnavailable) {
			r.Kind = resilience.ConnectFailed
		}
	}
	return r
}
