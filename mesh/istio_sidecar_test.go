package mesh_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
	"github.com/weft-mesh/weft/resolver"
)

// The identities of the recorded service and of its caller.
const (
	echoID = "spiffe://cluster.local/ns/default/sa/echo"
	webID  = "spiffe://cluster.local/ns/default/sa/web"
)

// TestIstioSidecar has calls go by what istiod serves to an Envoy: routes are found
// by port, and every connection is mTLS, with the certificates that the bootstrap
// has under the names of Istio's secrets.
func TestIstioSidecar(t *testing.T) {
	ca := testca.New(t, "istio")
	eachADS(t, func(t *testing.T, form string, everything bool) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			v1, v2 := startSidecar(t, p.backend(t, "v1"), ca, echoID), startSidecar(t, p.backend(t, "v2"), ca, echoID)
			cp := newReplay(t, "sidecar", everything)
			cp.move(t, map[string]string{
				echoEndpoints[p.name]["v1"]: v1.addr,
				echoEndpoints[p.name]["v2"]: v2.addr,
			})
			m := meshtest.New(t, mesh.WithBootstrap(cp.bootstrap(t, sidecarMode(form, istioSecrets(t, ca)))))
			callsEcho(t, p, m)
			cp.introduced(t, resolver.ClusterURL, resolver.EndpointsURL, resolver.RouteConfigURL)
			want := []string{"outbound|" + echoPorts[p.name] + "|v1|echo.mesh.local", "outbound|" + echoPorts[p.name] + "|v2|echo.mesh.local"}
			if diff := cmp.Diff(want, cp.names(resolver.ClusterURL)); diff != "" {
				t.Errorf("clusters asked for, of all that the port has (-want +got):\n%s", diff)
			}
			for version, backend := range map[string]*sidecar{"v1": v1, "v2": v2} {
				want := []handshake{{
					client:     webID,
					serverName: "outbound_." + echoPorts[p.name] + "_." + version + "_.echo.mesh.local",
					protocol:   map[string]string{"grpc": "istio-h2", "http": "istio-http/1.1"}[p.name],
				}}
				if diff := cmp.Diff(want, backend.saw(), cmp.AllowUnexported(handshake{})); diff != "" {
					t.Errorf("%s: handshakes (-want +got):\n%s", version, diff)
				}
			}
		})
	})
}

// TestIstioFailover has a call fall to the second of the recorded cluster's two
// priorities when its first is gone. No recorded route leads there.
func TestIstioFailover(t *testing.T) {
	ca := testca.New(t, "istio")
	eachProtocol(t, func(t *testing.T, p protocol) {
		v1, v2 := startSidecar(t, p.backend(t, "v1"), ca, echoID), startSidecar(t, p.backend(t, "v2"), ca, echoID)
		cp := newReplay(t, "sidecar", true)
		cp.move(t, map[string]string{
			echoEndpoints[p.name]["v1"]: v1.addr,
			echoEndpoints[p.name]["v2"]: v2.addr,
		})
		cp.add(t, &routev3.RouteConfiguration{Name: "1", VirtualHosts: []*routev3.VirtualHost{{
			Name:    "all",
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "outbound|" + echoPorts[p.name] + "||echo.mesh.local"},
				}},
			}},
		}}})
		m := meshtest.New(t, mesh.WithBootstrap(cp.bootstrap(t, sidecarMode("delta", istioSecrets(t, ca)))))
		call := patiently(p.client(t, m, "echo.mesh.local:1"))
		eventually(t, call, request{}, "v1")
		v1.stop()
		// A call may have been on its way to v1; what comes after it may not.
		_, _ = call(within(t, long), request{})
		eventually(t, call, request{}, "v2")
	})
}

// TestIstioRefusesImpostors has backends that are not the service that policy names.
func TestIstioRefusesImpostors(t *testing.T) {
	ca, other := testca.New(t, "istio"), testca.New(t, "other")
	for _, c := range []struct {
		name string
		ca   *testca.CA
		id   string
		says string
	}{
		{"another service", ca, "spiffe://cluster.local/ns/default/sa/mallory", "sa/mallory"},
		{"another trust domain", ca, "spiffe://evil.local/ns/default/sa/echo", "evil.local"},
		{"a longer name", ca, echoID + "o", "sa/echoo"},
		{"another authority", other, echoID, "unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p protocol) {
				impostor := startSidecar(t, p.backend(t, "impostor"), c.ca, c.id)
				call := p.sidecarCall(t, impostor.addr, istioSecrets(t, ca))
				refused(t, call, c.says)
				if n := impostor.backend.Calls(); n != 0 {
					t.Errorf("%d requests reached the impostor", n)
				}
			})
		})
	}
}

