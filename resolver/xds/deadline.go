package xds

import (
	"errors"
	"fmt"
	"time"
)

// arm sees to it that expire is called at t. Called with mu held.
func (c *Client) arm(t time.Time) {
	if c.deadline.IsZero() || t.Before(c.deadline) {
		c.deadline = t
		c.awake()
	}
}

// expire goes through the entries whose time has come and finds the next one. It
// looks at every entry: that happens once for each time that runs out, not for
// each resource that arrives in time.
func (c *Client) expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = time.Time{}
	for _, s := range c.order {
		for _, sub := range s.subs {
			for _, e := range sub.entries {
				if due(e.absentAt, now) {
					e.absent()
				}
				if due(e.expiresAt, now) {
					e.expire()
				}
				for _, t := range []time.Time{e.absentAt, e.expiresAt} {
					if !t.IsZero() {
						c.arm(t)
					}
				}
			}
		}
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// absent notes that the resource did not come in time (gRFC A57, A88).
func (e *entry) absent() {
	s := e.sub.server
	if s.config.ResourceTimerIsTransientFailure {
		e.become(ResourceTimedOut)
		e.wrong(&Error{Kind: ErrUnavailable, Err: fmt.Errorf("not answered within %v", 2*s.client.config.WatchExpiry)}, false)
		return
	}
	e.become(ResourceDoesNotExist)
	e.wrong(&Error{Kind: ErrNotFound, Err: fmt.Errorf("not received within %v", s.client.config.WatchExpiry)}, false)
}

var errExpired = errors.New("its time to live ended without a heartbeat")
