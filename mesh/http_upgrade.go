package mesh

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/weft-mesh/weft/balancer"
)

// upgradedBody is an upgraded connection, which is the caller's. The call counts as in
// flight until it is closed, as in Envoy; its deadline has no say over it any more.
type upgradedBody struct {
	io.ReadWriteCloser
	x    *exchange
	once sync.Once
}

// upgraded returns the body of a response that switches protocols for the caller to use the
// connection; nil if it cannot be.
func (x *exchange) upgraded(resp *http.Response) io.ReadWriteCloser {
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return nil
	}
	if x.conn.endpoint.Pooled() {
		x.conn.report(balancer.Idle, nil)
	}
	x.status = resp.StatusCode
	return &upgradedBody{ReadWriteCloser: conn, x: x}
}

// Close closes the connection and ends the call.
func (b *upgradedBody) Close() error {
	err := b.ReadWriteCloser.Close()
	b.once.Do(func() { b.x.end(balancer.Outcome{Code: b.x.status}) })
	return err
}

// CloseWrite ends what is sent, where the connection can.
func (b *upgradedBody) CloseWrite() error { return closeWrite(b.ReadWriteCloser) }

func closeWrite(conn any) error {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
