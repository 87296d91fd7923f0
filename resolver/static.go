package resolver

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weft-mesh/weft/resolver/xds"
)

// Static is a [Source] of resources that the program itself has: the embedded
// control plane. What a control plane's client does over the wire, it does in
// memory. It runs no goroutine: watchers are called by whoever calls Set or Watch,
// one call after the other, and must not block.
type Static struct {
	types []xds.ResourceType // in the order in which changes are told

	setting sync.Mutex // one Set at a time

	mu         sync.Mutex
	set        bool // Set was called
	entries    map[resourceKey]*staticEntry
	queue      []func() // calls of watchers to make
	delivering bool
}

// StaticResource is one resource as a control plane would send it.
type StaticResource struct {
	Name    string
	Version string // for people; may be empty
	Raw     []byte // serialized; not changed by either side
}

type resourceKey struct{ typeURL, name string }

// staticEntry is a resource that exists or is watched.
type staticEntry struct {
	raw      []byte
	resource *xds.Resource // the last good one; nil if there is none
	err      error         // why what was set last was refused
	watches  []*staticWatch
}

type staticWatch struct {
	watcher   xds.Watcher
	cancelled bool // guarded by the Static's mu
}

// NewStatic returns a source without resources, which answers no watch before the
// first Set. The types should come from [Types].
func NewStatic(types []xds.ResourceType) *Static {
	// Clusters come before the routes that name them.
	s := &Static{entries: make(map[resourceKey]*staticEntry)}
	for _, url := range []string{ClusterURL, EndpointsURL, ListenerURL, RouteConfigURL} {
		for _, t := range types {
			if t.URL == url {
				s.types = append(s.types, t)
			}
		}
	}
	for _, t := range types {
		if !slices.ContainsFunc(s.types, func(o xds.ResourceType) bool { return o.URL == t.URL }) {
			s.types = append(s.types, t)
		}
	}
	return s
}

// Set replaces all resources, by type URL. Watchers hear of those whose bytes
// changed, and that the ones left out do not exist. A bad resource is refused as a
// NACK would: the error names it and the last good one stays, while the others are
// used. Set may be called from any goroutine.
func (s *Static) Set(resources map[string][]StaticResource) error {
	s.setting.Lock()
	defer s.setting.Unlock()

	var errs []error
	for url := range resources {
		if !slices.ContainsFunc(s.types, func(t xds.ResourceType) bool { return t.URL == url }) {
			errs = append(errs, fmt.Errorf("%s: %w", url, ErrUnsupported))
		}
	}
	exist := make(map[resourceKey]bool)
	for _, t := range s.types {
		for _, r := range resources[t.URL] {
			key := resourceKey{t.URL, r.Name}
			if exist[key] {
				errs = append(errs, &xds.Error{Type: t.Name, Name: r.Name, Err: errors.New("there are two of this name")})
				continue
			}
			exist[key] = true
			if err := s.setOne(t, r); err != nil {
				errs = append(errs, err)
			}
		}
	}
	s.mu.Lock()
	s.set = true
	for _, t := range slices.Backward(s.types) {
		for key := range s.entries {
			if key.typeURL == t.URL && !exist[key] {
				s.remove(t, key)
			}
		}
	}
	s.mu.Unlock()
	s.deliver()
	return errors.Join(errs...)
}

// setOne takes over one resource.
func (s *Static) setOne(t xds.ResourceType, r StaticResource) error {
	key := resourceKey{t.URL, r.Name}
	s.mu.Lock()
	if e := s.entries[key]; e != nil && e.raw != nil && bytes.Equal(e.raw, r.Raw) {
		defer s.mu.Unlock()
		return e.err
	}
	s.mu.Unlock()

	name, value, err := t.Decode(r.Raw)
	if err == nil && name != r.Name {
		err = fmt.Errorf("its name is %q", name)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(key)
	e.raw, e.err = slices.Clip(r.Raw), nil
	if e.raw == nil {
		e.raw = []byte{}
	}
	if err != nil {
		e.err = &xds.Error{Type: t.Name, Name: r.Name, Err: err}
	} else {
		e.resource = &xds.Resource{Name: r.Name, Version: r.Version, Value: value}
	}
	for _, w := range e.watches {
		s.tell(e, w, t)
	}
	return e.err
}

// remove takes a resource away. Called with mu held.
func (s *Static) remove(t xds.ResourceType, key resourceKey) {
	e := s.entries[key]
	fresh := e.raw == nil && e.err != nil // they know already
	e.raw, e.resource = nil, nil
	e.err = &xds.Error{Type: t.Name, Name: key.name, Kind: xds.ErrNotFound}
	if !fresh {
		for _, w := range e.watches {
			s.tell(e, w, t)
		}
	}
	if len(e.watches) == 0 {
		delete(s.entries, key)
	}
}

func (s *Static) entry(key resourceKey) *staticEntry {
	e := s.entries[key]
	if e == nil {
		e = &staticEntry{}
		s.entries[key] = e
	}
	return e
}

// tell queues for a watcher what is to say of an entry. Called with mu held.
func (s *Static) tell(e *staticEntry, w *staticWatch, t xds.ResourceType) {
	resource, err := e.resource, e.err
	s.queue = append(s.queue, func() {
		switch {
		case resource == nil:
			w.watcher.ResourceError(err)
		case err != nil:
			w.watcher.AmbientError(err)
		default:
			w.watcher.ResourceChanged(*resource)
		}
	})
	last := len(s.queue) - 1
	call := s.queue[last]
	s.queue[last] = func() {
		s.mu.Lock()
		cancelled := w.cancelled
		s.mu.Unlock()
		if !cancelled {
			call()
		}
	}
}

// deliver makes the queued calls, unless someone is at it.
func (s *Static) deliver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delivering {
		return
	}
	s.delivering = true
	for len(s.queue) > 0 {
		call := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		call()
		s.mu.Lock()
	}
	s.queue, s.delivering = nil, false
}

// Watch implements [Source]. The watcher may be called before Watch returns.
func (s *Static) Watch(typeURL, name string, watcher xds.Watcher) (cancel func()) {
	key := resourceKey{typeURL, name}
	w := &staticWatch{watcher: watcher}
	s.mu.Lock()
	e := s.entry(key)
	e.watches = append(e.watches, w)
	if t := s.typeOf(typeURL); s.set || e.raw != nil {
		if e.resource == nil && e.err == nil {
			e.err = &xds.Error{Type: t.Name, Name: name, Kind: xds.ErrNotFound}
		}
		if e.resource != nil && e.err != nil {
			// The good one first.
			good := &staticEntry{resource: e.resource}
			s.tell(good, w, t)
		}
		s.tell(e, w, t)
	}
	s.mu.Unlock()
	s.deliver()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.cancelled = true
		e.watches = slices.DeleteFunc(e.watches, func(o *staticWatch) bool { return o == w })
		if len(e.watches) == 0 && e.raw == nil && s.entries[key] == e {
			delete(s.entries, key)
		}
	}
}

func (s *Static) typeOf(url string) xds.ResourceType {
	for _, t := range s.types {
		if t.URL == url {
			return t
		}
	}
	return xds.ResourceType{URL: url, Name: url}
}