// TestIstioNeverPlaintext has backends to which a TLS connection cannot be made,
// for want of an answer in TLS or of the certificates, listening for plaintext.
func TestIstioNeverPlaintext(t *testing.T) {
	ca := testca.New(t, "istio")
	all := istioSecrets(t, ca)
	absent := testca.NewFiles(t)
	for _, c := range []struct {
		name    string
		secrets map[string]any
		says    string
		hello   bool // the handshake begins
	}{
		{"a plaintext backend", all, "TLS", true},
		{"no certificate providers", nil, "no certificate_providers", false},
		{"no identity", map[string]any{"ROOTCA": all["ROOTCA"]}, "default", false},
		{"no roots", map[string]any{"default": all["default"]}, "ROOTCA", false},
		{"no identity's file", map[string]any{"ROOTCA": all["ROOTCA"], "default": fileWatcher(map[string]string{
			"certificate_file": absent.Cert, "private_key_file": absent.Key,
		})}, absent.Cert, false},
		{"no roots' file", map[string]any{"default": all["default"], "ROOTCA": fileWatcher(map[string]string{
			"ca_certificate_file": absent.CA,
		})}, absent.CA, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p protocol) {
				plain := startWiretap(t)
				call := p.sidecarCall(t, plain.addr, c.secrets)
				refused(t, call, c.says)
				sent := plain.heard()
				switch {
				case !c.hello && len(sent) > 0:
					t.Errorf("the backend was sent %q", sent)
				case c.hello && len(sent) == 0:
					t.Error("no connection was tried")
				}
				for _, s := range sent {
					const handshakeRecord = 0x16
					if s[0] != handshakeRecord || strings.Contains(s, secretOfRequest) {
						t.Errorf("the backend was sent %q, which is not only a TLS handshake", s)
					}
				}
			})
		})
	}
}

// TestIstioSidecarNames has targets found by what a sidecar would see of a request:
// the port it is sent to, and its Host.
func TestIstioSidecarNames(t *testing.T) {
	ca := testca.New(t, "istio")
	v2 := startSidecar(t, httpBackend(t, "v2"), ca, echoID)
	cp := newReplay(t, "sidecar", true)
	cp.move(t, map[string]string{echoEndpoints["http"]["v2"]: v2.addr, echoEndpoints["grpc"]["v2"]: v2.addr})
	m := meshtest.New(t, mesh.WithBootstrap(cp.bootstrap(t, sidecarMode("delta", istioSecrets(t, ca)))))
	for _, c := range []struct {
		url, host string
		proto     string
		fails     string
	}{
		{url: "http://echo.mesh.local:8080", proto: "HTTP/1.1"},
		{url: "http://ECHO.mesh.local.:8080", proto: "HTTP/1.1"},
		{url: "http://240.240.0.1:8080", proto: "HTTP/1.1"},
		{url: "http://anything:8080", host: "echo.mesh.local", proto: "HTTP/1.1"},
		{url: "http://anything:8080", host: "echo.mesh.local:1", proto: "HTTP/1.1"},
		{url: "https://echo.mesh.local:8080", proto: "HTTP/1.1"},
		{url: "http://echo.mesh.local:7070", proto: "HTTP/2.0"},
		{url: "https://echo.mesh.local:7070", proto: "HTTP/2.0"},
		{url: "http://echo.mesh.local:8080", host: "anything", fails: "PassthroughCluster"},
		{url: "http://echo.mesh.local", fails: "outbound|80|v2|echo.mesh.local"}, // not recorded
		{url: "https://echo.mesh.local", fails: `"443"`},
	} {
		t.Run(c.url+" "+c.host, func(t *testing.T) {
			ctx := within(t, long)
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/proto.Echo/Say", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			req.Header.Set("X-Canary", "1")
			// Another base, so that no case finds the connections of another.
			transport := m.Transport(&http.Transport{})
			resp, err := transport.RoundTrip(req)
			for tooSlow(ctx, err) {
				resp, err = transport.RoundTrip(req)
			}
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("error %v does not say %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := resp.Header.Get("Proto"); got != c.proto {
				t.Errorf("the backend was asked by %s, want %s", got, c.proto)
			}
		})
	}
	if _, err := m.Dial("echo.mesh.local"); err == nil || !strings.Contains(err.Error(), "needs a port") {
		t.Errorf("a channel without a port: %v", err)
	}
}

