package mesh_test

import (
	"crypto/tls"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/internal/testport"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
	"github.com/weft-mesh/weft/xdsserver"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

// TestTLSFiles has a control plane and its clients prove who they are by certificates, and
// both change to another authority while the mesh lives (row S7): it takes its own from files
// that are not there at first, and that are replaced.
func TestTLSFiles(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "a")
		address := reserve(t)
		files := testca.NewFiles(t)
		write := func(ca *testca.CA) {
			files.WriteCA(t, ca)
			files.WriteIdentity(t, ca.SPIFFE(t, "spiffe://shop.example/web"))
		}
		first, second := testca.New(t, "first"), testca.New(t, "second")
		stop := serveTLS(t, address, first, "services:\n"+p.service("orders", b))
		m := meshtest.New(t, mesh.WithServer(address, mesh.TLSFiles(files.CA, files.Cert, files.Key)))
		write(first)
		if _, err := p.client(t, m, "orders")(within(t, long), request{}); err != nil {
			t.Fatal(err)
		}
		stop()
		serveTLS(t, address, second, "services:\n"+p.service("orders", b)+p.service("later", b))
		write(second)
		if _, err := p.client(t, m, "later")(within(t, 2*long), request{}); err != nil {
			t.Errorf("after both have another authority: %v", err)
		}
	})
}

// reserve returns an address of loopback that is the test's for as long as it lasts.
func reserve(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	release, err := testport.Hold(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// serveTLS starts a control plane that serves a policy to clients with a certificate of the
// authority, which it has one of itself.
func serveTLS(t *testing.T, address string, ca *testca.CA, yaml string) (stop func()) {
	compiled, err := policy.Parse("policy.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	resources, err := compiled.Compile()
	if err != nil {
		t.Fatal(err)
	}
	server := xdsserver.New(xdsserver.Options{ServerOptions: []grpc.ServerOption{grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{*ca.Issue(t, testca.Leaf{IPs: []string{"127.0.0.1"}})},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}))}})
	if err := server.Apply(resources); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	stop = func() {
		server.Close()
		<-served
	}
	t.Cleanup(stop)
	return stop
}
