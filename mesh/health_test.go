package mesh_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// patient is a backend that answers calls whatever it says of its health.
type patient struct {
	*meshtest.Backend
	sick   atomic.Bool
	checks atomic.Int64
	says   atomic.Pointer[http.Header] // in answers of its checks, by HTTP
}

// newPatient answers health checks for the service "orders" by gRPC, and at /healthz by
// HTTP: with 503 when it is sick.
func newPatient(t *testing.T, p protocol, name string) *patient {
	b := &patient{}
	if p.name == "grpc" {
		b.Backend = meshtest.GRPC(t, func(r grpc.ServiceRegistrar) {
			grpc_health_v1.RegisterHealthServer(r, healthOf{patient: b})
		}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
				return err
			}
			return s.SendMsg(wrapperspb.String(name))
		}))
		return b
	}
	b.Backend = meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if says := b.says.Load(); says != nil {
			for k, v := range *says {
				w.Header()[k] = v
			}
		}
		switch {
		case r.URL.Path != "/healthz":
			fmt.Fprint(w, name)
		case !b.check(r.Host):
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
	}))
	return b
}

// check counts a check, which names the service as its host, and says how it ends.
func (b *patient) check(host string) (well bool) {
	b.checks.Add(1)
	return !b.sick.Load() && host == "orders"
}

type healthOf struct {
	grpc_health_v1.UnimplementedHealthServer
	*patient
}

func (h healthOf) Check(_ context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if !h.check(req.GetService()) {
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// checkOf is a check by the protocol itself.
func checkOf(p protocol) string {
	if p.name == "grpc" {
		return "grpc: {serviceName: orders}"
	}
	return "http: /healthz"
}

const eager = `interval: 10ms, timeout: 60s, healthyThreshold: 1, unhealthyThreshold: 1`

// TestHealthChecks has active checks take an endpoint out and back, under load that does
// not notice (row L6).
func TestHealthChecks(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := newPatient(t, p, "a"), newPatient(t, p, "b")
		a.sick.Store(true)
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
			`services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q, %q], healthChecks: [{%s, %s}]}}`,
			p.name, a.Addr, b.Addr, checkOf(p), eager))))
		call := p.client(t, m, "orders")
		if diff := cmp.Diff(map[string]int{"b": 20}, counts(t, call, request{}, 20)); diff != "" {
			t.Errorf("the first calls: (-want +got):\n%s", diff)
		}
		l := startLoad(t, 2, call, request{})
		a.sick.Store(false)
		eventually(t, call, request{}, "a", "b")
		b.sick.Store(true)
		eventually(t, call, request{}, "a")
		b.sick.Store(false)
		eventually(t, call, request{}, "a", "b")
		l.end(t)
	})
}

// TestNoHealthIsPanic uses all endpoints when none passes.
func TestNoHealthIsPanic(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := newPatient(t, p, "a"), newPatient(t, p, "b")
		a.sick.Store(true)
		b.sick.Store(true)
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
			`services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q, %q], healthChecks: [{%s, %s}]}}`,
			p.name, a.Addr, b.Addr, checkOf(p), eager))))
		eventually(t, p.client(t, m, "orders"), request{}, "a", "b")
	})
}

// TestHealthCheckPort checks by TCP, at another port than calls go to.
func TestHealthCheckPort(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		open := func(addr string) net.Listener {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if addr == "127.0.0.1:0" {
				held(t, l)
			}
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						_, _ = io.Copy(c, c)
					}()
				}
			}()
			t.Cleanup(func() { _ = l.Close() })
			return l
		}
		portOf := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
		door, other := open("127.0.0.1:0"), open("127.0.0.1:0")
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
			`services: {orders: {protocol: %s, healthChecks: [{tcp: {send: ping, receive: [pi, ng]}, reuseConnection: false, %s}],
				endpoints: [{address: %q, healthCheckPort: %d}, {address: %q, healthCheckPort: %d, priority: 1}]}}`,
			p.name, eager, a.Addr, portOf(door), b.Addr, portOf(other)))))
		call := p.client(t, m, "orders")
		if diff := cmp.Diff(map[string]int{"a": 10}, counts(t, call, request{}, 10)); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		_ = door.Close()
		eventually(t, call, request{}, "b")
		open(door.Addr().String())
		eventually(t, call, request{}, "a")
	})
}

