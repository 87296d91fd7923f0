package mesh

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// answerBody is the body of a response, with which its exchange ends. The application may
// keep it for as long as it likes, and so it is apart from the exchange, which is long and
// serves again.
type answerBody struct {
	io.ReadCloser
	exchange atomic.Pointer[exchange] // nil once it has ended; a body may be closed while it is read
}

// until returns the body of a response, with which x ends.
func (x *exchange) until(resp *http.Response) *answerBody {
	x.status = resp.StatusCode
	b := x.body
	if b == nil {
		b = new(answerBody)
	}
	b.ReadCloser = resp.Body
	b.exchange.Store(x)
	return b
}

// Read reads the body and notices its end.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(err)
	}
	return n, err
}

// Close closes the body.
func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	if b.exchange.Load() != nil { // it was not read to its end
		b.end(nil)
	}
	return err
}

// end ends the exchange of a body that was closed, or read until err.
func (b *answerBody) end(err error) {
	x := b.exchange.Swap(nil)
	if x == nil {
		return
	}
	if err == io.EOF || call.GaveUp(err) { //nolint:errorlint // as net/http compares it
		err = nil
	}
	x.end(balancer.Outcome{Err: err, Code: x.status})
	x.recycle()
}
