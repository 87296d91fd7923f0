package security_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/internal/match"
	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

const orders = "spiffe://shop.example/orders"

// TestVerification holds one server certificate after the other against policies.
func TestVerification(t *testing.T) {
	ca, other := testca.New(t, "shop"), testca.New(t, "other")
	spiffe := ca.SPIFFE(t, orders)
	dns := ca.DNS(t, "orders.shop.example", "*.api.shop.example")
	everything := ca.Issue(t, testca.Leaf{URIs: []string{orders}, DNS: []string{"a.example"}, IPs: []string{"192.0.2.7", "2001:db8::1"}, Emails: []string{"ops@shop.example"}})

	uri := func(v string) security.SANMatcher { return san(t, security.SANURI, match.Exact, v) }
	for _, c := range []struct {
		name       string
		cert       *tls.Certificate
		policy     security.ClientTLSConfig
		serverName string
		refused    string // part of the error; empty when the server is to be accepted
	}{
		{name: "chain only", cert: spiffe},
		{name: "exact URI", cert: spiffe, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{uri(orders)}}},
		{name: "wrong URI", cert: spiffe, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{uri("spiffe://shop.example/web")}},
			refused: `(URI spiffe://shop.example/orders) refused: none of its names is an accepted one; want a certificate under 1 given root(s) with URI exact "spiffe://shop.example/web"`},
		{name: "one of two", cert: spiffe, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{uri("spiffe://shop.example/web"), uri(orders)}}},
		{name: "URI prefix", cert: spiffe, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANURI, match.Prefix, "spiffe://shop.example/")}}},
		{name: "any type", cert: spiffe, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANAny, match.Exact, orders)}}},
		{name: "the value under another type", cert: spiffe, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANDNS, match.Exact, orders)}}, refused: "none of its names"},
		{name: "certificate without names", cert: ca.Issue(t, testca.Leaf{}), policy: security.ClientTLSConfig{SANs: []security.SANMatcher{uri(orders)}}, refused: "(no name) refused"},

		{name: "DNS", cert: dns, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANDNS, match.Exact, "ORDERS.shop.example")}}},
		{name: "DNS wildcard", cert: dns, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANDNS, match.Exact, "v1.api.shop.example")}}},
		{name: "DNS wildcard without type", cert: dns, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANAny, match.Exact, "v1.api.shop.example")}}},
		{name: "DNS wildcard is one label", cert: dns, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANDNS, match.Exact, "v1.eu.api.shop.example")}}, refused: "none of its names"},
		{name: "DNS suffix is text", cert: dns, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANDNS, match.Suffix, ".api.shop.example")}}},

		{name: "IP", cert: everything, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANIPAddress, match.Exact, "2001:db8::1")}}},
		{name: "IP as DNS name", cert: everything, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANDNS, match.Exact, "192.0.2.7")}}, refused: "none of its names"},
		{name: "email", cert: everything, policy: security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANEmail, match.Suffix, "@shop.example")}}},

		{name: "AutoSAN by SNI", cert: dns, policy: security.ClientTLSConfig{AutoSAN: true, SNI: "orders.shop.example"}},
		{name: "AutoSAN by wrong SNI", cert: dns, policy: security.ClientTLSConfig{AutoSAN: true, SNI: "web.shop.example"}, refused: `for host "web.shop.example"`},
		{name: "AutoSAN replaces SANs", cert: spiffe, policy: security.ClientTLSConfig{AutoSAN: true, SNI: "web.shop.example", SANs: []security.SANMatcher{uri(orders)}}, refused: `for host "web.shop.example"`},
		{name: "AutoSAN without SNI leaves SANs", cert: spiffe, policy: security.ClientTLSConfig{AutoSAN: true, SANs: []security.SANMatcher{uri(orders)}}, serverName: "not-sent"},
		{name: "AutoSAN without SNI or SANs", cert: spiffe, policy: security.ClientTLSConfig{AutoSAN: true}, serverName: "not-sent", refused: "no server name to verify"},
		{name: "AutoSNI and AutoSAN by endpoint", cert: dns, policy: security.ClientTLSConfig{AutoSNI: true, AutoSAN: true, SNI: "else"}, serverName: "orders.shop.example"},
		{name: "AutoSAN by IP", cert: everything, policy: security.ClientTLSConfig{AutoSNI: true, AutoSAN: true}, serverName: "192.0.2.7"},
		{name: "AutoSAN by wrong IP", cert: everything, policy: security.ClientTLSConfig{AutoSNI: true, AutoSAN: true}, serverName: "192.0.2.8", refused: "192.0.2.8"},

		{name: "wrong root", cert: other.SPIFFE(t, orders), policy: security.ClientTLSConfig{SANs: []security.SANMatcher{uri(orders)}}, refused: "unknown authority"},
		{name: "self-signed by its own root", cert: other.SPIFFE(t, orders), refused: "unknown authority"},
		{name: "intermediate", cert: ca.Intermediate(t, "eu").Intermediate(t, "eu-1").SPIFFE(t, orders)},
		{name: "expired", cert: ca.Issue(t, testca.Leaf{NotAfter: time.Now().Add(-time.Minute)}), refused: "expired"},
		{name: "not yet valid", cert: ca.Issue(t, testca.Leaf{NotBefore: time.Now().Add(time.Minute)}), refused: "not yet valid"},
		{name: "a client's certificate", cert: ca.Issue(t, testca.Leaf{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), refused: "incompatible key usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.policy.Roots = trust(ca)
			_, err := connect(t, newClient(t, c.policy), serve(t, as(c.cert)), c.serverName)
			if c.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Fatalf("got error %v, want one about %q", err, c.refused)
			}
		})
	}
}

