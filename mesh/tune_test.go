package mesh_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestALPN has TLS settle on the version of HTTP (auto_config): the best that the server
// speaks, whatever the scheme of the URL.
func TestALPN(t *testing.T) {
	ca := testca.New(t, "ca")
	cert := ca.DNS(t, "a.example")
	for protocol, want := range map[string]string{"h2": "HTTP/2.0", "http/1.1": "HTTP/1.1", "": "HTTP/1.1"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{
			Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.Host) }),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{*cert}},
			ErrorLog:  log.New(io.Discard, "", 0),
			Protocols: new(http.Protocols),
		}
		s.Protocols.SetHTTP1(true)
		if protocol == "h2" {
			s.Protocols.SetHTTP2(true)
		}
		if protocol != "" {
			s.TLSConfig.NextProtos = []string{protocol}
			go s.ServeTLS(l, "", "")
		} else {
			go s.Serve(tls.NewListener(l, s.TLSConfig))
		}
		t.Cleanup(func() { _ = s.Close() })
		for _, counted := range []string{"", "common_http_protocol_options: {max_requests_per_connection: 2}\n    "} {
			m := meshtest.New(t, mesh.WithPolicy(rawCluster(protocols[1], fmt.Sprintf(`
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    %sauto_config: {}
transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      validation_context:
        trusted_ca: {inline_string: %q}
        match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a.example}}]`, counted, ca.PEM()), lbEndpoint(l.Addr().String()))))
			client := m.HTTPClient()
			for range 3 {
				got, err := httpCall(within(t, long), client, "raw", request{})
				if err != nil || got != want+" raw" {
					t.Errorf("%q: %q, %v, want %q", protocol, got, err, want+" raw")
				}
			}
			client.CloseIdleConnections()
		}
	}
}

// TestIdleTimeout has an idle HTTP connection close by policy, not base's 90 s.
func TestIdleTimeout(t *testing.T) {
	b := httpBackend(t, "b")
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf("services:\n  shop: {endpoints: [%q], connections: {idleTimeout: 50ms}}\n", b.Addr))))
	counts(t, httpClient(t, m, "shop"), request{}, 1)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx := within(t, 30*time.Second); b.Connections() > 0; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the connection stays")
		}
	}
}

// TestMaxResponseHeaders has a response refused whose header is longer than policy says.
func TestMaxResponseHeaders(t *testing.T) {
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Long", strings.Repeat("x", 8<<10))
		fmt.Fprint(w, "b")
	}))
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf("services:\n  shop: {endpoints: [%q], connections: {maxResponseHeadersKb: 2}}\n  free: {endpoints: [%[1]q]}\n", b.Addr))))
	if _, err := httpClient(t, m, "shop")(within(t, long), request{}); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("a header of 8 KiB: %v", err)
	}
	if _, err := httpClient(t, m, "free")(within(t, long), request{}); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

// TestHTTP2Ping has a server stop to answer: pings find out and the request fails, where
// it would wait for ever.
func TestHTTP2Ping(t *testing.T) {
	hangs := listen(t, func(c net.Conn) {
		// The preface and settings of an HTTP/2 server, and nothing after them.
		_, _ = c.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0})
		_, _ = io.Copy(io.Discard, c)
	})
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf("services:\n  shop: {protocol: http2, endpoints: [%q], connections: {connectionKeepalive: {interval: 50ms, timeout: 50ms}}}\n", hangs))))
	ctx := within(t, long)
	if _, err := httpClient(t, m, "shop")(ctx, request{}); err == nil || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
}
