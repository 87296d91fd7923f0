package resolver

import (
	"sync"

	"github.com/weft-mesh/weft/resolver/xds"
)

// mailbox brings work to the resolver's goroutine. Putting something in never
// blocks. Of a resource, only the newest state is kept: a burst of updates is one.
type mailbox struct {
	wake chan struct{} // has a place for one

	mu     sync.Mutex
	closed bool
	tasks  []func()
	subs   []*subscription
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// do has the resolver's goroutine run f, unless it has stopped.
func (b *mailbox) do(f func()) {
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.tasks = append(b.tasks, f)
	}
	b.mu.Unlock()
	if !closed {
		b.ring()
	}
}

func (b *mailbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take empties the mailbox.
func (b *mailbox) take() (tasks []func(), subs []*subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tasks, subs = b.tasks, b.subs
	b.tasks, b.subs = nil, nil
	return tasks, subs
}

// close makes the mailbox drop what it has and what comes.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.tasks, b.subs = nil, nil
}

// subscription is the resolver's watch of one resource.
type subscription struct {
	box   *mailbox
	apply func(news) // on the resolver's goroutine
	stop  func()     // set once, by the resolver's goroutine

	// Guarded by box.mu.
	news      news
	queued    bool
	cancelled bool
}

// news is the newest that is known of a resource: a value, or an error in its
// place, and what else is wrong.
type news struct {
	resource *xds.Resource
	err      error
	ambient  error
}

// subscribe watches a resource; the resolver's goroutine runs apply with its news.
func (b *mailbox) subscribe(source Source, typeURL, name string, apply func(news)) *subscription {
	s := &subscription{box: b, apply: apply}
	s.stop = source.Watch(typeURL, name, s)
	return s
}

// ResourceChanged implements [xds.Watcher].
func (s *subscription) ResourceChanged(r xds.Resource) {
	s.put(func(n *news) { *n = news{resource: &r} })
}

// ResourceError implements [xds.Watcher].
func (s *subscription) ResourceError(err error) {
	s.put(func(n *news) { *n = news{err: err} })
}

// AmbientError implements [xds.Watcher].
func (s *subscription) AmbientError(err error) {
	s.put(func(n *news) { n.ambient = err })
}

func (s *subscription) put(write func(*news)) {
	s.box.mu.Lock()
	if !s.cancelled && !s.box.closed {
		write(&s.news)
		if !s.queued {
			s.queued = true
			s.box.subs = append(s.box.subs, s)
		}
	}
	s.box.mu.Unlock()
	s.box.ring()
}

// take returns the news, once. They are empty if the subscription was cancelled.
func (s *subscription) take() news {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	n := s.news
	s.news, s.queued = news{}, false
	return n
}

// failing reports whether the news are an error in place of a value.
func (s *subscription) failing() bool {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	return s.news.err != nil
}

// cancel ends the watch: no more news come out of it. Nil is no watch.
func (s *subscription) cancel() {
	if s == nil {
		return
	}
	s.box.mu.Lock()
	s.cancelled = true
	s.news = news{}
	s.box.mu.Unlock()
	s.stop()
}
