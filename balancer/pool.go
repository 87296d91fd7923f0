package balancer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pool is the connections of one link to its endpoint where policy counts them: their
// number, the calls on each, those that each has carried, its age (gRFC A105). A pick
// that chose the endpoint takes a free stream of the oldest connection that has one.
// When there is none, a further connection is opened if policy allows one more, and
// the call waits its turn: for that connection or for a stream that becomes free,
// whichever is first. The pool is a link's Conn, and reports for all connections.
//
// A pick takes no lock as long as a stream is free.
type pool struct {
	link *Link

	open    atomic.Pointer[[]*lane] // the connections to use, oldest first; replaced, never changed
	waiting atomic.Int32            // the length of queue

	mu       sync.Mutex
	queue    []*turn // the calls that wait, in order
	opening  *lane   // the connection that is being made; always nil on demand
	told     State   // what the link was told last
	failures int     // of opening a further connection, in a row
	retryAt  time.Time
	timer    *time.Timer
	todo     []func() // for when mu is unlocked
	closed   bool
}

// turn is a call that waits. It is given nil if it is to be picked for again.
type turn struct{ given chan *lane }

func newPool(l *Link) *pool {
	p := &pool{link: l}
	p.open.Store(new([]*lane))
	return p
}

// pooled reports whether connections of a view to e are counted.
func (v *View) pooled(e *Endpoint) bool {
	switch {
	case e.form == nil || e.OriginalDst() != nil:
		return false
	case v.options.OnDemand:
		return e.form.pooledHTTP
	default:
		return e.form.pooledGRPC
	}
}

// limits are what policy says now.
type limits struct {
	lanes     int    // 0 for no limit
	streams   int64  // of a lane at a time
	calls     uint64 // of a lane in its life; 0 for no limit
	age, idle time.Duration
}

func (p *pool) limits() limits {
	c := p.link.endpoint.Connection()
	l := limits{int(c.MaxPerEndpoint), int64(c.MaxStreams), uint64(c.MaxRequests), c.MaxDuration, c.IdleTimeout}
	if l.idle == 0 {
		l.idle = defaultSpareIdle
	}
	if l.streams == 0 {
		l.streams = defaultMaxStreams
	}
	switch {
	case !p.onDemand():
		if l.lanes = max(1, l.lanes); l.lanes == 1 {
			l.streams = unboundStreams
		}
	case p.link.endpoint.protocol != ProtocolHTTP2:
		l.streams = 1
	}
	return l
}

func (p *pool) onDemand() bool { return p.link.view.options.OnDemand }

// take returns a connection's own link with a stream counted as in use; Link.Done
// gives it back. It waits within ctx, and not at all if that is nil.
func (p *pool) take(ctx context.Context) (*Link, error) {
	if p.waiting.Load() == 0 {
		if l, last := p.free(p.limits()); l != nil {
			if last {
				p.lock()
				p.end(l)
				p.replace()
				p.unlock()
			}
			return &l.link, nil
		}
	}
	if ctx == nil {
		return nil, ErrConnecting
	}
	t := &turn{make(chan *lane, 1)}
	p.lock()
	p.queue = append(p.queue, t)
	p.waiting.Add(1)
	p.serve()
	p.unlock()
	select {
	case l := <-t.given:
		if l == nil {
			return nil, ErrConnecting
		}
		return &l.link, nil
	case <-ctx.Done():
		p.leave(t)
		return nil, fmt.Errorf("%w: every connection to %s is in use (%w)", ErrConnecting, p.link.endpoint.Address(), ctx.Err())
	}
}

// leave takes a call out of the queue that waits no longer.
func (p *pool) leave(t *turn) {
	p.lock()
	if i := slices.Index(p.queue, t); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		p.waiting.Add(-1)
	}
	p.unlock()
	select {
	case l := <-t.given: // its turn had come
		if l != nil {
			l.release()
		}
	default:
	}
}

// free takes a stream of the first connection that has one. The call may be the last
// that the connection carries.
func (p *pool) free(limits limits) (l *lane, last bool) {
	for _, l := range *p.open.Load() {
		if ok, last := l.enter(limits); ok {
			return l, last
		}
	}
	return nil, false
}

// serve gives streams to the calls that wait, as far as there are any, and opens a
// connection for the rest.
func (p *pool) serve() {
	limits := p.limits()
	for len(p.queue) > 0 {
		l, last := p.free(limits)
		if l == nil {
			if l, last = p.more(limits); l == nil {
				break
			}
		}
		if last {
			p.end(l)
			p.replace()
		}
		p.give(l)
	}
	if len(*p.open.Load()) == 0 && !p.onDemand() {
		// Another endpoint may have a connection.
		for len(p.queue) > 0 {
			p.give(nil)
		}
	}
}

func (p *pool) give(l *lane) {
	p.queue[0].given <- l
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.waiting.Add(-1)
}

// more begins one more connection for a call, if there may be one. On demand the call
// makes it.
func (p *pool) more(limits limits) (l *lane, last bool) {
	open := *p.open.Load()
	if p.onDemand() {
		switch {
		case p.closed:
			// The call had picked the endpoint just before it went.
			l = p.newLane()
			l.streams.Add(1)
			l.ended.Store(true)
			return l, false
		case limits.lanes > 0 && len(open) >= limits.lanes:
			return nil, false
		case len(open) > 0 && time.Now().Before(p.retryAt):
			p.arm()
			return nil, false
		default:
			l = p.newLane()
			p.add(l)
		}
		_, last = l.enter(limits)
		return l, last
	}
	fresh := 0
	for _, l := range open {
		if !l.old {
			fresh++
		}
	}
	if p.closed || p.opening != nil || fresh >= limits.lanes {
		return nil, false
	}
	p.begin()
	return nil, false
}

// replace makes sure that there is a connection to come where there are to be
// connections ahead of calls.
func (p *pool) replace() {
	if !p.onDemand() && !p.closed && p.opening == nil && len(*p.open.Load()) == 0 {
		p.begin()
		p.tell(nil)
	}
}

// begin has a connection made.
func (p *pool) begin() {
	l := p.newLane()
	p.opening = l
	p.todo = append(p.todo, l.link.conn.Connect)
}

// tell reports the state of all connections as one (gRFC A105).
func (p *pool) tell(err error) {
	s := Idle
	switch {
	case len(*p.open.Load()) > 0:
		s = Ready
	case p.opening != nil:
		s = p.opening.state
	}
	if s == p.told && s != TransientFailure {
		return
	}
	p.told = s
	p.link.report(s, err)
}

// Connect begins the first connection, or makes another attempt at it.
func (p *pool) Connect() {
	p.lock()
	defer p.unlock()
	switch {
	case p.closed || len(*p.open.Load()) > 0:
	case p.opening == nil:
		p.begin()
	case p.opening.state == Idle:
		p.todo = append(p.todo, p.opening.link.conn.Connect)
	}
}

// Close ends all connections, with their last call.
func (p *pool) Close() {
	p.lock()
	defer p.unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for _, l := range *p.open.Load() {
		l.ended.Store(true)
		p.shut(l)
	}
	p.open.Store(new([]*lane))
	if p.opening != nil {
		p.shut(p.opening)
		p.opening = nil
	}
	p.serve()
}

func (p *pool) lock() { p.mu.Lock() }

// unlock does what has to be done without the lock: a Conn may report at once.
func (p *pool) unlock() {
	todo := p.todo
	p.todo = nil
	p.mu.Unlock()
	for _, f := range todo {
		f()
	}
}
