package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/internal/match"
)

// target is what a cluster hands to New, for a plaintext endpoint; dials counts.
func target(addr string, check balancer.HealthCheck, dials *int) balancer.CheckTarget {
	return balancer.CheckTarget{Check: &check, Host: "checked.example", Dial: func(ctx context.Context, _ ...string) (net.Conn, error) {
		if dials != nil {
			*dials++
		}
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
}

// long bounds hanging.
const long = time.Minute

func within1(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func probe(t *testing.T, p balancer.Prober, want balancer.Verdict) {
	t.Helper()
	if got := p.Probe(within1(t, long)); got != want {
		t.Errorf("verdict %v, want %v", got, want)
	}
}

// serveHTTP answers HTTP/1.1 and h2c.
func serveHTTP(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestHTTPVerdicts(t *testing.T) {
	exactly, err := match.NewString(match.Prefix, "orders", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		change func(*balancer.HTTPCheck)
		want   balancer.Verdict
	}{
		{name: "200", status: 200, want: balancer.Passed},
		{name: "204", status: 204, want: balancer.Refused},
		{name: "503", status: 503, want: balancer.Refused},
		{name: "redirect", status: 302, header: map[string]string{"Location": "/"}, want: balancer.Refused},
		{name: "retriable", status: 503, change: func(h *balancer.HTTPCheck) { h.Retriable = []balancer.StatusRange{{Start: 503, End: 504}} }, want: balancer.RefusedForNow},
		{name: "expected counts more", status: 200, change: func(h *balancer.HTTPCheck) { h.Retriable = h.Expected }, want: balancer.Passed},
		{name: "degraded", status: 200, header: map[string]string{"x-envoy-degraded": ""}, want: balancer.PassedDegraded},
		{name: "immediate", status: 503, header: map[string]string{"x-envoy-immediate-health-check-fail": "true"}, want: balancer.RefusedUncounted},
		{name: "immediate but 200", status: 200, header: map[string]string{"x-envoy-immediate-health-check-fail": "true"}, want: balancer.Passed},
		{name: "body", status: 200, body: "a, then b", change: func(h *balancer.HTTPCheck) { h.Receive = [][]byte{[]byte("a"), []byte("b")} }, want: balancer.Passed},
		{name: "body in another order", status: 200, body: "b, then a", change: func(h *balancer.HTTPCheck) { h.Receive = [][]byte{[]byte("a"), []byte("b")} }, want: balancer.Refused},
		{name: "body too late", status: 200, body: "1234567890b", change: func(h *balancer.HTTPCheck) { h.Receive, h.MaxBody = [][]byte{[]byte("b")}, 10 }, want: balancer.Refused},
		{name: "service", status: 200, header: map[string]string{"x-envoy-upstream-healthchecked-cluster": "orders-1"}, change: func(h *balancer.HTTPCheck) { h.Service = &exactly }, want: balancer.Passed},
		{name: "another service", status: 200, header: map[string]string{"x-envoy-upstream-healthchecked-cluster": "shop"}, change: func(h *balancer.HTTPCheck) { h.Service = &exactly }, want: balancer.Refused},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/http2=%v", c.name, http2), func(t *testing.T) {
				addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
					if want := map[bool]int{false: 1, true: 2}[http2]; r.ProtoMajor != want {
						t.Errorf("HTTP/%d, want HTTP/%d", r.ProtoMajor, want)
					}
					for k, v := range c.header {
						w.Header().Set(k, v)
					}
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
				})
				check := &balancer.HTTPCheck{Method: "GET", Path: "/", HTTP2: http2, Expected: []balancer.StatusRange{{Start: 200, End: 201}}, MaxBody: 1024}
				if c.change != nil {
					c.change(check)
				}
				p := New(target(addr, balancer.HealthCheck{HTTP: check}, nil))
				defer p.Close()
				probe(t, p, c.want)
			})
		}
	}
}

// TestHTTPRequest is sent as policy says.
func TestHTTPRequest(t *testing.T) {
	type request struct {
		Method, Host, URI, Agent, Body string
		Added, Appended                []string
	}
	requests := make(chan request, 1)
	addr := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- request{r.Method, r.Host, r.RequestURI, r.UserAgent(), string(body), r.Header["Added"], r.Header["Appended"]}
	})
	ok := []balancer.StatusRange{{Start: 200, End: 201}}
	for _, c := range []struct {
		check balancer.HTTPCheck
		want  request
	}{
		{balancer.HTTPCheck{Method: "GET", Path: "/healthz?full=1", Expected: ok},
			request{Method: "GET", Host: "checked.example", URI: "/healthz?full=1", Agent: userAgent}},
		{balancer.HTTPCheck{Method: "POST", Path: "/a%2Fb", Expected: ok, Send: []byte("hello"), WithoutHeaders: []string{"user-agent"},
			Headers: []balancer.CheckHeader{{Name: "added", Value: "0"}, {Name: "added", Value: "1"},
				{Name: "appended", Value: "0"}, {Name: "appended", Value: "1", Append: true}, {Name: "host", Value: "other.example"}}},
			request{Method: "POST", Host: "other.example", URI: "/a%2Fb", Body: "hello", Added: []string{"1"}, Appended: []string{"0", "1"}}},
	} {
		p := New(target(addr, balancer.HealthCheck{HTTP: &c.check}, nil))
		for range 2 {
			probe(t, p, balancer.Passed)
			if diff := cmp.Diff(c.want, <-requests); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		}
		p.Close()
	}
}

