package mesh_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-mesh/weft/internal/testport"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// rawCluster is a policy whose target "raw" is one cluster with these further fields,
// which are YAML on lines of their own, and these lb_endpoints.
func rawCluster(p protocol, fields string, endpoints ...string) []byte {
	version := "http_protocol_options"
	if p.name == "grpc" {
		version = "http2_protocol_options"
	}
	if !strings.Contains(fields, "HttpProtocolOptions") {
		fields += fmt.Sprintf(`
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {%s: {}}`, version)
	}
	if !strings.Contains(fields, "connect_timeout") {
		fields += "\nconnect_timeout: 60s" // as inTime
	}
	return []byte(fmt.Sprintf(`
routes:
  raw: [{to: raw}]
resources:
  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: raw
    type: EDS
    eds_cluster_config: {eds_config: {ads: {}}}%s
  - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
    cluster_name: raw
    endpoints: [{locality: {}, load_balancing_weight: 1, lb_endpoints: [%s]}]
`, strings.ReplaceAll("\n"+strings.TrimSpace(fields), "\n", "\n    "), strings.Join(endpoints, ", ")))
}

func socketAddress(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf(`{socket_address: {address: %q, port_value: %s}}`, host, port)
}

func lbEndpoint(addr string) string {
	return fmt.Sprintf(`{endpoint: {address: %s}}`, socketAddress(addr))
}

// unused is an address at which nobody listens until the test ends.
func unused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	held(t, l)
	return l.Addr().String()
}

// held keeps the port of a listener, which has accepted nobody, until the test ends.
func held(t *testing.T, l net.Listener) {
	release, err := testport.Hold(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
}

// silent is a server that takes connections and says nothing.
func silent(t *testing.T) (addr string, accepted *atomic.Int64) {
	accepted = new(atomic.Int64)
	return listen(t, func(net.Conn) { accepted.Add(1) }), accepted
}

// listen serves connections until the test ends.
func listen(t *testing.T, serve func(net.Conn)) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

const anyTLS = `
transport_socket_matches:
- name: tls
  match: {tls: "1"}
  transport_socket:
    name: tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
      common_tls_context:
        validation_context: {system_root_certs: {}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a.example}}]}`

// TestConnectTimeout has an endpoint that never answers a TLS handshake: the time to
// connect, TLS included, is policy's for gRPC as for HTTP (row L8).
func TestConnectTimeout(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		hangs, accepted := silent(t)
		b := p.backend(t, "b")
		policy := rawCluster(p, "connect_timeout: 0.1s\nload_balancing_policy: {policies: [{typed_extension_config: {name: pick_first, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst}}}]}"+anyTLS,
			fmt.Sprintf(`{endpoint: {address: %s}, metadata: {filter_metadata: {envoy.transport_socket_match: {tls: "1"}}}}`, socketAddress(hangs)), lbEndpoint(b.Addr))
		// grpc-go's own timeout is 20 s, net/http's 10. A machine that stalls gets another chance.
		var got string
		var err error
		for tries := 0; got != "b" && tries < 3; tries++ {
			got, err = p.client(t, meshtest.New(t, mesh.WithPolicy(policy)), "raw")(within(t, 8*time.Second), request{})
		}
		if err != nil || got != "b" {
			t.Errorf("%q, %v", got, err)
		}
		if accepted.Load() == 0 {
			t.Error("the endpoint that hangs was not tried")
		}
	})
}

// TestAdditionalAddresses has an endpoint with several addresses, of which the first
// refuses connections (gRFC A61).
func TestAdditionalAddresses(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "b")
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, "", fmt.Sprintf(`{endpoint: {address: %s, additional_addresses: [{address: %s}, {address: %s}]}}`,
			socketAddress(unused(t)), socketAddress("[::1]:1"), socketAddress(b.Addr)))))
		if got, err := p.client(t, m, "raw")(within(t, long), request{}); err != nil || got != "b" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// proxySocket sends connections through a proxy.
func proxySocket(proxy string) string {
	return `
transport_socket:
  name: envoy.transport_sockets.http_11_proxy
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport
    default_proxy_address: ` + socketAddress(proxy)
}

