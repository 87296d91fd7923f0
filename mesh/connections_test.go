package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// rendezvous is a backend whose handlers answer when so many of them run at once: if
// one call had to wait for another, none would.
type rendezvous struct {
	*meshtest.Backend
	mu      sync.Mutex
	inside  int
	want    int
	met     chan struct{}
	entered sync.Cond
}

func newRendezvous(t *testing.T, p protocol, streams uint32) *rendezvous {
	r := &rendezvous{met: make(chan struct{})}
	r.entered.L = &r.mu
	switch p.name {
	case "grpc":
		r.Backend = meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.MaxConcurrentStreams(streams), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
				return err
			}
			r.enter(s.Context())
			return s.SendMsg(wrapperspb.String("b"))
		}))
	default:
		r.Backend = meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			r.enter(req.Context())
			fmt.Fprint(w, "b")
		}))
	}
	return r
}

// enter waits for the others.
func (r *rendezvous) enter(ctx context.Context) {
	r.mu.Lock()
	r.inside++
	r.entered.Broadcast()
	if r.inside == r.want {
		close(r.met)
	}
	met := r.met
	r.mu.Unlock()
	select {
	case <-met:
	case <-ctx.Done():
	}
}

// next begins another meeting, of so many.
func (r *rendezvous) next(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside, r.want, r.met = 0, n, make(chan struct{})
}

// letGo ends a meeting that not all have come to.
func (r *rendezvous) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.met)
	r.want = -1
}

// await waits until n handlers run.
func (r *rendezvous) await(t *testing.T, n int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !reached(&r.entered, long, func() bool { return r.inside >= n }) {
		t.Fatalf("%d calls are at the backend, %d were awaited", r.inside, n)
	}
}

// connectionOptions are the fields of a cluster that count connections.
func connectionOptions(p protocol, most, streams int, common string) string {
	version := "http_protocol_options: {}"
	if p.name != "http" {
		version = fmt.Sprintf("http2_protocol_options: {max_concurrent_streams: %d}", streams)
	}
	breakers := ""
	if most > 0 {
		breakers = fmt.Sprintf("circuit_breakers: {per_host_thresholds: [{max_connections: %d}]}\n", most)
	}
	return breakers + fmt.Sprintf(`typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {%s}
    explicit_http_config: {%s}`, common, version)
}

// countedProtocols are the ways to use connections: by streams, in both protocols, and
// one request at a time.
var countedProtocols = []struct {
	protocol
	streams int // of a connection
}{
	{protocols[0], 10},
	{protocol{"h2c", httpBackend, httpClient}, 10},
	{protocols[1], 1},
}

func eachCounted(t *testing.T, test func(t *testing.T, p protocol, streams int)) {
	for _, c := range countedProtocols {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			test(t, c.protocol, c.streams)
		})
	}
}

// callAll makes n calls at once and returns when all have been answered.
func callAll(t *testing.T, n int, call func(context.Context, request) (string, error)) {
	t.Helper()
	var done sync.WaitGroup
	ctx := within(t, long)
	for range n {
		done.Go(func() {
			if _, err := call(ctx, request{}); err != nil {
				t.Errorf("call: %v", err)
			}
		})
	}
	done.Wait()
}

// TestFurtherConnections fills the streams of a connection: a further one is opened, as
// many as policy allows, and no call waits while one may be opened; those beyond wait
// their turn, and go on (gRFC A105).
func TestFurtherConnections(t *testing.T) {
	eachCounted(t, func(t *testing.T, p protocol, streams int) {
		const most = 3
		b := newRendezvous(t, p, uint32(streams))
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, connectionOptions(p, most, streams, ""), lbEndpoint(b.Addr))))
		call := p.client(t, m, "raw")

		b.next(1)
		callAll(t, 1, call)
		if n := b.Connections(); n != 1 {
			t.Errorf("%d connections for one call", n)
		}
		b.next(most * streams)
		callAll(t, most*streams, call)
		if n := b.Connections(); n != most {
			t.Errorf("%d connections for %d calls, want %d", n, most*streams, most)
		}
		b.next(most * streams)
		callAll(t, 3*most*streams, call)
		if n := b.Connections(); n != most {
			t.Errorf("%d connections for %d calls, want %d", n, 3*most*streams, most)
		}
	})
}

// TestConnectionsOfService says it in the policy file.
func TestConnectionsOfService(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := newRendezvous(t, p, 4)
		streams, n := "maxConcurrentStreams: 4, ", 12
		if p.name == "http" {
			streams, n = "", 3
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf("services:\n  orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q], connections: {%smaxConnections: 3, idleTimeout: 1m}}\n", p.name, b.Addr, streams))))
		call := p.client(t, m, "orders")
		b.next(n)
		callAll(t, 2*n, call)
		if got := b.Connections(); got != 3 {
			t.Errorf("%d connections, want 3", got)
		}
	})
}

// TestWaitingCallsEnd has a call wait for a stream until its deadline.
func TestWaitingCallsEnd(t *testing.T) {
	eachCounted(t, func(t *testing.T, p protocol, streams int) {
		b := newRendezvous(t, p, uint32(streams))
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, connectionOptions(p, 2, streams, ""), lbEndpoint(b.Addr))))
		call := p.client(t, m, "raw")
		b.next(2*streams + 1) // one more than can
		var done sync.WaitGroup
		for range 2 * streams {
			done.Go(func() {
				if _, err := call(within(t, long), request{}); err != nil {
					t.Errorf("call: %v", err)
				}
			})
		}
		b.await(t, 2*streams)
		late, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := call(late, request{}); !isDeadline(err) {
			t.Errorf("a call beyond what the connections carry: %v, want its deadline", err)
		}
		done.Go(func() {
			if _, err := call(within(t, long), request{}); err != nil {
				t.Errorf("call: %v", err)
			}
		})
		b.letGo() // the one that waits has its turn
		done.Wait()
	})
}