// TestReconnect keeps a connection, or does not.
func TestReconnect(t *testing.T) {
	httpAddr := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	grpcAddr, _ := serveGRPC(t)
	tcpAddr := serveTCP(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	ok := []balancer.StatusRange{{Start: 200, End: 201}}
	for name, c := range map[string]struct {
		addr  string
		check balancer.HealthCheck
	}{
		"http": {httpAddr, balancer.HealthCheck{HTTP: &balancer.HTTPCheck{Method: "GET", Path: "/", Expected: ok}}},
		"h2c":  {httpAddr, balancer.HealthCheck{HTTP: &balancer.HTTPCheck{Method: "GET", Path: "/", Expected: ok, HTTP2: true}}},
		"grpc": {grpcAddr, balancer.HealthCheck{GRPC: &balancer.GRPCCheck{}}},
		"tcp":  {tcpAddr, balancer.HealthCheck{TCP: &balancer.TCPCheck{Send: []byte("ping"), Receive: [][]byte{[]byte("ping")}}}},
	} {
		for _, reconnect := range []bool{false, true} {
			dials := 0
			c.check.Reconnect = reconnect
			p := New(target(c.addr, c.check, &dials))
			for range 3 {
				probe(t, p, balancer.Passed)
			}
			p.Close()
			if want := map[bool]int{false: 1, true: 3}[reconnect]; dials != want {
				t.Errorf("%s, reconnect %v: %d connections, want %d", name, reconnect, dials, want)
			}
		}
	}
}

// serveGRPC answers health checks.
func serveGRPC(t *testing.T) (addr string, h *health.Server) {
	h = health.NewServer()
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get(":authority"); len(got) != 1 || got[0] != "checked.example" {
			t.Errorf("authority %q", got)
		}
		if len(md.Get("fail")) > 0 {
			return nil, status.Error(codes.Unavailable, "told to")
		}
		return next(ctx, req)
	}))
	healthpb.RegisterHealthServer(s, h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String(), h
}

func TestGRPCVerdicts(t *testing.T) {
	addr, h := serveGRPC(t)
	p := New(target(addr, balancer.HealthCheck{GRPC: &balancer.GRPCCheck{Service: "orders"}}, nil))
	defer p.Close()
	probe(t, p, balancer.Refused) // NOT_FOUND
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	probe(t, p, balancer.Passed)
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_NOT_SERVING)
	probe(t, p, balancer.Refused)

	whole := New(target(addr, balancer.HealthCheck{GRPC: &balancer.GRPCCheck{}}, nil))
	defer whole.Close()
	probe(t, whole, balancer.Passed)
	failing := New(target(addr, balancer.HealthCheck{GRPC: &balancer.GRPCCheck{Metadata: []balancer.CheckHeader{{Name: "fail", Value: "1"}}}}, nil))
	defer failing.Close()
	probe(t, failing, balancer.Unreachable)
}

// serveTCP hands each connection to f, and closes it afterwards.
func serveTCP(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestTCPVerdicts(t *testing.T) {
	echo := serveTCP(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	once := serveTCP(t, func(c net.Conn) {
		b := make([]byte, 4)
		_, _ = io.ReadFull(c, b)
		_, _ = c.Write(b)
	})
	flood := serveTCP(t, func(c net.Conn) {
		for b := make([]byte, 4096); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	ping := func(parts ...string) *balancer.TCPCheck {
		c := &balancer.TCPCheck{Send: []byte("ping")}
		for _, p := range parts {
			c.Receive = append(c.Receive, []byte(p))
		}
		return c
	}
	for _, c := range []struct {
		name, addr string
		check      *balancer.TCPCheck
		want       balancer.Verdict
	}{
		{"connect", echo, &balancer.TCPCheck{}, balancer.Passed},
		{"connect to one that talks", flood, &balancer.TCPCheck{Send: []byte("x")}, balancer.Passed},
		{"parts", echo, ping("p", "ng"), balancer.Passed},
		{"too much", flood, ping("x"), balancer.Unreachable},
		{"closed", once, ping("pong"), balancer.Unreachable},
		{"closed between probes", once, ping("ping"), balancer.Passed},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := New(target(c.addr, balancer.HealthCheck{TCP: c.check}, nil))
			defer p.Close()
			for range 3 {
				probe(t, p, c.want)
			}
		})
	}
}

// TestUnreachable is what nobody answers, in time or at all.
func TestUnreachable(t *testing.T) {
	silent := serveTCP(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for name, check := range map[string]balancer.HealthCheck{
		"http": {HTTP: &balancer.HTTPCheck{Method: "GET", Path: "/"}},
		"h2c":  {HTTP: &balancer.HTTPCheck{Method: "GET", Path: "/", HTTP2: true}},
		"grpc": {GRPC: &balancer.GRPCCheck{}},
		"tcp":  {TCP: &balancer.TCPCheck{Receive: [][]byte{[]byte("x")}}},
	} {
		p := New(target(silent, check, nil))
		for range 2 {
			if got := p.Probe(within1(t, 20*time.Millisecond)); got != balancer.Unreachable {
				t.Errorf("%s, silent: %v", name, got)
			}
		}
		p.Close()
		refusing := target("", check, nil)
		refusing.Dial = func(context.Context, ...string) (net.Conn, error) { return nil, errors.New("refused") }
		p = New(refusing)
		probe(t, p, balancer.Unreachable)
		p.Close()
	}
}
