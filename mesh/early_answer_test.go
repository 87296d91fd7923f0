package mesh_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestEarlyAnswer has a server fail a request of whose body it has read but the beginning.
// What is read of it for the first attempt after that is the second one's to send, though it
// is more than is kept of a body; and an answer that is not retried leaves the rest to be
// sent.
func TestEarlyAnswer(t *testing.T) {
	p := protocols[1]
	const begin, rest = 10, 10_000
	for name, attempts := range map[string]int64{"retried": 2, "not retried": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goOn := make(chan struct{}) // with the body
			var b *meshtest.Backend
			b = meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				last := b.Calls() == attempts
				answers := http.NewResponseController(w)
				if err := answers.EnableFullDuplex(); err != nil {
					t.Error(err)
				}
				_, _ = io.ReadFull(r.Body, make([]byte, begin))
				if !last {
					w.WriteHeader(http.StatusServiceUnavailable)
					_ = answers.Flush()
					select { // without reading on
					case <-goOn:
					case <-t.Context().Done():
					}
					return
				}
				_ = answers.Flush()
				close(goOn)
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, n, err)
			}))
			m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", b)+
				"routes: {orders: [{to: orders, retry: {attempts: 3, on: [gateway-error], bufferLimit: 100, backOff: {baseInterval: 1ms}}}]}\n")))
			body := &closeCounter{Reader: io.MultiReader(strings.NewReader(strings.Repeat("a", begin)), &gate{goOn, strings.NewReader(strings.Repeat("b", rest))})}
			got, err := postBody(within(t, long), m.Transport(nil), body)
			if want := fmt.Sprint(rest, error(nil)); err != nil || got != want {
				t.Errorf("answer %q, %v; want %q", got, err, want)
			}
			if n := b.Calls(); n != attempts || body.closed != 1 {
				t.Errorf("%d attempts, want %d; the body was closed %d times", n, attempts, body.closed)
			}
		})
	}
}

// gate is a reader that waits for a channel before it is read.
type gate struct {
	open <-chan struct{}
	io.Reader
}

func (g *gate) Read(p []byte) (int, error) {
	<-g.open
	return g.Reader.Read(p)
}