// TestHealthHeaders heeds what Envoy's headers say, in checks and in answers.
func TestHealthHeaders(t *testing.T) {
	p := protocols[1]
	a, b := newPatient(t, p, "a"), newPatient(t, p, "b")
	m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
		`services: {orders: {endpoints: [%q, %q], healthChecks: [{http: /healthz, %s}, {http: /healthz, interval: 1h, timeout: 60s, healthyThreshold: 1}]}}`,
		a.Addr, b.Addr, eager))))
	call := p.client(t, m, "orders")
	eventually(t, call, request{}, "a", "b")
	a.says.Store(&http.Header{"X-Envoy-Degraded": {"true"}})
	b.says.Store(&http.Header{})
	// Half of the endpoints are healthy, which take 70 % of the calls.
	for deadline := time.Now().Add(long); ; {
		if got := counts(t, call, request{}, 100); got["a"] == 30 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("with a degraded: %v", got)
		}
	}
	a.says.Store(&http.Header{"X-Envoy-Immediate-Health-Check-Fail": {"true"}})
	// The next answer takes it out. One of its two checks is an hour from taking that back.
	eventually(t, call, request{}, "b")
	a.says.Store(nil)
	if diff := cmp.Diff(map[string]int{"b": 20}, counts(t, call, request{}, 20)); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// TestFailover takes a priority's health under load, and then its life. Calls move to the
// next one and back again; none fails but those that the dead took with them (rows L3,
// L6 and L7).
func TestFailover(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		const callers = 4
		var all []*patient
		var endpoints []string
		for i, name := range []string{"near 1", "near 2", "far 1", "far 2"} {
			b := newPatient(t, p, name)
			all = append(all, b)
			endpoints = append(endpoints, fmt.Sprintf("{address: %q, zone: %s, priority: %d}", b.Addr, name[:len(name)-2], i/2))
		}
		near := all[:2]
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
			`services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%s], healthChecks: [{%s, %s}],
				outlierDetection: {consecutive5xx: 3, interval: 10ms, baseEjectionTime: 10ms, maxEjectionPercent: 50}}}`,
			p.name, strings.Join(endpoints, ", "), checkOf(p), eager))))
		call := p.client(t, m, "orders")
		eventually(t, call, request{}, "near 1", "near 2")

		l := startLoad(t, callers, call, request{})
		for range 3 {
			l.await(20)
			for _, b := range near {
				b.sick.Store(true)
			}
			eventually(t, call, request{}, "far 1", "far 2")
			l.await(20)
			for _, b := range near {
				b.sick.Store(false)
			}
			eventually(t, call, request{}, "near 1", "near 2")
		}
		l.end(t)

		dying := &casualties{call: call}
		l = startLoad(t, callers, dying.survive, request{})
		for round := range int64(3) {
			l.await(20)
			for _, b := range near {
				b.Kill()
			}
			dying.eventually(t, "far 1", "far 2")
			for _, b := range near {
				b.Start()
			}
			dying.eventually(t, "near 1", "near 2")
			// Each caller had at most one call at each of the dead, and this test one.
			if most := (round + 1) * int64(len(near)) * (callers + 1); dying.lost.Load() > most {
				t.Errorf("%d calls failed in %d rounds, want at most %d; the last: %v", dying.lost.Load(), round+1, most, dying.last.Load())
			}
		}
		l.end(t)
		t.Logf("%d of %d calls were lost in three deaths of half of the endpoints", dying.lost.Load(), l.calls)
	})
}

// casualties makes calls of which some may be lost.
type casualties struct {
	call func(context.Context, request) (string, error)
	lost atomic.Int64
	last atomic.Value
}

func (c *casualties) survive(ctx context.Context, r request) (string, error) {
	name, err := c.call(ctx, r)
	if err != nil {
		c.lost.Add(1)
		c.last.Store(err.Error())
		return "", nil
	}
	return name, nil
}

// eventually is as the function, and takes no notice of lost calls.
func (c *casualties) eventually(t *testing.T, backends ...string) {
	t.Helper()
	for deadline := time.Now().Add(long); ; {
		got := map[string]bool{}
		for range 4 * len(backends) {
			name, _ := c.survive(within(t, long), request{})
			got[name] = true
		}
		want := map[string]bool{}
		for _, b := range backends {
			want[b] = true
		}
		if cmp.Equal(want, got) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("calls are answered by %v, want %v", got, backends)
		}
	}
}
