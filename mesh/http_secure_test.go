package mesh_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestLinesAreSecured has policy secure the connections for http URLs: requests arrive by TLS,
// responses of HTTP/2 tell of it as net/http's do, and nothing is sent to a server with another
// name.
func TestLinesAreSecured(t *testing.T) {
	eachLines(t, func(t *testing.T, protocol string) {
		ca := testca.New(t, "ca")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{
			Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.TLS != nil) }),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{*ca.DNS(t, "a.example")}},
			ErrorLog:  log.New(io.Discard, "", 0),
		}
		go s.ServeTLS(l, "", "")
		t.Cleanup(func() { _ = s.Close() })
		options, want := "http_protocol_options", "HTTP/1.1 true"
		if protocol == "http2" {
			options, want = "http2_protocol_options", "HTTP/2.0 true"
		}
		for _, name := range []string{"a.example", "b.example"} {
			m := meshtest.New(t, mesh.WithPolicy(rawCluster(protocols[1], fmt.Sprintf(`
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {%s: {}}
transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      validation_context:
        trusted_ca: {inline_string: %q}
        match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: %s}}]`, options, ca.PEM(), name), lbEndpoint(l.Addr().String()))))
			client := m.HTTPClient()
			for range 2 {
				req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://raw/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if name != "a.example" {
					if err == nil {
						_ = resp.Body.Close()
						t.Errorf("a server that is not %s answered", name)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if told := resp.TLS != nil; string(got) != want || told != (protocol == "http2") {
					t.Errorf("%q, response tells of TLS: %v; want %q", got, told, want)
				}
			}
			client.CloseIdleConnections()
		}
	})
}
