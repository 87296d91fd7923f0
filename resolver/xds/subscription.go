package xds

import (
	"bytes"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// subscription is everything of one type at one server. Its fields are guarded by
// the client's mu.
type subscription struct {
	server  *server
	typ     ResourceType
	entries map[string]*entry
	// bodies finds the holder of a serialized resource by its hash, for SotW
	// resources, whose name would only be known after decoding.
	bodies map[uint64]*entry

	version   string // the last SotW version accepted
	complaint string // about the last response that was bad, to log each once

	// The following belong to the current stream.

	begun   bool                // a request of the type was sent
	changed map[string]struct{} // names whose interest the server may not know
	acks    []ack               // to be sent, oldest first
	nonce   string              // of the newest response
	names   []string            // all names watched, sorted; nil when not known
}

// ack answers one response; a NACK if err is not empty.
type ack struct {
	nonce string
	err   string
}

// maxAcks bounds the answers that wait for a server which does not read. Beyond
// it the oldest is left out: a newer one implies it.
const maxAcks = 64

func newSubscription(s *server, t ResourceType) *subscription {
	return &subscription{
		server:  s,
		typ:     t,
		entries: make(map[string]*entry),
		bodies:  make(map[uint64]*entry),
		changed: make(map[string]struct{}),
	}
}

// entry returns the entry of a name, and sees to it that the server is asked.
func (s *subscription) entry(name string) *entry {
	e, ok := s.entries[name]
	if !ok {
		e = &entry{sub: s, name: name}
		e.become(ResourceRequested)
		s.entries[name] = e
	}
	if len(e.watches) == 0 {
		s.change(e)
	}
	return e
}

// abandon is called when the last watch of an entry was cancelled. An entry that
// the server knows of stays until it has been told, so that a watch which comes
// back at once finds it; any other goes now, so that what was never sent leaves
// nothing behind.
func (s *subscription) abandon(e *entry) {
	if !e.told {
		s.remove(e)
		return
	}
	s.change(e)
}

// change notes that the server has to hear of an entry.
func (s *subscription) change(e *entry) {
	s.names = nil
	s.changed[e.name] = struct{}{}
	s.server.wake()
}

func (s *subscription) remove(e *entry) {
	if e.err != nil && e.held != nil {
		s.log("resource with an error is no longer watched", e.name)
	}
	s.forgetBody(e)
	delete(s.entries, e.name)
	delete(s.changed, e.name)
	s.names = nil
}

// answer queues the answer to a response.
func (s *subscription) answer(a ack) {
	if len(s.acks) == maxAcks {
		s.acks = slices.Delete(s.acks, 0, 1)
	}
	s.acks = append(s.acks, a)
	s.server.wake()
}

// due reports whether there is something to send.
func (s *subscription) due() bool { return len(s.acks) > 0 || len(s.changed) > 0 }

// settle takes the changes for the next request: the entries to ask for, and the
// names to ask for no longer, whose entries are gone now. Both are sorted.
func (s *subscription) settle() (ask []*entry, drop []string) {
	for name := range s.changed {
		e, ok := s.entries[name]
		switch {
		case !ok:
		case len(e.watches) == 0:
			if e.told {
				drop = append(drop, name)
			}
			s.remove(e)
		case !e.told || e.again:
			e.told, e.again = true, false
			ask = append(ask, e)
		}
	}
	clear(s.changed)
	slices.SortFunc(ask, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	slices.Sort(drop)
	return ask, drop
}

// watched returns all names, sorted. The slice must not be changed.
func (s *subscription) watched() []string {
	if s.names == nil {
		s.names = make([]string, 0, len(s.entries))
		for name, e := range s.entries {
			if len(e.watches) > 0 {
				s.names = append(s.names, name)
			}
		}
		slices.Sort(s.names)
	}
	return s.names
}

// restart follows the end of a stream: everything has to be asked for again.
func (s *subscription) restart() {
	s.begun, s.acks, s.nonce = false, nil, ""
	for _, e := range s.entries {
		e.told, e.again = false, false
		e.absentAt = time.Time{} // the time runs only while the server could answer (gRFC A57)
		if len(e.watches) == 0 {
			s.remove(e)
		} else {
			s.change(e)
		}
	}
}

// forgetVersions follows a change of dialect: the versions of one mean nothing in
// the other.
func (s *subscription) forgetVersions() {
	s.version = ""
	for _, e := range s.entries {
		if e.held != nil {
			e.held = &Resource{Name: e.held.Name, Value: e.held.Value}
		}
	}
}

// holderOf returns the entry that holds exactly this body, or nil.
func (s *subscription) holderOf(body []byte) *entry {
	e := s.bodies[maphash.Bytes(bodySeed, body)]
	if e == nil || !bytes.Equal(e.body, body) {
		return nil
	}
	return e
}

func (s *subscription) rememberBody(e *entry) {
	e.hash = maphash.Bytes(bodySeed, e.body)
	s.bodies[e.hash] = e
}

func (s *subscription) forgetBody(e *entry) {
	if s.bodies[e.hash] == e {
		delete(s.bodies, e.hash)
	}
}

var bodySeed = maphash.MakeSeed()

func (s *subscription) log(message, name string) {
	s.server.client.later(func() {
		s.server.log.Info(message, slog.String("type", s.typ.Name), slog.String("resource", name))
	})
}

func (s *subscription) warn(err *Error, kept bool) {
	s.server.client.later(func() {
		s.server.log.Warn("resource has an error", slog.Any("error", err), slog.Bool("last_good_kept", kept))
	})
}

func (s *subscription) report(complaint string) {
	if complaint == "" {
		return
	}
	s.server.client.later(func() {
		s.server.log.Warn("resources rejected", slog.String("type", s.typ.Name), slog.String("error", complaint))
	})
}
