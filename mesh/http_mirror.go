package mesh

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// mirror sends copies of a request, as it is about to be sent, where policy wants
// copies. A body that can be had again is read at once, because the application may use
// its memory otherwise once it has the response; one that cannot is copied while the
// request's own connection reads it, and the copies are sent after it. Larger bodies
// than call.MaxMirrored are not mirrored.
func (x *exchange) mirror(t *transport, req *http.Request) *http.Request {
	if req.Method == http.MethodConnect || req.Header.Get("Upgrade") != "" {
		return req
	}
	var copies []*requestCopy
	all := t.mesh.mirrors
	for _, m := range x.call.Mirrors(all) {
		copies = append(copies, newRequestCopy(t, m, req))
	}
	switch {
	case copies == nil:
	case req.Body == nil || req.Body == http.NoBody:
		for _, c := range copies {
			go c.send(nil)
		}
	case req.GetBody == nil:
		r := *req
		r.Body = &mirroredBody{ReadCloser: req.Body, length: req.ContentLength, all: all, copies: copies}
		return &r
	default:
		sendCopies(all, copies, bodyOf(all, req))
	}
	return req
}

// bodyOf returns the body of a request that can make it again, held; nil if it cannot
// be mirrored.
func bodyOf(all *call.Mirrors, req *http.Request) []byte {
	size := call.MaxMirrored
	if n := req.ContentLength; n > 0 {
		size = int(min(n, call.MaxMirrored+1))
	}
	if !all.Hold(size) {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		all.Free(size)
		return nil
	}
	defer body.Close()
	data := bytes.NewBuffer(make([]byte, 0, min(size, 4096)))
	n, err := data.ReadFrom(io.LimitReader(body, int64(size)+1))
	all.Free(size)
	if n > int64(size) {
		all.Drop("a body too large")
		return nil
	}
	if err != nil || !all.Hold(int(n)) {
		return nil
	}
	return data.Bytes()
}

// sendCopies sends copies with a body that is held, or drops them where it is nil.
func sendCopies(all *call.Mirrors, copies []*requestCopy, data []byte) {
	if data == nil {
		dropCopies(copies)
		return
	}
	var sent sync.WaitGroup
	for _, c := range copies {
		sent.Go(func() { c.send(data) })
	}
	go func() {
		sent.Wait()
		all.Free(len(data))
	}()
}

func dropCopies(copies []*requestCopy) {
	for _, c := range copies {
		c.mirror.End(balancer.Outcome{Err: balancer.ErrUnsent})
	}
}

// requestCopy is one copy of a request, to be sent elsewhere.
type requestCopy struct {
	transport *transport
	mirror    *call.Mirror
	req       *http.Request
}

// newRequestCopy copies all of a request but its body.
func newRequestCopy(t *transport, m *call.Mirror, req *http.Request) *requestCopy {
	r := req.Clone(m.Context(call.MirrorTimeout))
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	header := filter.OwnHTTPHeader(r.Header)
	m.Policy.Headers(&m.Call.Request, &header, protocolOf(req), r.Host, m.Of)
	r.Host = m.Policy.Host(r.Host, false)
	m.Call.Request.Headers = headers(r.Header)
	r.Body, r.GetBody, r.ContentLength = nil, nil, 0
	r.Trailer, r.TransferEncoding, r.Cancel, r.Response = nil, nil, nil, nil //nolint:staticcheck // Cancel is deprecated, and may be set
	return &requestCopy{t, m, r}
}

// send sends the copy, and throws its answer away.
func (c *requestCopy) send(data []byte) {
	if len(data) > 0 {
		c.req.ContentLength = int64(len(data))
		c.req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		c.req.Body, _ = c.req.GetBody()
	}
	x := &exchange{call: c.mirror.Call}
	resp, err := x.send(c.transport, c.req)
	o := call.Unanswered(c.req.Context(), err)
	if err == nil {
		o = balancer.Outcome{Code: resp.StatusCode}
		// A response that is read to its end leaves its connection for the next.
		_, _ = io.CopyN(io.Discard, resp.Body, call.MaxMirrored)
		resp.Body.Close()
	}
	if x.conn != nil {
		defer x.conn.released()
	}
	if x.cancel != nil {
		x.cancel()
	}
	c.mirror.Call = x.call
	c.mirror.End(o)
}

// mirroredBody is a request's body of which copies are wanted. It is read at the pace
// of the request's own connection.
type mirroredBody struct {
	io.ReadCloser
	length int64 // 0 or less if it is not known
	all    *call.Mirrors

	mu     sync.Mutex // http.Transport reads and closes from different goroutines
	copies []*requestCopy
	data   []byte // as held
}

func (b *mirroredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.copies == nil {
		return n, err
	}
	switch {
	case len(b.data)+n > call.MaxMirrored || b.length > call.MaxMirrored:
		b.all.Drop("a body too large")
		b.drop()
	case n > 0 && !b.all.Hold(n):
		b.drop()
	default:
		b.data = append(b.data, p[:n]...)
		if err == io.EOF || b.length > 0 && int64(len(b.data)) == b.length {
			if b.data == nil {
				b.data = []byte{}
			}
			sendCopies(b.all, b.copies, b.data)
			b.copies, b.data = nil, nil
		}
	}
	return n, err
}

// Close drops the copies of a body that was not read to its end.
func (b *mirroredBody) Close() error {
	b.mu.Lock()
	b.drop()
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

func (b *mirroredBody) drop() {
	dropCopies(b.copies)
	b.all.Free(len(b.data))
	b.copies, b.data = nil, nil
}
