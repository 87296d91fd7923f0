package mesh

import (
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
)

// givenBody is a body as filters get it. Whoever of them reads it closes it, and so does
// what reads on.
type givenBody struct {
	filter.Body
	once  sync.Once
	err   error
	ended func() // at its end; may be nil
}

func giveBody(r io.ReadCloser, length int64) filter.Body {
	b := filter.Body(&givenBody{Body: filter.BodyFrom(r)})
	if length >= 0 {
		return sizedBody{b, int(length)}
	}
	return b
}

func (b *givenBody) Next() ([]byte, error) {
	piece, err := b.Body.Next()
	if err == io.EOF && b.ended != nil { //nolint:errorlint // as net/http compares it
		b.ended()
	}
	return piece, err
}

func (b *givenBody) Close() error {
	b.once.Do(func() { b.err = b.Body.Close() })
	return b.err
}

// knownLength is the length of a request's body that is there, -1 if it is not known.
func knownLength(req *http.Request) int64 {
	if req.ContentLength == 0 { // which says nothing where there is a body
		return -1
	}
	return req.ContentLength
}

// sizedBody is a body whose length its header tells.
type sizedBody struct {
	filter.Body
	length int
}

func (b sizedBody) Len() int { return b.length }

// passedBody is a body that filters made of another.
type passedBody struct {
	io.ReadCloser
	given filter.Body // nil if there was none
}

func (b passedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.given != nil {
		if failed := b.given.Close(); err == nil {
			err = failed
		}
	}
	return err
}

// madeBody is a body that filters made, with its length, which is -1 if that is not known.
func madeBody(given, made filter.Body) (io.ReadCloser, int64) {
	if made == nil {
		made = filter.BodyOf(nil)
	}
	length := int64(-1)
	if n, ok := filter.BodyLen(made); ok {
		length = int64(n)
	}
	return passedBody{filter.BodyReader(made), given}, length
}

// remade returns req with the body that the filters made of its own.
func (x *exchange) remade(req *http.Request) *http.Request {
	given, made := x.call.RequestBody()
	if given == made {
		return req
	}
	r := *req
	r.GetBody, r.TransferEncoding = nil, nil
	r.Body, r.ContentLength = madeBody(given, made)
	if r.ContentLength == 0 {
		closeBody(&r)
		r.Body = http.NoBody
	}
	return &r
}

// remakes puts the body that the filters made in place of the response's.
func (x *exchange) remakes(resp *http.Response) {
	given, made := x.call.ResponseBody()
	if given == made {
		return
	}
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		_ = made.Close()
		return
	}
	resp.Body, resp.ContentLength = madeBody(given, made)
	resp.Header.Del("Content-Length")
	if resp.ContentLength >= 0 {
		resp.TransferEncoding = nil
		resp.Header.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
}

// conclude ends the exchange with an answer of policy or a filter: now, unless filters
// are still at its body.
func (x *exchange) conclude(req *http.Request, resp *http.Response) {
	if given, made := x.call.ResponseBody(); given != made {
		resp.Body = x.followed(req, resp)
		resp.Body = x.until(resp)
		return
	}
	x.end(balancer.Outcome{Code: resp.StatusCode})
}

// showBody shows a response's body to the filters that see the response next.
func (x *exchange) showBody(resp *http.Response) {
	if _, wanted := x.call.Bodies(); !wanted || resp.Body == http.NoBody || resp.Body == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return
	}
	given := &givenBody{Body: filter.BodyFrom(resp.Body)}
	given.ended = func() {
		if len(resp.Trailer) > 0 {
			x.call.Trailed(filter.OwnHTTPHeader(resp.Trailer))
		}
	}
	x.call.ShowBody(given)
}
