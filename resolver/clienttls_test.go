package resolver_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/security"
)

// tlsCluster is a cluster with an UpstreamTlsContext of these fields.
func tlsCluster(t *testing.T, fields string) *clusterv3.Cluster {
	t.Helper()
	return parse(t, &clusterv3.Cluster{}, `{"name": "c", `+eds+`, "transportSocket": {"name": "tls", "typedConfig": {
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", `+fields+`}}}`)
}

// sockets are those that a cluster is configured with.
func sockets(t *testing.T, providers *security.Providers, updates ...*clusterv3.Cluster) (last []balancer.Socket, all [][]balancer.Socket) {
	t.Helper()
	s := resolver.NewStatic(resolver.Types(resolver.TypesConfig{Providers: providers}))
	r, err := resolver.New(resolver.Config{Source: s, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	target := r.Target(resolver.TargetName{RouteConfig: "r"})
	for i, c := range updates {
		rc := simpleRoutes("r", "c")
		rc.VirtualHosts[0].Name = fmt.Sprint(i) // another table
		tables := make(chan *resolver.Table, 2)
		if err := s.Set(resources(rc, c, assignment("c", "192.0.2.1"))); err != nil {
			t.Fatal(err)
		}
		cancel := target.Subscribe(func(t *resolver.Table) { tables <- t })
		for table := range tables {
			if route, err := table.Route(&resolver.Request{Path: "/"}); err == nil && route.VirtualHost == rc.VirtualHosts[0].Name {
				all = append(all, table.Clusters()[0].Config().Sockets)
				break
			}
		}
		cancel()
	}
	return all[len(all)-1], all
}

// authority is a CA, a provider "default" of it, and servers.
type authority struct {
	*testca.CA
	providers *security.Providers
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	ca, files := testca.New(t, "ca"), testca.NewFiles(t)
	files.WriteCA(t, ca)
	files.WriteIdentity(t, ca.SPIFFE(t, "spiffe://td/client"))
	config, err := json.Marshal(map[string]string{"certificate_file": files.Cert, "private_key_file": files.Key, "ca_certificate_file": files.CA})
	if err != nil {
		t.Fatal(err)
	}
	instance := security.ProviderConfig{Plugin: "file_watcher", Config: config}
	providers, err := security.NewProviders(map[string]security.ProviderConfig{"default": instance, "ROOTCA": instance}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { providers.Close() })
	return &authority{ca, providers}
}

// shake has a socket's TLS meet a server of that identity, which asks for a
// certificate, and returns what the server saw: the client's identity.
func (a *authority) shake(t *testing.T, s balancer.Socket, id string) (client string, err error) {
	t.Helper()
	if s.Err != nil {
		return "", s.Err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	here, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	saw := make(chan string, 1)
	go func() {
		defer there.Close()
		server := tls.Server(there, &tls.Config{
			Certificates: []tls.Certificate{*a.SPIFFE(t, id)},
			ClientAuth:   tls.RequestClientCert,
			NextProtos:   []string{"h2", "http/1.1"},
		})
		name := ""
		if server.Handshake() == nil && len(server.ConnectionState().PeerCertificates) > 0 {
			name = server.ConnectionState().PeerCertificates[0].URIs[0].String()
		}
		saw <- name + " " + server.ConnectionState().NegotiatedProtocol
		server.Read(make([]byte, 1)) // until the client has what it needs
	}()
	conn, err := s.TLS.Handshake(t.Context(), here, "", []string{"http/1.1"})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return <-saw, nil
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	sans := `"matchSubjectAltNames": [{"exact": "spiffe://td/server"}]`
	inline := func(pem []byte) string { return `{"inlineBytes": "` + base64.StdEncoding.EncodeToString(pem) + `"}` }
	client := a.SPIFFE(t, "spiffe://td/client")
	for name, fields := range map[string]string{
		"SDS, as Istio has it": `"sni": "x", "commonTlsContext": {"tlsParams": {"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"},
			"tlsCertificateSdsSecretConfigs": [{"name": "default", "sdsConfig": {"apiConfigSource": {"apiType": "GRPC"}}}],
			"combinedValidationContext": {"defaultValidationContext": {` + sans + `}, "validationContextSdsSecretConfig": {"name": "ROOTCA"}},
			"alpnProtocols": ["istio-peer-exchange", "istio"]}`,
		"provider instances (gRFC A29)": `"commonTlsContext": {"tlsCertificateProviderInstance": {"instanceName": "default"},
			"validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}, ` + sans + `}}`,
		"provider instances, the older fields": `"commonTlsContext": {"tlsCertificateCertificateProviderInstance": {"instanceName": "default"},
			"combinedValidationContext": {"defaultValidationContext": {` + sans + `}, "validationContextCertificateProviderInstance": {"instanceName": "ROOTCA"}}}`,
		"inline, as Consul has it": `"commonTlsContext": {"tlsCertificates": [{"certificateChain": ` + inline(testca.CertPEM(client)) + `,
			"privateKey": {"inlineString": ` + quoteJSON(testca.KeyPEM(t, client)) + `}}],
			"validationContext": {"trustedCa": ` + inline(a.PEM()) + `, "matchTypedSubjectAltNames": [{"sanType": "URI", "matcher": {"suffix": "/server"}}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			last, _ := sockets(t, a.providers, tlsCluster(t, fields))
			saw, err := a.shake(t, last[0], "spiffe://td/server")
			if err != nil || saw != "spiffe://td/client http/1.1" {
				t.Errorf("with the right server: it saw %q, error %v", saw, err)
			}
			if _, err := a.shake(t, last[0], "spiffe://td/other"); err == nil {
				t.Error("another server was accepted")
			}
		})
	}
	t.Run("ALPN", func(t *testing.T) {
		last, _ := sockets(t, a.providers, tlsCluster(t, `"commonTlsContext": {"alpnProtocols": ["istio", "h2"],
			"validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}}}`))
		if saw, err := a.shake(t, last[0], "spiffe://td/server"); err != nil || saw != " h2" {
			t.Errorf("the server saw %q, error %v; want h2", saw, err)
		}
	})
}

func quoteJSON(b []byte) string {
	s, err := json.Marshal(string(b))
	if err != nil {
		panic(err)
	}
	return string(s)
}

// What policy asks for and cannot be had fails the connection.
func TestTLSFailsClosed(t *testing.T) {
	a := newAuthority(t)
	roots := `"validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}}`
	common := func(fields string) string { return `"commonTlsContext": {` + fields + `}` }
	validation := func(fields string) string {
		return common(`"validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}, ` + fields + `}`)
	}
	for fields, text := range map[string]string{
		`"sni": "x"`:                      "common_tls_context: is required",
		common(``):                        "no validation context",
		common(`"validationContext": {}`): "no root certificates",
		common(`"combinedValidationContext": {}`):                                                         "no root certificates",
		common(`"validationContextSdsSecretConfig": {"name": "none"}`):                                    `certificate provider "none" is not defined`,
		common(`"tlsCertificateSdsSecretConfigs": [{"name": "none"}], ` + roots):                          `tls_certificate_sds_secret_configs[0]: security: certificate provider "none"`,
		common(`"tlsCertificateSdsSecretConfigs": [{"name": "default"}, {"name": "x"}], ` + roots):        "more than one client certificate",
		common(`"tlsCertificates": [{"certificateChain": {"filename": "/x"}}], ` + roots):                 "must be inline",
		common(`"tlsCertificates": [{"pkcs12": {"inlineString": "x"}}], ` + roots):                        "pkcs12: not supported",
		common(`"customHandshaker": {"name": "x"}, ` + roots):                                             "custom_handshaker: not supported",
		common(`"tlsParams": {"cipherSuites": ["AES128-SHA"]}, ` + roots):                                 "cipher_suites:",
		common(`"tlsParams": {"ecdhCurves": ["x"]}, ` + roots):                                            "ecdh_curves:",
		common(`"tlsParams": {"tlsMinimumProtocolVersion": 9}, ` + roots):                                 "tls_minimum_protocol_version: unknown",
		common(`"tlsParams": {"tlsMaximumProtocolVersion": "TLSv1_1"}, ` + roots):                         "at most TLS 1.1",
		common(`"tlsParams": {"signatureAlgorithms": ["x"]}, ` + roots):                                   "signature_algorithms: not supported",
		validation(`"verifyCertificateHash": ["x"]`):                                                      "verify_certificate_hash: not supported",
		validation(`"crl": {"inlineString": "x"}`):                                                        "crl: not supported",
		validation(`"matchTypedSubjectAltNames": [{"sanType": "OTHER_NAME", "matcher": {"exact": "x"}}]`): "OTHER_NAME: not supported",
		validation(`"matchSubjectAltNames": [{}]`):                                                        "match_subject_alt_names[0]:",
		common(`"validationContext": {"trustedCa": {"filename": "/x"}}`):                                  "trusted_ca: must be inline",
		common(`"validationContext": {"trustedCa": {"inlineString": "x"}}`):                               "trusted_ca:",
	} {
		last, _ := sockets(t, a.providers, tlsCluster(t, fields))
		if len(last) != 1 || last[0].TLS != nil {
			t.Errorf("%s: sockets %+v", fields, last)
			continue
		}
		wantError(t, last[0].Err, `cluster "c": transport_socket.typed_config`, text)
	}
	last, _ := sockets(t, nil, tlsCluster(t, common(roots)))
	wantError(t, last[0].Err, "the bootstrap has none")

	// A field of the future may be one that the connection is only secure with.
	future := tlsCluster(t, common(roots))
	future.GetTransportSocket().GetTypedConfig().Value = append(future.GetTransportSocket().GetTypedConfig().Value, 0xfa, 0x3f, 1, 'x')
	last, _ = sockets(t, a.providers, future)
	wantError(t, last[0].Err, "unknown to this version")

	other, _ := sockets(t, nil, parse(t, &clusterv3.Cluster{}, `{"name": "c", `+eds+`, "transportSocket": {"name": "quic"}}`))
	wantError(t, other[0].Err, `"quic"`, "not supported")
}

func TestSocketMatches(t *testing.T) {
	a := newAuthority(t)
	c := tlsCluster(t, `"commonTlsContext": {"validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}}}`)
	c.TransportSocketMatches = parse(t, &clusterv3.Cluster{}, `{"transportSocketMatches": [
		{"name": "none", "match": {"tlsMode": "disabled"}, "transportSocket": {"name": "envoy.transport_sockets.raw_buffer"}},
		{"name": "any", "match": {}, "transportSocket": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}]}`).TransportSocketMatches
	last, _ := sockets(t, a.providers, c)
	type socket struct {
		Name  string
		Match map[string]string
		TLS   bool
	}
	var got []socket
	for _, s := range last {
		if s.Err != nil {
			t.Error(s.Err)
		}
		got = append(got, socket{s.Name, s.Match, s.TLS != nil})
	}
	want := []socket{{"none", map[string]string{"tlsMode": "disabled"}, false}, {"any", nil, false}, {"tls", nil, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
}

// Connections are kept as long as their *ClientTLS is: it must survive updates that
// do not change it.
func TestUnchangedTLSIsKept(t *testing.T) {
	a := newAuthority(t)
	one := tlsCluster(t, `"commonTlsContext": {"validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}}}`)
	two := proto.CloneOf(one)
	two.AltStatName = "x"
	three := tlsCluster(t, `"sni": "other", `+`"commonTlsContext": {"validationContext": {"caCertificateProviderInstance": {"instanceName": "default"}}}`)
	_, all := sockets(t, a.providers, one, two, three)
	if all[0][0].TLS != all[1][0].TLS {
		t.Error("an update of something else made another ClientTLS")
	}
	if all[1][0].TLS == all[2][0].TLS {
		t.Error("an update of the TLS context kept the ClientTLS")
	}
}
