package balancer

import (
	"slices"
	"sync/atomic"
	"time"
)

// lane is one of the connections of a pool.
type lane struct {
	link Link // what picks return
	pool *pool

	streams atomic.Int64  // in use
	calls   atomic.Uint64 // that it was given
	ended   atomic.Bool   // given no more calls; closed with the last one

	// Guarded by pool.mu.
	state State     // while it is opening; on demand Ready once it has connected
	since time.Time // when it was opened
	old   bool      // stays only until there is another
	shut  bool
	swept uint64    // calls when the pool last looked
	quiet time.Time // since when it had none; zero while it has
}

func (p *pool) newLane() *lane {
	l := &lane{pool: p, since: time.Now()}
	l.link.endpoint, l.link.view, l.link.lane = p.link.endpoint, p.link.view, l
	l.link.conn = p.link.view.connector.NewConn(p.link.endpoint, l.report)
	return l
}

// enter takes a stream, if there is one. The call may be the last that the lane
// carries.
func (l *lane) enter(limits limits) (ok, last bool) {
	for {
		n := l.streams.Load()
		if n >= limits.streams {
			return false, false
		}
		if l.streams.CompareAndSwap(n, n+1) {
			break
		}
	}
	calls := l.calls.Add(1)
	if limits.calls > 0 && calls > limits.calls {
		l.streams.Add(-1)
		return false, false
	}
	if l.ended.Load() { // meanwhile; with the pool's lock held it is not
		l.release()
		return false, false
	}
	return true, calls == limits.calls
}

// release gives a stream back, to a call that waits if there is one.
func (l *lane) release() {
	p := l.pool
	if n := l.streams.Add(-1); p.waiting.Load() == 0 && (n > 0 || !l.ended.Load()) {
		return
	}
	p.lock()
	if l.ended.Load() && l.streams.Load() == 0 {
		p.shut(l)
	}
	p.serve()
	p.unlock()
}

// add makes a lane one that calls may be given.
func (p *pool) add(l *lane) {
	open := append(slices.Clone(*p.open.Load()), l)
	p.open.Store(&open)
	p.arm()
}

// end has no more calls given to a lane, and closes it with the last that it has.
func (p *pool) end(l *lane) {
	open := slices.DeleteFunc(slices.Clone(*p.open.Load()), func(o *lane) bool { return o == l })
	p.open.Store(&open)
	l.ended.Store(true)
	if l.streams.Load() == 0 {
		p.shut(l)
	}
}

// shut closes a lane's Conn, once. A call that was given the lane just before its
// connection was lost may wait for a new picker, as gRPC's do.
func (p *pool) shut(l *lane) {
	if l.shut {
		return
	}
	l.shut = true
	p.todo = append(p.todo, func() {
		l.link.conn.Close()
		if !p.onDemand() {
			p.link.view.wake(nil)
		}
	})
}

// report takes a state from the lane's Conn.
func (l *lane) report(s State, err error) {
	p := l.pool
	p.lock()
	defer p.unlock()
	switch {
	case p.closed || l.shut:
	case p.onDemand():
		p.heardOnDemand(l, s, err)
	case l == p.opening:
		p.heardOpening(l, s, err)
	case s != Ready && !l.ended.Load(): // lost
		p.end(l)
		p.shut(l)
		p.serve()
		p.tell(err)
	}
}

// heardOpening is a report of the lane that is being made.
func (p *pool) heardOpening(l *lane, s State, err error) {
	l.state = s
	switch s {
	case Ready:
		p.opening = nil
		l.since = time.Now()
		p.add(l)
		for _, old := range *p.open.Load() {
			if old.old {
				p.end(old)
			}
		}
		p.serve()
	case Idle: // its backoff has ended
		switch {
		case len(*p.open.Load()) == 0: // the view says when
		case len(p.queue) > 0 || slices.ContainsFunc(*p.open.Load(), func(l *lane) bool { return l.old }):
			p.todo = append(p.todo, l.link.conn.Connect)
		default:
			p.opening = nil
			p.shut(l)
		}
	}
	p.tell(err)
}

// heardOnDemand is a report of a lane that its calls connect. One that cannot be
// connected tells of the endpoint only if it is the last: that others may not be opened
// is not news to those whose connection works (gRFC A105).
func (p *pool) heardOnDemand(l *lane, s State, err error) {
	switch s {
	case Ready:
		p.failures, p.retryAt = 0, time.Time{}
		p.link.report(Ready, nil)
	case TransientFailure:
		p.end(l)
		if len(*p.open.Load()) == 0 {
			p.link.report(TransientFailure, err)
			break
		}
		p.failures++
		p.retryAt = time.Now().Add(retryBackoff.delay(p.failures))
	case Idle: // it is somebody's alone from now on
		p.end(l)
	}
	p.serve()
}

// Spared reports, of a link whose connection could not be made, whether the endpoint
// has other connections, which may take the call.
func (l *Link) Spared() bool {
	if l.lane == nil {
		return false
	}
	p := l.lane.pool
	p.lock()
	defer p.unlock()
	return !p.closed && len(*p.open.Load()) > 0
}