// TestConnectionsShrink has the connections beyond the first close when they have had
// no call for the idle timeout.
func TestConnectionsShrink(t *testing.T) {
	eachCounted(t, func(t *testing.T, p protocol, streams int) {
		b := newRendezvous(t, p, uint32(streams))
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, connectionOptions(p, 4, streams, "idle_timeout: 0.2s"), lbEndpoint(b.Addr))))
		call := p.client(t, m, "raw")
		b.next(4 * streams)
		callAll(t, 4*streams, call)
		b.next(1)
		for deadline := time.Now().Add(long); b.Connections() > 1; {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections are left", b.Connections())
			}
			callAll(t, 1, call)
		}
	})
}

// TestMaxRequestsPerConnection counts the calls of each connection (row L8).
func TestMaxRequestsPerConnection(t *testing.T) {
	eachCounted(t, func(t *testing.T, p protocol, streams int) {
		const most, calls = 5, 40
		b, accepted := countAccepted(t, p)
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, connectionOptions(p, 0, streams, fmt.Sprintf("max_requests_per_connection: %d", most)), lbEndpoint(b))))
		got := counts(t, p.client(t, m, "raw"), request{}, calls)
		if got["b"] != calls {
			t.Fatalf("%v", got)
		}
		// gRPC has the next one ready.
		if n := accepted.Load(); n < calls/most || n > calls/most+1 {
			t.Errorf("%d connections for %d calls of at most %d each", n, calls, most)
		}
	})
}

// TestMaxConnectionDuration calls for longer than a connection may live: others take
// its place and no call fails.
func TestMaxConnectionDuration(t *testing.T) {
	eachCounted(t, func(t *testing.T, p protocol, streams int) {
		b, accepted := countAccepted(t, p)
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, connectionOptions(p, 0, streams, "max_connection_duration: 0.05s"), lbEndpoint(b))))
		call := p.client(t, m, "raw")
		for deadline := time.Now().Add(long); accepted.Load() < 4; {
			if time.Now().After(deadline) {
				t.Fatalf("just %d connections", accepted.Load())
			}
			counts(t, call, request{}, 10)
		}
	})
}

// countAccepted is a backend behind a listener that counts connections.
func countAccepted(t *testing.T, p protocol) (addr string, accepted *atomic.Int64) {
	b := p.backend(t, "b")
	accepted = new(atomic.Int64)
	return listen(t, func(c net.Conn) {
		accepted.Add(1)
		relay(c, b.Addr)
	}), accepted
}

// relay connects c to an address, until either side ends.
func relay(c net.Conn, to string) {
	defer c.Close()
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(up, c)
		up.Close()
	}()
	_, _ = io.Copy(c, up)
}

// TestFurtherConnectionFails has an endpoint that can be connected to twice and no more,
// through a proxy that refuses. The calls that find no stream free wait for one of the
// connections; none fails, and the endpoint is not taken for one that failed (A105).
func TestFurtherConnectionFails(t *testing.T) {
	eachCounted(t, func(t *testing.T, p protocol, streams int) {
		b := p.backend(t, "b")
		b.SetDelay(2 * time.Millisecond)
		tunnels := make(chan string, 2)
		var refused atomic.Int64
		proxy := listen(t, func(c net.Conn) {
			if refused.Add(1) > 2 {
				fmt.Fprint(c, "HTTP/1.1 503 Service Unavailable\r\n\r\n")
				c.Close()
				return
			}
			tunnel(c, tunnels, b.Addr)
		})
		m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, connectionOptions(p, 4, streams, "")+"\n"+proxySocket(proxy), lbEndpoint(b.Addr))))
		call := p.client(t, m, "raw")
		l := startLoad(t, 3*streams+2, call, request{})
		for deadline := time.Now().Add(long); refused.Load() < 3; {
			if time.Now().After(deadline) {
				t.Fatal("no third connection was asked for")
			}
			l.await(1)
		}
		l.await(20 * streams)
		l.end(t)
		if n := b.Connections(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

// TestConnectionsOfAnEndpointFail kills connections one by one under load: the others,
// and new ones, take the calls.
func TestConnectionsOfAnEndpointFail(t *testing.T) {
	p := protocols[0]
	b := p.backend(t, "b")
	b.SetDelay(2 * time.Millisecond)
	var mu sync.Mutex
	var conns []net.Conn
	flaky := listen(t, func(c net.Conn) {
		mu.Lock()
		conns = append(conns, c)
		mu.Unlock()
		relay(c, b.Addr)
	})
	m := meshtest.New(t, mesh.WithPolicy(rawCluster(p, connectionOptions(p, 3, 4, ""), lbEndpoint(flaky))))
	call := p.client(t, m, "raw")
	var failed atomic.Int64
	l := startLoad(t, 12, func(ctx context.Context, r request) (string, error) {
		got, err := call(ctx, r)
		if err != nil {
			failed.Add(1)
		}
		return got, nil
	}, request{})
	for cut := 0; cut < 9; {
		l.await(30)
		mu.Lock()
		if len(conns) > cut {
			conns[cut].Close()
			cut++
		}
		mu.Unlock()
	}
	l.await(100)
	l.end(t)
	if n := failed.Load(); n > 9*4 {
		t.Errorf("%d calls failed, though 9 connections of 4 calls were cut", n)
	}
	awaitConnections(t, b, 3)
}

// isDeadline is for both protocols.
func isDeadline(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}
