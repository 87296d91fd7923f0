package mesh

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
)

// refusedStreamError is a stream that an HTTP/2 server says it did not process
// (RFC 9113, section 8.7): by REFUSED_STREAM, or by a GOAWAY that does not cover it.
type refusedStreamError struct{ why string }

func (e *refusedStreamError) Error() string { return "weft: the server refused the stream: " + e.why }

// How net/http says that it would send a request again, and cannot. None of it can be
// told by errors.Is; TestRefusedStreams fails if it changes.
const (
	cannotRetry  = "http2: Transport: cannot retry err ["
	cannotRewind = "net/http: cannot rewind body after connection loss"
	goneAway     = "http2: Transport received GOAWAY from server" // on a first stream, which it does not send again
)

// once sends a request, in HTTP/2 only once where its attempts are policy's. net/http sends
// one again that a server refused, up to seven times, unless it has to read a body again that
// it cannot have twice, or the request's context has ended. What never got as far as a stream
// it still sends elsewhere.
func (x *exchange) once(p *pool, req *http.Request) (*http.Response, error) {
	aimed := p.aim(x.conn.endpoint, req)
	switch {
	case !p.streams() || x.call.Policy() == nil:
		return p.RoundTrip(aimed)
	case req.Body == nil || req.Body == http.NoBody:
		return x.onceBare(p, aimed)
	}
	resp, read, err := x.sole(p, req, aimed)
	// A connection that goes away before there is a stream has the body closed unread.
	for moves := 8; err != nil; moves-- {
		if read || err.Error() != cannotRewind || moves == 0 {
			return nil, refusal(err)
		}
		if req, err = rewind(req); err != nil {
			return nil, err
		}
		resp, read, err = x.sole(p, req, p.aim(x.conn.endpoint, req))
	}
	return resp, nil
}

// sole sends a request, which is of as it is aimed, with a body that net/http can send once.
// After an error it reports whether that was read.
func (x *exchange) sole(p *pool, of, req *http.Request) (resp *http.Response, read bool, err error) {
	sole := x.soleRequest(of, req)
	if sole == nil {
		sent := &sentRequest{Request: *req}
		sent.GetBody = nil
		x.body = &sent.answer
		resp, err = p.RoundTrip(&sent.Request)
		return resp, false, err // of a body that was read there is another error
	}
	if resp, err = p.RoundTrip(&sole.Request); err != nil {
		return nil, sole.body.end(), err
	}
	sole.body.settle(resp)
	return resp, false, nil
}

// soleRequest returns the request to send for req, which is of as it is aimed; nil if it can be
// sent as it is. net/http may read a body of HTTP/2 although it closed it, and reads it no more
// when the attempt has failed, unless the application ended that.
func (x *exchange) soleRequest(of, req *http.Request) *soleRequest {
	if of.Body == nil || of.Body == http.NoBody || closesNothing(of.Body) && !x.call.CutsAttempts() {
		return nil
	}
	sole := &soleRequest{Request: *req}
	sole.body.of, sole.body.source = of, of.Body
	sole.Body, sole.GetBody = &sole.body, nil
	return sole
}

// The types of io.NopCloser's bodies, by which http.NewRequest has one read that is in
// memory.
var (
	nopCloser         = reflect.TypeOf(io.NopCloser(nil))
	nopCloserWriterTo = reflect.TypeOf(io.NopCloser(new(bytes.Reader)))
)

// closesNothing reports whether a body can be read although it was closed.
func closesNothing(body io.ReadCloser) bool {
	t := reflect.TypeOf(body)
	return t == nopCloser || t == nopCloserWriterTo
}

// streams reports whether the pool's connections, if it has any, are of HTTP/2.
func (p *pool) streams() bool { return p.http2 || p.settles && p.settled.Load() }

// refusal returns the error as a refusedStreamError if it is one.
func refusal(err error) error {
	text := err.Error()
	if why, ok := strings.CutPrefix(text, cannotRetry); ok {
		why, _, _ = strings.Cut(why, "]")
		if strings.Contains(why, "REFUSED_STREAM") || strings.Contains(why, "GOAWAY") {
			return &refusedStreamError{why}
		}
		return errors.New(why) // PROTOCOL_ERROR
	}
	if strings.HasPrefix(text, goneAway) {
		return &refusedStreamError{text}
	}
	if text == leaving || strings.HasPrefix(text, "stream error: ") && strings.Contains(text, "; REFUSED_STREAM;") {
		return &refusedStreamError{text}
	}
	return err
}

// sentRequest is a request as it is sent and the body of what will answer it, which spares an
// allocation.
type sentRequest struct {
	http.Request
	answer answerBody
}

// soleRequest is a request with a body that net/http can send once.
type soleRequest struct {
	http.Request
	body soleBody
}

// soleBody is a request's body that is had again if it is closed before it was read: its
// connection went away before it had a stream there. Or there is an answer already: then
// net/http may read once more what it has closed, and does not close it again.
type soleBody struct {
	of *http.Request

	reading sync.Mutex // held while the source is read

	mu       sync.Mutex // http.Transport reads and closes from different goroutines
	source   io.ReadCloser
	read     bool // or not to be had again
	reopened bool
	closed   bool
}

func (b *soleBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	source, err := b.begin()
	if err != nil {
		return 0, err
	}
	return source.Read(p)
}

func (b *soleBody) begin() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed && b.read:
		return nil, http.ErrBodyReadAfterClose
	case b.closed:
		again, err := rewind(b.of)
		if err != nil {
			return nil, err
		}
		b.source, b.reopened, b.closed = again.Body, true, false
	}
	b.read = true
	return b.source, nil
}

func (b *soleBody) Close() error {
	b.mu.Lock()
	closed, source := b.closed, b.source
	b.closed = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	return source.Close()
}

// settle says that the request is answered: its body is not had again, and is no longer
// open than the answer's if that was done.
func (b *soleBody) settle(resp *http.Response) {
	b.mu.Lock()
	b.read = true
	reopened := b.reopened
	b.mu.Unlock()
	switch {
	case !reopened:
	case resp.Body == http.NoBody:
		b.end()
	default:
		resp.Body = &answeringBody{resp.Body, b}
	}
}

// answeringBody is the body of an answer that ends what is sent.
type answeringBody struct {
	io.ReadCloser
	request *soleBody
}

func (b *answeringBody) Close() error {
	b.request.end()
	return b.ReadCloser.Close()
}

// end closes the body for good, and reports whether it was read. net/http may still read it
// when a request was cancelled: that is waited for, except where others may read the source.
func (b *soleBody) end() bool {
	b.mu.Lock()
	read := b.read
	b.read = true // it is not had again
	b.mu.Unlock()
	_ = b.Close()
	if _, shared := b.of.Body.(*replayReader); !shared {
		b.reading.Lock()
		b.reading.Unlock() //nolint:staticcheck // nothing is to be done but to wait
	}
	return read
}
