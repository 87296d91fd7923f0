package store

import (
	"sync"
	"sync/atomic"
)

// Store publishes sets of resources and tells subscribers what changed. It is safe
// for concurrent use.
type Store struct {
	applying sync.Mutex // one Apply at a time, the costly part of it outside mu

	set atomic.Pointer[Set]

	// mu makes publishing a set and marking what it changed one step for Take.
	mu      sync.RWMutex
	indexes map[string]*index
	subs    map[*Subscriber]struct{}
	nextID  uint64
}

// New returns a store to which nothing was applied yet: its set is nil.
func New() *Store {
	return &Store{indexes: make(map[string]*index), subs: make(map[*Subscriber]struct{})}
}

// Current returns the newest set, nil before the first Apply. It is one atomic load.
func (s *Store) Current() *Set { return s.set.Load() }

// Apply replaces everything that the store serves by entries, marks what changed
// for those who subscribed to it, and wakes them. It waits for nobody. After an
// error, which names every entry that cannot be served, the old set stays.
//
// The first Apply wakes every subscriber, whatever it wants: that a resource does
// not exist is known only now.
func (s *Store) Apply(entries []Entry) (Change, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	old := s.set.Load()
	set, err := build(entries, old)
	if err != nil {
		return nil, err
	}
	change := compare(old, set)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.set.Store(set)
	for typeURL, tc := range change {
		if x := s.indexes[typeURL]; x != nil {
			x.mark(typeURL, tc.Added)
			x.mark(typeURL, tc.Changed)
			x.mark(typeURL, tc.Removed)
		}
	}
	if old == nil {
		for sub := range s.subs {
			sub.Nudge()
		}
	}
	return change, nil
}

// Subscriber returns a new subscriber that wants nothing yet. It has to be closed.
func (s *Store) Subscriber() *Subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	sub := &Subscriber{store: s, id: s.nextID, wake: make(chan struct{}, 1)}
	s.subs[sub] = struct{}{}
	return sub
}

// index returns the index of a type. It is called with mu held.
func (s *Store) index(typeURL string) *index {
	x := s.indexes[typeURL]
	if x == nil {
		x = &index{byName: make(map[string]*audience)}
		s.indexes[typeURL] = x
	}
	return x
}

func (s *Store) prune(typeURL string) {
	if x := s.indexes[typeURL]; x != nil && x.empty() {
		delete(s.indexes, typeURL)
	}
}

// Watched tells whether there is any subscriber, or any name subscribed.
func (s *Store) Watched() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.subs)+len(s.indexes) > 0
}