// TestHTTPProxy reaches one endpoint through the proxy that its metadata names, one
// through that of the locality's transport socket, and one directly (gRFC A86).
func TestHTTPProxy(t *testing.T) {
	const proxied = `
transport_socket:
  name: envoy.transport_sockets.http_11_proxy
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport
    transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}`
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "b")
		tunnels := make(chan string, 100)
		proxy := listen(t, func(c net.Conn) { tunnel(c, tunnels, b.Addr) })
		metadata := fmt.Sprintf(`metadata: {typed_filter_metadata: {envoy.http11_proxy_transport_socket.proxy_address:
      {"@type": type.googleapis.com/envoy.config.core.v3.Address, socket_address: {address: 127.0.0.1, port_value: %s}}}}`, proxy[strings.LastIndexByte(proxy, ':')+1:])
		for name, c := range map[string]struct {
			fields, endpoint string
			want             bool
		}{
			// The address is one that only the proxy could know how to reach.
			"metadata":         {proxied, `{endpoint: {address: ` + socketAddress("192.0.2.1:80") + `}, ` + metadata + `}`, true},
			"default":          {proxied + "\n    default_proxy_address: " + socketAddress(proxy), lbEndpoint("192.0.2.1:80"), true},
			"no proxy named":   {proxied, lbEndpoint(b.Addr), false},
			"socket is direct": {"", `{endpoint: {address: ` + socketAddress(b.Addr) + `}, ` + metadata + `}`, false},
		} {
			m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, c.fields, c.endpoint)))
			if got, err := p.client(t, m, "raw")(within(t, long), request{}); err != nil || got != "b" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			select {
			case asked := <-tunnels:
				if !c.want || asked != "192.0.2.1:80" {
					t.Errorf("%s: a tunnel to %q", name, asked)
				}
			default:
				if c.want {
					t.Errorf("%s: not through the proxy", name)
				}
			}
		}
		refuses := listen(t, func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		})
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, proxied+"\n    default_proxy_address: "+socketAddress(refuses), lbEndpoint(b.Addr))))
		if _, err := p.client(t, m, "raw")(within(t, long), request{}); err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
			t.Errorf("a proxy that refuses: %v", err)
		}
	})
}

// tunnel is a proxy that knows one way.
func tunnel(c net.Conn, asked chan<- string, to string) {
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil || req.Method != http.MethodConnect {
		c.Close()
		return
	}
	asked <- req.RequestURI
	up, err := net.Dial("tcp", to)
	if err != nil {
		c.Close()
		return
	}
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\nVia: test\r\n\r\n")
	go func() {
		_, _ = io.Copy(up, br)
		up.Close()
	}()
	_, _ = io.Copy(c, up)
	c.Close()
}

const divertVariable = "WEFT_TEST_DIVERT"

// TestEnvironmentDoesNotDivert runs itself with a proxy in its environment, which the
// process reads once: where mesh calls go is policy's to say.
func TestEnvironmentDoesNotDivert(t *testing.T) {
	if os.Getenv(divertVariable) != "" {
		eachProtocol(t, func(t *testing.T, p protocol) {
			b := p.backend(t, "b")
			m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders.example", b))))
			if got, err := p.client(t, m, "orders.example")(within(t, long), request{}); err != nil || got != "b" {
				t.Errorf("%q, %v", got, err)
			}
		})
		// Nor is the endpoint taken for a proxy, which is asked with the whole URL.
		b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) }))
		m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+protocols[1].service("orders.example", b))))
		if got, err := httpClient(t, m, "orders.example")(within(t, long), request{path: "/x"}); err != nil || got != "/x" {
			t.Errorf("the endpoint is asked for %q, %v", got, err)
		}
		return
	}
	proxy, accepted := silent(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnvironmentDoesNotDivert$")
	cmd.Env = append(os.Environ(), divertVariable+"=1", "HTTP_PROXY=http://"+proxy, "HTTPS_PROXY=http://"+proxy, "NO_PROXY=")
	if out, err := cmd.CombinedOutput(); err != nil || accepted.Load() > 0 {
		t.Errorf("%v, %d connections to the proxy:\n%s", err, accepted.Load(), out)
	}
}
