package mesh

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// A request whose connection could not be made has sent nothing and may go to
// another endpoint, but http.Transport has closed its body by then. A body that
// GetBody can make again is left alone, because http.Transport knows the types of
// in-memory bodies and sends those in one write. Others get a guard that keeps a
// body open until it has been read from.

// needsGuard is also false for a request that has none.
func needsGuard(req *http.Request) bool {
	return req.GetBody == nil && req.Body != nil && req.Body != http.NoBody
}

// guard returns a copy of req with its body guarded.
func guard(req *http.Request) *http.Request {
	r := *req
	r.Body = &guardedBody{body: req.Body}
	return &r
}

// guardedBody lets an unread body be closed without losing it, until it is
// committed: by the first read, or because the request will not be sent again.
type guardedBody struct {
	body io.ReadCloser

	mu        sync.Mutex // http.Transport reads and closes from different goroutines
	committed bool
	closed    bool // Close was called
	ended     bool // and passed on
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	closed := b.closed
	b.committed = true
	b.mu.Unlock()
	if closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return readBody(b.body, p)
}

func (b *guardedBody) Close() error { return b.update(false, true) }

// update commits or closes it. The body is closed once it is both.
func (b *guardedBody) update(committed, closed bool) error {
	b.mu.Lock()
	b.committed = b.committed || committed
	b.closed = b.closed || closed
	end := b.committed && b.closed && !b.ended
	b.ended = b.ended || end
	b.mu.Unlock()
	if !end {
		return nil
	}
	return b.body.Close()
}

// take returns the body for another request, false if it was committed.
func (b *guardedBody) take() (io.ReadCloser, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.committed {
		return nil, false
	}
	b.committed, b.ended = true, true
	return b.body, true
}

var errBodySent = errors.New("weft: the connection failed after part of the request's body was read")

// renewed returns the request of another attempt, or an error if the body is lost.
func renewed(req *http.Request) (*http.Request, error) {
	if b, ok := req.Body.(*replayReader); ok {
		return reread(req, b, &upload{})
	}
	return rewind(req)
}

func reread(req *http.Request, of *replayReader, u *upload) (*http.Request, error) {
	body := of.reader(u)
	if body == nil {
		return nil, errBodySent
	}
	r := *req
	r.Body = body
	return &r, nil
}

// rewind returns a request that can be sent again, or an error if the body cannot.
func rewind(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	r := *req
	if g, ok := req.Body.(*guardedBody); ok {
		body, ok := g.take()
		if !ok {
			return nil, errBodySent
		}
		r.Body = &guardedBody{body: body}
		return &r, nil
	}
	if b, ok := req.Body.(*replayReader); ok {
		return reread(req, b, b.upload)
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	r.Body = body
	return &r, nil
}

// commit says that req will not be sent again, so that whoever sent it last closes
// its body for good.
func commit(req *http.Request) {
	if g, ok := req.Body.(*guardedBody); ok {
		_ = g.update(true, false)
	}
}

// closeBody closes the body of a request that nobody sends.
func closeBody(req *http.Request) {
	if req.Body != nil {
		commit(req)
		_ = req.Body.Close()
	}
}
