package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// bubble is a mesh and its backends inside a synctest bubble, where time passes only when
// all wait: connections are in memory, and nothing takes any time that is not told to.
type bubble struct {
	*mesh.Mesh
	p     protocol
	start time.Time

	mu        sync.Mutex
	listeners map[string]listener
	trace     []string
}

// listener accepts connections in memory.
type listener interface {
	net.Listener
	DialContext(context.Context) (net.Conn, error)
}

// pipes is a listener whose connections keep deadlines exactly, as bufconn's do not and
// servers of HTTP/1.1 need.
type pipes struct {
	dialled chan net.Conn
	closed  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialled:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) DialContext(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.dialled <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// h2c is HTTP by HTTP/2 without TLS.
var h2c = protocol{name: "http2"}

// newBubble starts a mesh with the service orders, of these limits, and one route, of these
// fields, and n backends that do as the script says.
func newBubble(t *testing.T, p protocol, limits, route string, n int, script func(n int) act) *bubble {
	b := &bubble{p: p, start: time.Now(), listeners: map[string]listener{}}
	s := &scripted{name: "b", changed: make(chan struct{}, 1000), script: script}
	var addresses []string
	for i := range n {
		address := fmt.Sprintf("192.0.2.%d:80", i+1)
		addresses = append(addresses, `"`+address+`"`)
		if p.name == "grpc" {
			l := bufconn.Listen(1 << 16)
			b.listeners[address] = l
			server := grpc.NewServer(grpc.UnknownServiceHandler(s.serveGRPC))
			go func() { _ = server.Serve(l) }()
			t.Cleanup(server.Stop)
			continue
		}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		b.listeners[address] = l
		server := &http.Server{Handler: s, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })
	}
	if n == 0 {
		addresses = []string{`"192.0.2.99:80"`} // where nobody listens
	}
	b.Mesh = meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, "services:\n  orders: {protocol: %s, endpoints: [%s], limits: {%s}}\nroutes:\n  orders:\n    - {to: orders, %s}\n",
		p.name, strings.Join(addresses, ", "), limits, route)))
	return b
}

// say adds to the trace, with the time in tens of milliseconds: a backoff of up to two
// does not show.
func (b *bubble) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := time.Since(b.start).Milliseconds() / 10 * 10
	b.trace = append(b.trace, fmt.Sprintf(format, args...)+fmt.Sprintf("@%d", at))
}

// restart has the times of the trace begin now.
func (b *bubble) restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start = time.Now()
}

func (b *bubble) dial(ctx context.Context, address string) (net.Conn, error) {
	l := b.listeners[address]
	if l == nil {
		return nil, errors.New("nobody listens")
	}
	return l.DialContext(ctx)
}

// client is like those of protocols.
func (b *bubble) client(t *testing.T) func(context.Context) (string, error) {
	if b.p.name == "grpc" {
		conn := dial(t, b.Mesh, "orders", grpc.WithContextDialer(b.dial))
		return func(ctx context.Context) (string, error) { return invoke(ctx, conn, request{}) }
	}
	rt := b.transport(t)
	return func(ctx context.Context) (string, error) {
		return httpCall(ctx, &http.Client{Transport: rt}, "orders", request{})
	}
}

func (b *bubble) transport(t *testing.T) http.RoundTripper {
	rt := b.Transport(&http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return b.dial(ctx, address) }})
	t.Cleanup((&http.Client{Transport: rt}).CloseIdleConnections)
	return rt
}

// stream opens a stream of messages.
func (b *bubble) stream(t *testing.T, ctx context.Context) grpc.ClientStream {
	return openStream(t, ctx, dial(t, b.Mesh, "orders", grpc.WithContextDialer(b.dial)))
}

// say of a call how it ended.
func (b *bubble) ended(answer string, err error) {
	switch {
	case err == nil:
		b.say("ok")
	case errors.Is(err, mesh.ErrOverloaded):
		b.say("overloaded")
	case errors.Is(err, mesh.ErrUnavailable):
		b.say("unreachable")
	case isTimeout(err):
		b.say("deadline")
	case isCanceled(err):
		b.say("canceled")
	default:
		b.say("failed")
	}
	_ = answer
}

// sleepy sleeps for so many milliseconds before it acts.
func sleepy(ms int, a act) act {
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return a
}

// slowReader gives one byte at a time, after so long each.
type slowReader struct {
	left int
	each time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(r.each)
	r.left--
	p[0] = 'x'
	return 1, nil
}
