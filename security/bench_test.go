package security_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/weft-mesh/weft/internal/match"
	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

// BenchmarkHandshake is one mutual handshake over loopback, both sides of it.
func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name string
		keys int
	}{{"full", 0}, {"resumed", 1}} {
		b.Run(c.name, func(b *testing.B) {
			ca := testca.New(b, "shop")
			addr := serve(b, asking(ca.SPIFFE(b, orders)))
			client := newClient(b, security.ClientTLSConfig{
				Identity:    security.StaticIdentity(ca.SPIFFE(b, orders)),
				Roots:       trust(ca),
				SANs:        []security.SANMatcher{san(b, security.SANURI, match.Exact, orders)},
				SessionKeys: c.keys,
			})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := connect(b, client, addr, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBareHandshake is BenchmarkHandshake by crypto/tls alone.
func BenchmarkBareHandshake(b *testing.B) {
	ca := testca.New(b, "shop")
	addr := serve(b, asking(ca.DNS(b, "orders")))
	config := as(ca.SPIFFE(b, orders))
	config.RootCAs, config.ServerName = ca.Pool(), "orders"
	b.ReportAllocs()
	for b.Loop() {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		secured := tls.Client(conn, config)
		if _, err := io.ReadFull(secured, make([]byte, len(greeting))); err != nil {
			b.Fatal(err)
		}
		secured.Close()
	}
}

// asking is as, of a server that wants a client certificate, whichever.
func asking(cert *tls.Certificate) *tls.Config {
	config := as(cert)
	config.ClientAuth = tls.RequireAnyClientCert
	return config
}
