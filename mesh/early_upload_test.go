package mesh_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// endless is a body of 0, 1, 2… that ends when it is told to.
type endless struct {
	next  byte
	ended atomic.Bool
}

func (b *endless) Read(p []byte) (int, error) {
	if b.ended.Load() {
		return 0, io.EOF
	}
	p[0] = b.next
	b.next++
	return 1, nil
}

// inOrder reports whether a body is of 0, 1, 2…, to its end.
func inOrder(body io.Reader) bool {
	in := bufio.NewReader(body)
	for want := byte(0); ; want++ {
		switch got, err := in.ReadByte(); {
		case err != nil:
			return errors.Is(err, io.EOF)
		case got != want:
			return false
		}
	}
}

// TestUploadGoesOnOnceAnswered has servers answer at once, and be sent the whole body: an
// upload that waited for what becomes of the answer goes on where it was.
func TestUploadGoesOnOnceAnswered(t *testing.T) {
	for protocol, times := range map[string]int{"http": 200, "http2": 10} {
		for name, route := range map[string]string{
			"retry": "retry: {" + again + "}",
			"hedge": "retry: {" + again + "}, hedge: {delay: 1h}",
		} {
			t.Run(name+"/"+protocol, func(t *testing.T) {
				t.Parallel()
				b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
						t.Error(err)
					}
					answer(w)
					fmt.Fprint(w, inOrder(r.Body))
				}))
				m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil,
					"services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q]}}\nroutes: {orders: [{to: orders, %s}]}", protocol, b.Addr, route)))
				t.Cleanup(m.HTTPClient().CloseIdleConnections)
				for range times {
					body := new(endless)
					req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/", body)
					if err != nil {
						t.Fatal(err)
					}
					resp, err := m.Transport(nil).RoundTrip(req)
					body.ended.Store(true)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					if _ = resp.Body.Close(); err != nil || string(got) != "true" {
						t.Fatalf("the server was sent the body: %s, %v", got, err)
					}
				}
			})
		}
	}
}
