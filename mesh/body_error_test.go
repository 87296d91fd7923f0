package mesh_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestBodyError has an application's body fail to be read: the call ends with its error, is
// not tried again, and ejects nobody.
func TestBodyError(t *testing.T) {
	for _, protocol := range []string{"http", "http2"} {
		for name, route := range map[string]string{
			"no policy": "timeout: 0s",
			"retry":     "retry: {" + again + "}",
			"hedge":     "retry: {" + again + "}, hedge: {delay: 1h}",
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				t.Parallel()
				b := meshtest.HTTP(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
				}))
				m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, `
services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q], outlierDetection: {consecutive5xx: 1, consecutiveGatewayFailure: 1, maxEjectionPercent: 100}}}
routes: {orders: [{to: orders, %s}]}`, protocol, b.Addr, route)))
				want := errors.New("cannot be read")
				for range 3 {
					reads := 0
					body := &closeCounter{Reader: io.MultiReader(strings.NewReader("body"), readerFunc(func([]byte) (int, error) {
						reads++
						return 0, want
					}))}
					if _, err := postBody(within(t, long), m.Transport(nil), body); err != want { //nolint:errorlint // the very error, as from net/http
						t.Errorf("the call ended with %v, want %v", err, want)
					}
					if reads != 1 || body.closed.Load() != 1 {
						t.Errorf("the body was read %d times after its beginning, and closed %d times", reads, body.closed.Load())
					}
				}
				if n := b.Calls(); n > 3 {
					t.Errorf("%d attempts of 3 calls", n)
				}
				if out := ejected(m, "orders"); len(out) > 0 {
					t.Errorf("%v is ejected", out)
				}
				m.HTTPClient().CloseIdleConnections()
			})
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
