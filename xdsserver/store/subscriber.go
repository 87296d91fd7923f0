package store

import (
	"slices"
	"sync"
)

// maxDirtyNames is how many names of one type a subscriber remembers one by one.
// With more, comparing everything is about as cheap as comparing the names.
const maxDirtyNames = 128

// Subscriber is one stream's place in a store: the names it wants, and which of
// them may have changed since it last took them.
//
// Subscribe, Unsubscribe, SetWildcard and Close must not run at the same time as
// one another; Take and Wake may run beside them.
type Subscriber struct {
	store *Store
	id    uint64
	wake  chan struct{}

	mu    sync.Mutex
	dirty []Dirty
}

// Dirty is what may have changed in one type.
type Dirty struct {
	TypeURL string
	// All means that everything has to be compared; Names is then nil.
	All bool
	// Names is in no order, and a name can be in it twice.
	Names []string
}

// Wake returns the channel on which a value waits after something became dirty or
// Nudge was called.
func (s *Subscriber) Wake() <-chan struct{} { return s.wake }

// Nudge makes a value wait on Wake. It never blocks.
func (s *Subscriber) Nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Subscriber) mark(typeURL, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.dirty, func(d Dirty) bool { return d.TypeURL == typeURL })
	if i < 0 {
		i = len(s.dirty)
		s.dirty = append(s.dirty, Dirty{TypeURL: typeURL})
	}
	switch d := &s.dirty[i]; {
	case d.All:
	case len(d.Names) == maxDirtyNames:
		d.All, d.Names = true, nil
	default:
		d.Names = append(d.Names, name)
	}
	s.Nudge()
}

// Take returns what became dirty since the last Take, and the newest set. The two
// belong together: a resource for which nothing is dirty is in the set in the same
// version as in the set of the Take before.
func (s *Subscriber) Take() ([]Dirty, *Set) {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = nil
	return dirty, s.store.set.Load()
}

// Subscribe adds names of a type. It replaces the strings in names by equal ones
// that all subscribers share, so that a name subscribed a thousand times is in
// memory once. It does not make the names dirty: whoever subscribes knows that
// they have to be answered.
func (s *Subscriber) Subscribe(typeURL string, names []string) {
	if len(names) == 0 {
		return
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	x := s.store.index(typeURL)
	for i, name := range names {
		names[i] = x.add(name, s)
	}
}

// Unsubscribe takes names of a type back. Those that are not subscribed are ignored.
func (s *Subscriber) Unsubscribe(typeURL string, names []string) {
	if len(names) == 0 {
		return
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	x := s.store.index(typeURL)
	for _, name := range names {
		x.remove(name, s)
	}
	s.store.prune(typeURL)
}

// SetWildcard subscribes to all resources of a type, or ends that. Names that were
// subscribed stay so either way.
func (s *Subscriber) SetWildcard(typeURL string, on bool) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	x := s.store.index(typeURL)
	if on {
		x.wildcard.add(s)
		return
	}
	x.wildcard.remove(s)
	s.store.prune(typeURL)
}

// Close ends the subscriber's use of the store. What it subscribed has to be
// unsubscribed before.
func (s *Subscriber) Close() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	delete(s.store.subs, s)
}