func TestPeerErrorNamesThePeer(t *testing.T) {
	ca, other := testca.New(t, "shop"), testca.New(t, "other")
	addr := serve(t, as(other.SPIFFE(t, orders)))
	_, err := connect(t, newClient(t, security.ClientTLSConfig{
		Roots: trust(ca),
		SANs:  []security.SANMatcher{san(t, security.SANURI, match.Exact, orders)},
	}), addr, "")
	peer, ok := errors.AsType[*security.PeerError](err)
	if !ok {
		t.Fatalf("got %v, want a PeerError", err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("the reason of %v is lost", err)
	}
	got := security.PeerError{Addr: peer.Addr, Names: peer.Names, Want: peer.Want}
	want := security.PeerError{
		Addr:  addr,
		Names: []string{"URI " + orders},
		Want:  `a certificate under 1 given root(s) with URI exact "` + orders + `"`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestSystemRootsAreNotEnough: what the system trusts has always a name to prove,
// asked for or not.
func TestSystemRootsAreNotEnough(t *testing.T) {
	ca := systemCA(t)
	addr := serve(t, as(ca.DNS(t, "orders.shop.example")))
	for _, c := range []struct {
		name       string
		policy     security.ClientTLSConfig
		serverName string
		ok         bool
	}{
		{"no name", security.ClientTLSConfig{}, "", false},
		{"endpoint's name", security.ClientTLSConfig{}, "orders.shop.example", true},
		{"endpoint of another name", security.ClientTLSConfig{}, "web.shop.example", false},
		{"SNI", security.ClientTLSConfig{SNI: "orders.shop.example"}, "web.shop.example", true},
		{"another SNI", security.ClientTLSConfig{SNI: "web.shop.example"}, "orders.shop.example", false},
		{"SANs", security.ClientTLSConfig{SANs: []security.SANMatcher{san(t, security.SANDNS, match.Suffix, ".shop.example")}}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.policy.SystemRoots = true
			if _, err := connect(t, newClient(t, c.policy), addr, c.serverName); (err == nil) != c.ok {
				t.Error(err)
			}
		})
	}
}

func TestSNI(t *testing.T) {
	ca := testca.New(t, "shop")
	sent := make(chan string, 1)
	config := as(ca.SPIFFE(t, orders))
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		sent <- hello.ServerName
		return nil, nil
	}
	addr := serve(t, config)
	for _, c := range []struct {
		name             string
		policy           security.ClientTLSConfig
		serverName, want string
	}{
		{"none", security.ClientTLSConfig{}, "endpoint.example", ""},
		{"policy's", security.ClientTLSConfig{SNI: "outbound_.8080_._.echo"}, "endpoint.example", "outbound_.8080_._.echo"},
		{"endpoint's", security.ClientTLSConfig{AutoSNI: true, SNI: "policy.example"}, "endpoint.example", "endpoint.example"},
		{"endpoint without a name", security.ClientTLSConfig{AutoSNI: true, SNI: "policy.example"}, "", "policy.example"},
		{"addresses are not sent", security.ClientTLSConfig{AutoSNI: true}, "192.0.2.1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.policy.Roots = trust(ca)
			if _, err := connect(t, newClient(t, c.policy), addr, c.serverName); err != nil {
				t.Fatal(err)
			}
			if got := <-sent; got != c.want {
				t.Errorf("sent %q, want %q", got, c.want)
			}
		})
	}
}

