package xds

import (
	"bytes"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

// response is a response of either dialect, with its resources still serialized.
type response struct {
	typeURL string
	version string // SotW only
	nonce   string
	items   []item
	removed []string // delta only
	refused []refusal
}

// item is one resource of a response.
type item struct {
	name    string // empty if only the body tells
	version string
	typeURL []byte // of the body
	body    []byte // nil if there was none: a heartbeat
	ttl     time.Duration
	value   any

	unwanted bool  // nobody asked for it
	known    bool  // its value is the one that is held
	err      error // it is bad
}

// refusal is an entry of resource_errors (xRFC TP3).
type refusal struct {
	name    string
	code    codes.Code
	message string
}

// recall marks what needs no decoding: resources that nobody asked for, and those
// whose bytes are held already. Called with mu held.
func (s *subscription) recall(r *response) {
	for i := range r.items {
		it := &r.items[i]
		if it.err != nil || it.body == nil {
			continue
		}
		if string(it.typeURL) != s.typ.URL {
			it.err = fmt.Errorf("its type is %q", it.typeURL)
			continue
		}
		e := s.entries[it.name]
		switch {
		case it.name == "":
			if e = s.holderOf(it.body); e == nil {
				continue
			}
		case e == nil:
			it.unwanted = true
			continue
		case e.held == nil || !bytes.Equal(e.body, it.body):
			continue
		}
		// The value comes along: by the time it is applied the entry may be another.
		it.name, it.body, it.value, it.known = e.name, e.body, e.held.Value, true
	}
}

// decode decodes what recall left. The bodies of several are copied out of the
// response, so that one resource which is kept does not keep all of them.
func (r *response) decode(t ResourceType) {
	for i := range r.items {
		it := &r.items[i]
		if it.err != nil || it.unwanted || it.known || it.body == nil {
			continue
		}
		if len(r.items) > 1 {
			it.body = bytes.Clone(it.body)
		}
		name, value, err := decodeSafely(t, it.body)
		if it.name == "" {
			// The name in a Resource wrapper is what was asked for; it stands.
			it.name = canonicalName(name)
		}
		it.value, it.err = value, err
		if it.name == "" && err == nil {
			it.err = errNameless
		}
	}
}

func decodeSafely(t ResourceType, body []byte) (name string, value any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding it panicked: %v", p)
		}
	}()
	return t.Decode(body)
}
