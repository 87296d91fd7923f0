package mesh_test

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// sidecar stands before a backend as a strict sidecar of Istio does: it lets in who
// is of the mesh, and passes on what they say.
type sidecar struct {
	addr string
	stop func() // ends it, with its connections

	backend *meshtest.Backend

	mu   sync.Mutex
	seen map[handshake]bool
}

// handshake is what a server learns of a client.
type handshake struct{ client, serverName, protocol string }

// startSidecar starts a sidecar before a backend, which is id by ca's word.
func startSidecar(t *testing.T, backend *meshtest.Backend, ca *testca.CA, id string) *sidecar {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{*ca.SPIFFE(t, id)},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    ca.Pool(),
		// In a sidecar's order of preference: what it begins with
		// istio-peer-exchange, no client but a sidecar understands.
		NextProtos: []string{"istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2", "istio", "h2", "http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &sidecar{addr: l.Addr().String(), backend: backend, seen: map[handshake]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.forward(ctx, conn.(*tls.Conn)) })
		}
	})
	s.stop = func() {
		cancel()
		_ = l.Close()
		serving.Wait()
	}
	t.Cleanup(s.stop)
	return s
}

// forward carries one connection until either side or ctx ends it.
func (s *sidecar) forward(ctx context.Context, conn *tls.Conn) {
	defer conn.Close()
	if conn.HandshakeContext(ctx) != nil {
		return
	}
	state := conn.ConnectionState()
	h := handshake{state.PeerCertificates[0].URIs[0].String(), state.ServerName, state.NegotiatedProtocol}
	s.mu.Lock()
	s.seen[h] = true
	s.mu.Unlock()

	up, err := net.Dial("tcp", s.backend.Addr)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() {
		_ = up.Close()
		_ = conn.Close()
	})()
	var answering sync.WaitGroup
	answering.Go(func() {
		_, _ = io.Copy(conn, up)
		_ = conn.Close()
	})
	_, _ = io.Copy(up, conn)
	_ = up.Close()
	answering.Wait()
}

// saw returns the handshakes that clients made, each kind once.
func (s *sidecar) saw() []handshake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.seen))
}

// wiretap is a server that answers nothing, as one that does not speak TLS would
// not, and keeps what it was sent.
type wiretap struct {
	addr string
	mu   sync.Mutex
	sent []string // by connection, those that sent something
}

func startWiretap(t *testing.T) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{addr: l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { w.listen(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return w
}

// listen reads what comes before the client gives up, which it does on the answer
// to the first of it.
func (w *wiretap) listen(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		return // nothing was sent
	}
	w.mu.Lock()
	i := len(w.sent)
	w.sent = append(w.sent, string(buf[:n]))
	w.mu.Unlock()
	_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
	rest, _ := io.ReadAll(conn)
	w.mu.Lock()
	w.sent[i] += string(rest)
	w.mu.Unlock()
}

// heard returns what each connection sent so far.
func (w *wiretap) heard() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}
