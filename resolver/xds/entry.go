package xds

import (
	"bytes"
	"time"

	"google.golang.org/grpc/codes"
)

// entry is what the client knows of one resource. Its fields are guarded by the
// client's mu.
type entry struct {
	sub  *subscription
	name string

	watches []*watch // none while the unsubscribing waits to be sent
	told    bool     // the server was told of the interest on the current stream
	again   bool     // it is to be told once more, to send what it believes we have

	held *Resource // the last good one; nil if there is none
	body []byte    // its serialized form
	hash uint64    // of body
	// err is what is wrong with the resource: without held the reason why there is
	// none, with held what the watchers know as an ambient error. Nil is fine.
	err *Error

	state     ResourceState
	changedAt time.Time // of state
	erredAt   time.Time // of err; zero if there was never one
	lastErr   error     // the last err there was

	said *item // what the response being applied says; nil between two

	absentAt  time.Time // when it will be taken not to exist; zero for never
	expiresAt time.Time // when its time to live ends; zero for never
}

// accept takes a good version of the resource.
func (e *entry) accept(version string, value any, body []byte) {
	same := e.held != nil && bytes.Equal(e.body, body)
	wasWrong := e.err
	e.absentAt, e.err = time.Time{}, nil
	e.become(ResourceAcked)
	switch {
	case !same:
		e.sub.forgetBody(e)
		e.body = body
		e.sub.rememberBody(e)
		e.held = &Resource{Name: e.name, Version: version, Value: value}
	case e.held.Version != version:
		e.held = &Resource{Name: e.name, Version: version, Value: e.held.Value}
	}
	if wasWrong != nil {
		e.sub.log("resource is good again", e.name)
	}
	if same && wasWrong == nil {
		return
	}
	for _, w := range e.watches {
		e.client().deliver(w, func(m *mail) { m.change(e.held) })
	}
}

// refresh sets or ends the resource's time to live.
func (e *entry) refresh(ttl time.Duration) {
	if ttl <= 0 {
		e.expiresAt = time.Time{}
		return
	}
	e.expiresAt = time.Now().Add(ttl)
	e.client().arm(e.expiresAt)
}

// reject notes a version of the resource that does not hold up.
func (e *entry) reject(err error) {
	e.become(ResourceNacked)
	e.wrong(&Error{Err: err}, e.sub.server.config.FailOnDataErrors)
}

// remove notes that the server has no such resource any more.
func (e *entry) remove(why error) {
	e.become(ResourceDoesNotExist)
	e.wrong(&Error{Kind: ErrNotFound, Err: why}, e.sub.server.config.FailOnDataErrors)
}

// refuse notes that the server says why it does not give the resource
// (resource_errors, xRFC TP3).
func (e *entry) refuse(code codes.Code, why error) {
	if code == codes.NotFound {
		e.remove(why)
		return
	}
	e.become(ResourceReceivedError)
	e.wrong(&Error{Err: why}, e.sub.server.config.FailOnDataErrors && code == codes.PermissionDenied)
}

// expire drops the resource at the end of its time to live.
func (e *entry) expire() {
	e.become(ResourceDoesNotExist)
	e.wrong(&Error{Kind: ErrNotFound, Err: errExpired}, true)
	if e.told {
		e.again = true
		e.sub.change(e)
	}
}

// wrong records an error about the resource and tells the watchers, if it is
// news. Drop says that what is held may not be used any longer.
func (e *entry) wrong(err *Error, drop bool) {
	err.Type, err.Name, err.Server = e.sub.typ.Name, e.name, e.sub.server.config.URI
	e.absentAt = time.Time{}
	e.erredAt, e.lastErr = time.Now(), err
	known := e.err != nil && e.err.Error() == err.Error()
	hadValue := e.held != nil
	if drop {
		e.drop()
	}
	e.err = err
	if known && (e.held != nil) == hadValue {
		return
	}
	if e.state != ResourceNacked { // which is logged with the response
		e.sub.warn(err, e.held != nil)
	}
	for _, w := range e.watches {
		e.client().deliver(w, func(m *mail) {
			if e.held != nil {
				m.ambient = err
			} else {
				m.fail(err)
			}
		})
	}
}

// disconnected tells the watchers that the server cannot be reached.
func (e *entry) disconnected(cause error) {
	err := e.unavailable(cause)
	if e.held == nil {
		// What was known of it may be over by the time there is a stream again.
		e.err = nil
		e.become(ResourceRequested)
	}
	e.erredAt, e.lastErr = time.Now(), err
	for _, w := range e.watches {
		e.client().deliver(w, func(m *mail) {
			if e.held != nil {
				m.ambient = err
			} else {
				m.fail(err)
			}
		})
	}
}

func (e *entry) unavailable(cause error) *Error {
	return &Error{
		Type: e.sub.typ.Name, Name: e.name, Server: e.sub.server.config.URI,
		Kind: ErrUnavailable, Err: cause,
	}
}

func (e *entry) drop() {
	e.sub.forgetBody(e)
	e.held, e.body, e.expiresAt = nil, nil, time.Time{}
}

func (e *entry) become(s ResourceState) {
	e.state, e.changedAt = s, time.Now()
}

func (e *entry) client() *Client { return e.sub.server.client }
