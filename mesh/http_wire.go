package mesh

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
)

// anyAddress stands for the endpoint, which is all that a pool dials.
const anyAddress = "endpoint:80"

// dialing is found by dialingKey in the context of the dial of a line.
type dialing struct {
	made   func(*wire)
	shared bool // requests that wait are counted already
}

type dialingKey struct{}

// lend arranges for l to be left with the end of a response.
func lend(x *exchange, resp *http.Response, l leaver) *lineBody {
	b := &lineBody{ReadCloser: resp.Body, line: l}
	resp.Body = b
	x.body = &b.answer
	return b
}

// lineBody is the body of a response, with which the use of a line ends, and the body that the
// application is given, which spares an allocation.
type lineBody struct {
	io.ReadCloser
	line   leaver
	cancel context.CancelFunc // nil for none
	left   atomic.Bool
	answer answerBody
}

type leaver interface{ leave() }

func (b *lineBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.leave()
	}
	return n, err
}

func (b *lineBody) Close() error {
	err := b.ReadCloser.Close()
	b.leave()
	return err
}

func (b *lineBody) leave() {
	if b.left.Swap(true) {
		return
	}
	if b.line.leave(); b.cancel != nil {
		b.cancel()
	}
}

// closingOnce returns a request whose body can be closed by who has it sent, where net/http may
// have done that, and may not.
func closingOnce(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody || closesNothing(req.Body) {
		return req
	}
	r := *req
	r.Body = &closedOnce{ReadCloser: req.Body}
	return &r
}

// closeUnsent closes the body of a request that was not sent, which may be had again.
func closeUnsent(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// closedOnce is a body that is closed once, by whoever sends it or else by who had it sent.
type closedOnce struct {
	io.ReadCloser
	closed atomic.Bool
}

func (b *closedOnce) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	return b.ReadCloser.Close()
}

// wire is the connection of a line, above TLS.
type wire struct {
	net.Conn
	gone      func()       // called once it is closed
	sent, got atomic.Int64 // bytes
	closed    atomic.Bool
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.got.Add(int64(n))
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

// ReadFrom lets the connection send a file as it can.
func (w *wire) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.Conn, r)
	w.sent.Add(n)
	return n, err
}

func (w *wire) Close() error {
	if !w.closed.Swap(true) {
		w.gone()
	}
	return w.Conn.Close()
}

// secureWire says what TLS settled on, for http.Response.TLS.
type secureWire struct {
	*wire
	tls *tls.Conn
}

func (w secureWire) ConnectionState() tls.ConnectionState { return w.tls.ConnectionState() }

// CloseWrite ends what is sent; of an upgraded connection, that may be asked for.
func (w *wire) CloseWrite() error { return closeWrite(w.Conn) }

// SyscallConn shows the connection's socket to who looks for it.
func (w *wire) SyscallConn() (syscall.RawConn, error) { return rawConn(w.Conn) }
