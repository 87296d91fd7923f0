//go:debug x509usefallbackroots=1

package security_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/weft-mesh/weft/internal/match"
	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/security"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// greeting is what a test server says once it has accepted the client, so that a
// client that read it knows that it was.
const greeting = "ok"

// serve runs a TLS server on loopback until the test ends.
func serve(t testing.TB, config *tls.Config) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				secured := tls.Server(conn, config)
				if secured.Handshake() == nil {
					io.WriteString(secured, greeting)
					io.Copy(io.Discard, secured)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

// as returns the server configuration of one who presents cert.
func as(cert *tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*cert}}
}

// connect makes one connection, reads the greeting, and closes it.
func connect(t testing.TB, c *security.ClientTLS, addr, serverName string, alpn ...string) (tls.ConnectionState, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	secured, err := c.Handshake(t.Context(), conn, serverName, alpn)
	if err != nil {
		if _, again := conn.Read(make([]byte, 1)); again == nil {
			t.Error("the connection is open after a failed handshake")
		}
		return tls.ConnectionState{}, err
	}
	defer secured.Close()
	if _, err := io.ReadFull(secured, make([]byte, len(greeting))); err != nil {
		return tls.ConnectionState{}, err
	}
	return secured.(*tls.Conn).ConnectionState(), nil
}

func newClient(t testing.TB, config security.ClientTLSConfig) *security.ClientTLS {
	t.Helper()
	c, err := security.NewClientTLS(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func trust(cas ...*testca.CA) *security.Bundle {
	var b []byte
	for _, ca := range cas {
		b = append(b, ca.PEM()...)
	}
	bundle, err := security.ParseBundle(b)
	if err != nil {
		panic(err)
	}
	return bundle
}

// systemCA returns an authority that the system trusts, in this process.
func systemCA(t testing.TB) *testca.CA {
	t.Helper()
	systemOnce.Do(func() {
		system = testca.New(t, "system")
		x509.SetFallbackRoots(system.Pool())
	})
	return system
}

var (
	systemOnce sync.Once
	system     *testca.CA
)

func san(t testing.TB, kind security.SANType, how match.Kind, value string) security.SANMatcher {
	t.Helper()
	s, err := match.NewString(how, value, false)
	if err != nil {
		t.Fatal(err)
	}
	return security.SANMatcher{Type: kind, Value: s}
}

// connectPipe connects to a server of its own in memory, for tests whose clock must
// not wait for the network, and returns what the server saw.
func connectPipe(t testing.TB, c *security.ClientTLS, server *tls.Config) (seen tls.ConnectionState, err error) {
	t.Helper()
	near, far := net.Pipe()
	var served sync.WaitGroup
	served.Go(func() {
		defer far.Close()
		secured := tls.Server(far, server)
		if secured.Handshake() != nil {
			return
		}
		seen = secured.ConnectionState()
		io.WriteString(secured, greeting)
		io.Copy(io.Discard, secured)
	})
	defer served.Wait()
	secured, err := c.Handshake(t.Context(), near, "", nil)
	if err != nil {
		return seen, err
	}
	defer secured.Close()
	_, err = io.ReadFull(secured, make([]byte, len(greeting)))
	return seen, err
}
