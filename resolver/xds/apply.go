package xds

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

var (
	errNameless  = errors.New("it has no name")
	errTwice     = errors.New("it is in the response twice, and not the same")
	errHeartbeat = errors.New("it has no body, and is not the version that is held")
	errRemoved   = errors.New("removed by the server")
)

// apply takes a decoded response into the cache, tells the watchers, and queues
// the answer. Called with mu held.
func (s *subscription) apply(r *response, d dialect) {
	var bad complaints
	nameless := false
	for i := range r.items {
		it := &r.items[i]
		if it.name == "" {
			nameless = true
			bad.add(s.typ.Name, fmt.Sprintf("[%d]", i), it.err)
			continue
		}
		e := s.entries[it.name]
		if e == nil {
			continue
		}
		if e.said != nil && e.said.err == nil {
			// The first stands, unless it was bad.
			if !bytes.Equal(e.said.body, it.body) {
				bad.add(s.typ.Name, it.name, errTwice)
			}
			continue
		}
		e.said = it
		if err := e.take(it); err != nil {
			bad.add(s.typ.Name, it.name, err)
		}
	}
	for _, f := range r.refused {
		if e := s.entries[f.name]; e != nil && e.said == nil {
			e.refuse(f.code, errors.New(f.message))
		}
	}
	for _, name := range r.removed {
		if e := s.entries[name]; e != nil && e.said == nil {
			e.remove(errRemoved)
		}
	}
	if d.absentIsRemoved(s.typ) && !nameless {
		for _, e := range s.entries {
			// One that was never received may have been asked for after the response
			// was made. Its time is running.
			if e.held != nil && e.said == nil && e.state != ResourceDoesNotExist {
				e.remove(errRemoved)
			}
		}
	}
	for i := range r.items {
		if e := s.entries[r.items[i].name]; e != nil {
			e.said = nil
		}
	}
	if bad.count == 0 {
		s.version = r.version
	}
	if bad.String() != s.complaint {
		s.complaint = bad.String()
		s.report(bad.String())
	}
	s.nonce = r.nonce
	if r.nonce == "" {
		// An answer without a nonce would be taken for a new request, and answered.
		return
	}
	s.answer(ack{nonce: r.nonce, err: bad.String()})
}

// take applies one resource of a response, and returns what is wrong with it.
func (e *entry) take(it *item) error {
	if it.unwanted {
		return nil // whoever asked for it since then has an answer of their own to come
	}
	if it.err == nil && it.body == nil {
		// A heartbeat: it may only say how long what is held stays good.
		if e.held == nil || e.held.Version != it.version {
			return errHeartbeat
		}
		e.refresh(it.ttl)
		return nil
	}
	if it.err != nil {
		e.reject(it.err)
		return it.err
	}
	e.accept(it.version, it.value, it.body)
	e.refresh(it.ttl)
	return nil
}

// complaints collects what is wrong with a response, for error_detail (gRFC A46).
type complaints struct {
	text  strings.Builder
	count int
}

// maxComplaints bounds the text of a NACK, in bytes; it is sent as one message.
const maxComplaints = 16 << 10

func (c *complaints) add(typ, name string, err error) {
	c.count++
	if c.text.Len() > maxComplaints {
		return
	}
	if c.text.Len() > 0 {
		c.text.WriteString("; ")
	}
	fmt.Fprintf(&c.text, "%s %s: %v", typ, name, err)
}

func (c *complaints) String() string {
	s := c.text.String()
	if len(s) > maxComplaints {
		s = fmt.Sprintf("%s... (%d bad resources in all)", s[:maxComplaints], c.count)
	}
	return strings.ToValidUTF8(s, "?")
}
