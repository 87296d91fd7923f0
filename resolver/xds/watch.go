package xds

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Resource is one accepted resource. It is immutable.
type Resource struct {
	// Name is the name it was watched by; the parameters of an "xdstp:" name are
	// sorted.
	Name string
	// Version is the server's: the resource's own in delta, the response's in
	// state of the world. Empty with servers that do not version resources.
	Version string
	// Value is what the type's Decode returned.
	Value any
}

// Watcher is told about one resource (gRFC A88). The calls for one Watch come one
// after the other and in order, from a goroutine of the client that holds no lock:
// a watcher may call Watch and cancel. It must not block, for that stops the
// reading from the server, nor call [Client.Close]. What is overtaken before it
// could be delivered is left out: a watcher always learns the latest state, not
// always each on the way there.
type Watcher interface {
	// ResourceChanged brings a good value. It is repeated with the same value when
	// an error about the resource is over.
	ResourceChanged(Resource)
	// ResourceError says that there is no usable value: stop using what you had.
	// [ErrNotFound] and [ErrUnavailable] say why; anything else is a resource that
	// was refused. A value may still come later.
	ResourceError(error)
	// AmbientError says that something is wrong; keep what you have.
	AmbientError(error)
}

// Watch tells w about the resource of that type and name until cancel is called.
// What is known already is told at once: not from inside of Watch, but perhaps
// before it returns. A call to w that is on its way when another goroutine cancels may still arrive; after a
// cancel from inside of a call to w there is none. A closed client tells nothing.
// Watch and cancel may be called concurrently and do not wait for the network or
// for a watcher; cancel may be called more than once.
func (c *Client) Watch(typeURL, name string, w Watcher) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()

	watch := &watch{watcher: w}
	if c.closed {
		return func() {}
	}
	typ, s, name, err := c.locate(typeURL, name)
	if err != nil {
		c.deliver(watch, func(m *mail) { m.fail(&Error{Type: typ.Name, Name: name, Err: err}) })
		return func() { c.cancel(watch) }
	}
	e := s.subscriptionTo(typ).entry(name)
	e.watches = append(e.watches, watch)
	watch.entry = e
	s.start()
	c.tellKnown(e, watch)
	return func() { c.cancel(watch) }
}

// locate finds who serves a resource. Called with mu held.
func (c *Client) locate(typeURL, name string) (ResourceType, *server, string, error) {
	typ, ok := c.types[typeURL]
	if !ok {
		return ResourceType{Name: typeURL}, nil, name, errors.New("the type is not among Config.Types")
	}
	if name == "" || !utf8.ValidString(name) {
		return typ, nil, name, errors.New("the name is empty or not valid UTF-8")
	}
	servers := c.config.Servers
	if n, ok, err := parseName(name); err != nil {
		return typ, nil, name, err
	} else if ok {
		a, known := c.config.Authorities[n.authority]
		switch {
		case !known:
			return typ, nil, name, fmt.Errorf("authority %q is not in the bootstrap", n.authority)
		case "type.googleapis.com/"+n.typ != typeURL:
			return typ, nil, name, fmt.Errorf("the name is that of a %s", n.typ)
		}
		name = n.canonical
		if len(a.Servers) > 0 {
			servers = a.Servers
		}
	}
	if len(servers) == 0 {
		return typ, nil, name, errors.New("there is no server for names without an authority")
	}
	return typ, c.serverFor(servers[0]), name, nil
}

// tellKnown tells a new watch what a cached entry has to say. Called with mu held.
func (c *Client) tellKnown(e *entry, w *watch) {
	c.deliver(w, func(m *mail) {
		switch {
		case e.held != nil:
			m.change(e.held)
			if e.err != nil {
				m.ambient = e.err
			}
		case e.err != nil:
			m.fail(e.err)
		case e.sub.server.failure != nil:
			m.fail(e.unavailable(e.sub.server.failure))
		}
	})
}

// watch is one call of Watch.
type watch struct {
	watcher Watcher

	// Guarded by the client's mu.
	entry     *entry // nil if the resource cannot be had from anyone
	mail      mail
	queued    bool
	cancelled bool
}

func (c *Client) cancel(w *watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.cancelled {
		return
	}
	w.cancelled = true
	w.mail = mail{}
	if e := w.entry; e != nil {
		e.watches = slices.DeleteFunc(e.watches, func(o *watch) bool { return o == w })
		if len(e.watches) == 0 {
			e.sub.abandon(e)
		}
	}
}

// mail is what a watcher has not been told yet, and no more than the latest.
type mail struct {
	resource *Resource // or
	err      error
	ambient  error // told after them
}

func (m *mail) change(r *Resource) { *m = mail{resource: r} }
func (m *mail) fail(err error)     { *m = mail{err: err} }
func (m *mail) empty() bool        { return m.resource == nil && m.err == nil && m.ambient == nil }
