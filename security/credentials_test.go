package security_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/weft-mesh/weft/internal/match"
	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

// TestCredentials calls a stock gRPC server through a stock gRPC channel.
func TestCredentials(t *testing.T) {
	ca := testca.New(t, "shop")
	config := as(ca.Issue(t, testca.Leaf{URIs: []string{orders}, DNS: []string{"orders.shop.example"}}))
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	authority := make(chan string, 1)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		authority <- strings.Join(md[":authority"], ",")
		return next(ctx, req)
	}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	go server.Serve(l)
	defer server.Stop()

	client := newClient(t, security.ClientTLSConfig{
		Identity: security.StaticIdentity(ca.SPIFFE(t, "spiffe://shop.example/web")),
		Roots:    trust(ca),
		SNI:      "outbound_.8080_._.orders",
		SANs:     []security.SANMatcher{san(t, security.SANURI, match.Exact, orders)},
	})
	cc, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(client.Credentials()), grpc.WithAuthority("orders:8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	var from peer.Peer
	if _, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.Peer(&from)); err != nil {
		t.Fatal(err)
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || info.SPIFFEID.String() != orders || info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("the peer is %+v", from.AuthInfo)
	}
	if got := <-authority; got != "orders:8080" {
		t.Errorf("calls went to authority %q", got)
	}
}

func TestCredentialsTakeTheHostOfTheAuthority(t *testing.T) {
	ca := testca.New(t, "shop")
	config := as(ca.Issue(t, testca.Leaf{DNS: []string{"orders.shop.example"}, IPs: []string{"2001:db8::1"}}))
	config.NextProtos = []string{"h2"}
	addr := serve(t, config)
	client := newClient(t, security.ClientTLSConfig{Roots: trust(ca), AutoSNI: true, AutoSAN: true})
	for authority, ok := range map[string]bool{
		"orders.shop.example":     true,
		"orders.shop.example:443": true,
		"[2001:db8::1]:443":       true,
		"web.shop.example:443":    false,
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		secured, _, err := client.Credentials().ClientHandshake(t.Context(), authority, conn)
		if (err == nil) != ok {
			t.Errorf("%s: %v", authority, err)
		}
		if err == nil {
			secured.Close()
		}
	}
}

func TestCredentialsWantHTTP2(t *testing.T) {
	ca := testca.New(t, "shop")
	addr := serve(t, as(ca.SPIFFE(t, orders))) // which knows no ALPN
	for _, c := range []struct {
		name string
		alpn []string
		ok   bool
	}{
		{"by default", nil, false},
		{"unless policy has its own protocols", []string{"istio"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			secured, _, err := newClient(t, security.ClientTLSConfig{Roots: trust(ca), ALPN: c.alpn}).Credentials().ClientHandshake(t.Context(), "orders", conn)
			if (err == nil) != c.ok {
				t.Error(err)
			}
			if err == nil {
				secured.Close()
			}
		})
	}
}