func TestALPN(t *testing.T) {
	ca := testca.New(t, "shop")
	for _, c := range []struct {
		name           string
		server, policy []string
		caller         []string
		want           string
	}{
		{"the caller's", []string{"http/1.1", "h2"}, nil, []string{"h2"}, "h2"},
		{"policy's wins", []string{"h2", "istio"}, []string{"istio"}, []string{"h2"}, "istio"},
		{"a server without", nil, nil, []string{"h2"}, ""},
		{"istio's preamble is never agreed on", []string{"istio-peer-exchange", "h2"}, []string{"istio-peer-exchange", "istio", "h2"}, []string{"h2"}, "h2"},
		{"nothing but istio's preamble", []string{"istio-peer-exchange", "h2"}, []string{"istio-peer-exchange"}, []string{"h2"}, "h2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := as(ca.SPIFFE(t, orders))
			config.NextProtos = c.server
			state, err := connect(t, newClient(t, security.ClientTLSConfig{Roots: trust(ca), ALPN: c.policy}), serve(t, config), "", c.caller...)
			if err != nil {
				t.Fatal(err)
			}
			if state.NegotiatedProtocol != c.want {
				t.Errorf("agreed on %q, want %q", state.NegotiatedProtocol, c.want)
			}
		})
	}
}

func TestIstioALPN(t *testing.T) {
	ca := testca.New(t, "shop")
	sidecar := []string{"istio-peer-exchange", "istio-http/1.1", "istio-h2", "istio"}
	for _, c := range []struct {
		name   string
		server []string
		policy []string
		want   string
	}{
		{"a sidecar", sidecar, nil, "istio-h2"},
		{"a sidecar, with protocols of policy", sidecar, []string{"http/1.1"}, "istio-http/1.1"},
		{"a sidecar that knows its own name only", []string{"istio"}, nil, "istio"},
		{"none", []string{"http/1.1", "h2"}, nil, "h2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := as(ca.SPIFFE(t, orders))
			config.NextProtos = c.server
			client := newClient(t, security.ClientTLSConfig{Roots: trust(ca), ALPN: c.policy, IstioALPN: true})
			state, err := connect(t, client, serve(t, config), "", "h2")
			if err != nil {
				t.Fatal(err)
			}
			if state.NegotiatedProtocol != c.want {
				t.Errorf("agreed on %q, want %q", state.NegotiatedProtocol, c.want)
			}
		})
	}
}

func TestVersionsSuitesAndCurves(t *testing.T) {
	ca := testca.New(t, "shop")
	roots := trust(ca)
	old := as(ca.SPIFFE(t, orders))
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	tls12 := as(ca.SPIFFE(t, orders))
	tls12.MaxVersion = tls.VersionTLS12
	newest := as(ca.SPIFFE(t, orders))

	t.Run("TLS 1.1 is refused, even if policy would have it", func(t *testing.T) {
		if _, err := connect(t, newClient(t, security.ClientTLSConfig{Roots: roots, MinVersion: tls.VersionTLS10}), serve(t, old), ""); err == nil {
			t.Error("connected")
		}
	})
	t.Run("TLS 1.2 is refused if policy says so", func(t *testing.T) {
		if _, err := connect(t, newClient(t, security.ClientTLSConfig{Roots: roots, MinVersion: tls.VersionTLS13}), serve(t, tls12), ""); err == nil {
			t.Error("connected")
		}
	})
	t.Run("version and suite", func(t *testing.T) {
		suites, err := security.ParseCipherSuites([]string{"ECDHE-ECDSA-CHACHA20-POLY1305"})
		if err != nil {
			t.Fatal(err)
		}
		state, err := connect(t, newClient(t, security.ClientTLSConfig{Roots: roots, MaxVersion: tls.VersionTLS12, CipherSuites: suites}), serve(t, newest), "")
		if err != nil {
			t.Fatal(err)
		}
		if state.Version != tls.VersionTLS12 || state.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 {
			t.Errorf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
		}
	})
	t.Run("post-quantum by default", func(t *testing.T) {
		state, err := connect(t, newClient(t, security.ClientTLSConfig{Roots: roots}), serve(t, newest), "")
		if err != nil {
			t.Fatal(err)
		}
		if state.CurveID != tls.X25519MLKEM768 {
			t.Errorf("key exchange by %s", state.CurveID)
		}
	})
	t.Run("curves of policy", func(t *testing.T) {
		curves, err := security.ParseCurves([]string{"P-384"})
		if err != nil {
			t.Fatal(err)
		}
		state, err := connect(t, newClient(t, security.ClientTLSConfig{Roots: roots, Curves: curves}), serve(t, newest), "")
		if err != nil {
			t.Fatal(err)
		}
		if state.CurveID != tls.CurveP384 {
			t.Errorf("key exchange by %s", state.CurveID)
		}
	})
}