// TestIstioPassthrough has hosts that the mesh does not know reached where the caller
// says they are: the meaning of Istio's cluster for them.
func TestIstioPassthrough(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		cp := newReplay(t, "sidecar", true)
		m := meshtest.New(t, mesh.WithBootstrap(cp.bootstrap(t, sidecarMode("delta", nil))))
		outside := p.backend(t, "outside")
		host := "unknown.example:" + echoPorts[p.name]
		var asked atomic.Value
		toOutside := func(ctx context.Context, address string) (net.Conn, error) {
			asked.Store(address)
			return new(net.Dialer).DialContext(ctx, "tcp", outside.Addr)
		}
		var answer string
		var err error
		if p.name == "grpc" {
			answer, err = invoke(within(t, long), dial(t, m, host, grpc.WithContextDialer(toOutside)), request{})
		} else {
			client := &http.Client{Transport: m.Transport(&http.Transport{
				DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return toOutside(ctx, address) },
			})}
			defer client.CloseIdleConnections()
			answer, err = httpCall(within(t, long), client, host, request{})
		}
		if err != nil || answer != "outside" {
			t.Errorf("answered by %q, %v", answer, err)
		}
		if got := asked.Load(); got != host {
			t.Errorf("dialled %v, want %s", got, host)
		}
		cp.settle(t)
	})
}

const secretOfRequest = "a secret of the caller"

// refused makes a call that must fail, for want of a connection.
func refused(t *testing.T, call func(context.Context, request) (string, error), says string) {
	t.Helper()
	ctx, r := within(t, long), request{path: "/proto.Echo/Say", header: map[string]string{"x-secret": secretOfRequest}}
	answer, err := patiently(call)(ctx, r)
	if err == nil {
		t.Fatalf("answered by %q", answer)
	}
	if !errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("error %v is not ErrUnavailable", err)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("error %q does not say %q", err, says)
	}
}

// sidecarCall calls the recorded service in a mesh that takes both of its versions
// to be at addr.
func (p protocol) sidecarCall(t *testing.T, addr string, secrets map[string]any) func(context.Context, request) (string, error) {
	cp := newReplay(t, "sidecar", true)
	cp.move(t, map[string]string{
		echoEndpoints[p.name]["v1"]: addr,
		echoEndpoints[p.name]["v2"]: addr,
	})
	m := meshtest.New(t, mesh.WithBootstrap(cp.bootstrap(t, sidecarMode("delta", secrets))))
	return p.client(t, m, "echo.mesh.local:"+echoPorts[p.name])
}

// sidecarMode is what a bootstrap says to find targets as a sidecar does. secrets
// are the certificate providers; nil for none.
func sidecarMode(form string, secrets map[string]any) map[string]any {
	mode := map[string]any{
		"weft": map[string]any{"ads": form, "route_config_name_template": "%p"},
	}
	if secrets != nil {
		mode["certificate_providers"] = secrets
	}
	return mode
}

// istioSecrets are certificate providers under the names of Istio's secrets: the
// caller's identity, and the roots it trusts.
func istioSecrets(t *testing.T, ca *testca.CA) map[string]any {
	files := testca.NewFiles(t)
	files.WriteIdentity(t, ca.SPIFFE(t, webID))
	files.WriteCA(t, ca)
	return map[string]any{
		"default": fileWatcher(map[string]string{"certificate_file": files.Cert, "private_key_file": files.Key}),
		"ROOTCA":  fileWatcher(map[string]string{"ca_certificate_file": files.CA}),
	}
}

func fileWatcher(config map[string]string) map[string]any {
	return map[string]any{"plugin_name": "file_watcher", "config": config}
}
