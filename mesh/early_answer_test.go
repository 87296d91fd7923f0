package mesh_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestEarlyAnswer has a server fail a request of whose body it has read but the beginning,
// and the application waits for an answer before it goes on with the body. What is read of
// it for the first attempt after that is the second one's to send, though it is more than is
// kept of a body; and an answer that is not retried leaves the rest to be sent.
func TestEarlyAnswer(t *testing.T) {
	for _, protocol := range []string{"http", "http2"} {
		for policy, route := range map[string]string{
			"retry": "retry: {attempts: 3, on: [gateway-error], bufferLimit: 100, backOff: {baseInterval: 1ms}}",
			"hedge": "retry: {attempts: 3, on: [gateway-error], bufferLimit: 100, backOff: {baseInterval: 1ms}}, hedge: {delay: 1h}",
		} {
			for name, c := range map[string]struct {
				attempts int64
				ends     bool // the failure does
			}{
				"retried":            {2, false},
				"retried at its end": {2, true},
				"not retried":        {1, false},
			} {
				t.Run(protocol+", "+policy+", "+name, func(t *testing.T) {
					t.Parallel()
					answerEarly(t, protocol, route, c.attempts, c.ends)
				})
			}
		}
	}
}

func answerEarly(t *testing.T, protocol, route string, attempts int64, ends bool) {
	const begin, rest = 10, 10_000
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
			if !ends {
				select { // without reading on
				case <-goOn:
				case <-t.Context().Done():
				}
			}
			return
		}
		_ = answers.Flush()
		close(goOn)
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}))
	m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, "services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q]}}\nroutes: {orders: [{to: orders, %s}]}", protocol, b.Addr, route)))
	body := &closeCounter{Reader: io.MultiReader(strings.NewReader(strings.Repeat("a", begin)), &gate{goOn, strings.NewReader(strings.Repeat("b", rest))})}
	ctx := within(t, long)
	got, err := postBody(ctx, m.Transport(nil), body)
	if want := fmt.Sprint(rest, error(nil)); err != nil || got != want {
		t.Errorf("answer %q, %v; want %q", got, err, want)
	}
	if n := b.Calls(); n != attempts {
		t.Errorf("%d attempts, want %d", n, attempts)
	}
	for (body.closed.Load() == 0 || mesh.Kept(m) > 0) && ctx.Err() == nil {
		runtime.Gosched() // the first attempt may have yet to end
	}
	if n, kept := body.closed.Load(), mesh.Kept(m); n != 1 || kept != 0 {
		t.Errorf("the body was closed %d times, and %d bytes of it are kept", n, kept)
	}
	m.HTTPClient().CloseIdleConnections()
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
