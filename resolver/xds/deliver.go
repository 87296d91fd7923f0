package xds

import "time"

// delivery is one turn of the delivering goroutine: the mail of a watch, or
// something else to do after all that was queued before it.
type delivery struct {
	watch *watch
	do    func()
}

// deliver adds to the mail of a watch. Called with mu held.
func (c *Client) deliver(w *watch, write func(*mail)) {
	if w.cancelled {
		return
	}
	write(&w.mail)
	if !w.queued && !w.mail.empty() {
		w.queued = true
		c.queue = append(c.queue, delivery{watch: w})
		c.awake()
	}
}

// delivered returns a channel that is closed when all mail queued so far has been
// delivered. Called with mu held.
func (c *Client) delivered() <-chan struct{} {
	mark := make(chan struct{})
	c.later(func() { close(mark) })
	return mark
}

// later queues f, to be called without mu. Called with mu held.
func (c *Client) later(f func()) {
	c.queue = append(c.queue, delivery{do: f})
	c.awake()
}

func (c *Client) awake() {
	select {
	case c.due <- struct{}{}:
	default:
	}
}

// deliverAll is the delivering goroutine: it calls the watchers and keeps the
// time. Being one, it keeps the calls for a watch in order.
func (c *Client) deliverAll() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for c.ctx.Err() == nil {
		c.mu.Lock()
		if len(c.queue) > 0 {
			d := c.queue[0]
			c.queue[0] = delivery{}
			c.queue = c.queue[1:]
			var m mail
			if d.watch != nil {
				m, d.watch.mail, d.watch.queued = d.watch.mail, mail{}, false
			}
			c.mu.Unlock()
			c.hand(d, m)
			continue
		}
		c.queue = nil // the array would otherwise only ever grow
		next := c.deadline
		c.mu.Unlock()

		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-c.ctx.Done():
		case <-c.due:
		case <-timer.C:
			c.expire(time.Now())
		}
	}
}

func (c *Client) hand(d delivery, m mail) {
	if d.do != nil {
		d.do()
		return
	}
	switch {
	case m.resource != nil:
		d.watch.watcher.ResourceChanged(*m.resource)
	case m.err != nil:
		d.watch.watcher.ResourceError(m.err)
	}
	if m.ambient == nil {
		return
	}
	c.mu.Lock()
	cancelled := d.watch.cancelled // by the call just made, perhaps
	c.mu.Unlock()
	if !cancelled {
		d.watch.watcher.AmbientError(m.ambient)
	}
}
