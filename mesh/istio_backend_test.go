package mesh_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weft-mesh/weft/internal/testca"
)

// echo is a backend as it stands behind a strict sidecar: who connects must be of
// the mesh.
type echo struct {
	addr  string
	stop  func()
	calls func() int64

	mu   sync.Mutex
	seen map[handshake]bool
}

// handshake is what a backend learns of a client.
type handshake struct{ client, serverName, protocol string }

// startEcho starts a backend that answers with its name and is id by ca's word.
func startEcho(t *testing.T, p protocol, name string, ca *testca.CA, id string) *echo {
	t.Helper()
	e := &echo{seen: map[handshake]bool{}}
	config := &tls.Config{
		Certificates: []tls.Certificate{*ca.SPIFFE(t, id)},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    ca.Pool(),
		// In a sidecar's order of preference: what it begins with
		// istio-peer-exchange, no client but a sidecar understands.
		NextProtos:       []string{"istio-peer-exchange", "istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"},
		VerifyConnection: e.verify,
	}
	if p.name == "grpc" {
		b := grpcServer(t, name, grpc.Creds(credentials.NewTLS(config)))
		e.addr, e.stop, e.calls = b.Addr, b.Kill, b.Calls
		return e
	}
	var calls atomic.Int64
	answer := httpHandler(name)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		answer.ServeHTTP(w, r)
	}))
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	s.StartTLS()
	e.addr, e.calls = s.Listener.Addr().String(), calls.Load
	e.stop = sync.OnceFunc(func() {
		s.CloseClientConnections()
		s.Close()
	})
	t.Cleanup(e.stop)
	return e
}

func (e *echo) verify(s tls.ConnectionState) error {
	h := handshake{serverName: s.ServerName, protocol: s.NegotiatedProtocol}
	h.client = fmt.Sprint(s.PeerCertificates[0].URIs)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen[h] = true
	return nil
}

// saw returns the handshakes that clients made, each kind once.
func (e *echo) saw() []handshake {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []handshake
	for h := range e.seen {
		all = append(all, h)
	}
	return all
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
