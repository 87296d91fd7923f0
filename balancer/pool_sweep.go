package balancer

import "time"

// sweep ends the lanes that are too old, and those beyond the first that have had no
// call for long.
func (p *pool) sweep() {
	p.lock()
	defer p.unlock()
	if p.closed {
		return
	}
	now, limits := time.Now(), p.limits()
	for i, l := range *p.open.Load() {
		if limits.age > 0 && now.Sub(l.since) >= limits.age {
			p.retire(l)
			continue
		}
		if calls := l.calls.Load(); l.streams.Load() > 0 || calls != l.swept {
			l.swept, l.quiet = calls, time.Time{}
		} else if l.quiet.IsZero() {
			l.quiet = now
		} else if i > 0 && limits.idle > 0 && now.Sub(l.quiet) >= limits.idle {
			p.end(l)
		}
	}
	p.serve()
	p.tellIfAhead()
	p.arm()
}

// retire ends a lane because of its age. Where connections are made ahead of calls
// the last one stays until there is another.
func (p *pool) retire(l *lane) {
	if p.onDemand() {
		p.end(l)
		return
	}
	l.old = true
	for _, other := range *p.open.Load() {
		if !other.old {
			p.end(l)
			return
		}
	}
	if p.opening == nil {
		p.begin()
	}
}

func (p *pool) tellIfAhead() {
	if !p.onDemand() {
		p.tell(nil)
	}
}

// arm sets the timer for when there is something to look at.
func (p *pool) arm() {
	open, limits, now := *p.open.Load(), p.limits(), time.Now()
	var next time.Duration
	soon := func(d time.Duration) {
		if d = max(d, time.Millisecond); next == 0 || d < next {
			next = d
		}
	}
	for _, l := range open {
		if limits.age > 0 && !l.old {
			soon(l.since.Add(limits.age).Sub(now))
		}
	}
	if len(open) > 1 && limits.idle > 0 {
		soon(limits.idle / 2)
	}
	if len(p.queue) > 0 && p.retryAt.After(now) {
		soon(p.retryAt.Sub(now))
	}
	switch {
	case next == 0 || p.closed:
	case p.timer == nil:
		p.timer = time.AfterFunc(next, p.sweep)
	default:
		p.timer.Reset(next)
	}
}