func TestMutualTLS(t *testing.T) {
	ca, clients := testca.New(t, "shop"), testca.New(t, "clients")
	config := as(ca.SPIFFE(t, orders))
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = clients.Pool()
	addr := serve(t, config)

	with := func(identity security.IdentitySource) error {
		_, err := connect(t, newClient(t, security.ClientTLSConfig{Roots: trust(ca), Identity: identity}), addr, "")
		return err
	}
	if err := with(security.StaticIdentity(clients.SPIFFE(t, "spiffe://shop.example/web"))); err != nil {
		t.Error(err)
	}
	if err := with(nil); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	// The server names other authorities as acceptable; ours is to be sent still,
	// so that the server's error is about it and not about a missing one.
	if err := with(security.StaticIdentity(ca.SPIFFE(t, "spiffe://shop.example/web"))); err == nil || strings.Contains(err.Error(), "certificate required") {
		t.Errorf("with a certificate of another authority: %v", err)
	}
}

type identityFunc func(context.Context) (*tls.Certificate, error)

func (f identityFunc) Identity(ctx context.Context) (*tls.Certificate, error) { return f(ctx) }

type rootsFunc func(context.Context) (*security.Bundle, error)

func (f rootsFunc) Roots(ctx context.Context) (*security.Bundle, error) { return f(ctx) }

// TestFailsClosed has everything missing in turn. Not a byte may leave.
func TestFailsClosed(t *testing.T) {
	ca := systemCA(t) // in case that a lack of roots is taken for the system's
	down := errors.New("source is down")
	for _, c := range []struct {
		name string
		tls  *security.ClientTLS
		want string // SourceError.What
	}{
		{"zero value", &security.ClientTLS{}, "roots"},
		{"roots fail", newClient(t, security.ClientTLSConfig{Roots: rootsFunc(func(context.Context) (*security.Bundle, error) { return nil, down })}), "roots"},
		{"nil roots", newClient(t, security.ClientTLSConfig{Roots: rootsFunc(func(context.Context) (*security.Bundle, error) { return nil, nil })}), "roots"},
		{"zero bundle", newClient(t, security.ClientTLSConfig{Roots: &security.Bundle{}}), "roots"},
		{"empty bundle", newClient(t, security.ClientTLSConfig{Roots: security.NewBundle()}), "roots"},
		{"identity fails", newClient(t, security.ClientTLSConfig{Roots: trust(ca), Identity: identityFunc(func(context.Context) (*tls.Certificate, error) { return nil, down })}), "identity"},
		{"nil identity", newClient(t, security.ClientTLSConfig{Roots: trust(ca), Identity: security.StaticIdentity(nil)}), "identity"},
		{"empty identity", newClient(t, security.ClientTLSConfig{Roots: trust(ca), Identity: security.StaticIdentity(&tls.Certificate{})}), "identity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := net.Pipe()
			sent := make(chan int, 1)
			go func() {
				n, _ := far.Read(make([]byte, 1))
				sent <- n
			}()
			_, err := c.tls.Handshake(t.Context(), near, "orders.shop.example", nil)
			source, ok := errors.AsType[*security.SourceError](err)
			if !ok || source.What != c.want {
				t.Errorf("got %v, want a SourceError about %s", err, c.want)
			}
			if n := <-sent; n != 0 {
				t.Error("something was sent")
			}
			far.Close()
		})
	}
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	ca := testca.New(t, "shop")
	t.Run("silent server", func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			far.Read(make([]byte, 1)) // of the client's hello
			cancel()
		}()
		if _, err := newClient(t, security.ClientTLSConfig{Roots: trust(ca)}).Handshake(ctx, near, "", nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("silent source", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		near, far := net.Pipe()
		defer far.Close()
		waits := rootsFunc(func(ctx context.Context) (*security.Bundle, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if _, err := newClient(t, security.ClientTLSConfig{Roots: waits}).Handshake(ctx, near, "", nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestBadConfig(t *testing.T) {
	ca := testca.New(t, "shop")
	for _, c := range []struct {
		want   string
		config security.ClientTLSConfig
	}{
		{"no root certificates", security.ClientTLSConfig{}},
		{"both", security.ClientTLSConfig{Roots: trust(ca), SystemRoots: true}},
		{"256 bytes", security.ClientTLSConfig{Roots: trust(ca), SNI: strings.Repeat("x", 256)}},
		{"unknown SAN type", security.ClientTLSConfig{Roots: trust(ca), SANs: []security.SANMatcher{{Type: 17}}}},
		{"empty ALPN", security.ClientTLSConfig{Roots: trust(ca), ALPN: []string{"h2", ""}}},
		{"at most TLS 1.1", security.ClientTLSConfig{Roots: trust(ca), MaxVersion: tls.VersionTLS11}},
		{"at least TLS 1.3", security.ClientTLSConfig{Roots: trust(ca), MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12}},
	} {
		if _, err := security.NewClientTLS(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error about %q", err, c.want)
		}
	}
}
