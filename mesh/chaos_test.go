package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
)

const (
	chaosBackends = 5
	chaosCallers  = 8           // of each kind, with and without policy
	chaosDeadline = time.Second // of each call
	chaosBudget   = 0.20
)

// chaosPolicy has each kind of call go to the same backends, with a policy and without.
const chaosPolicy = `
services:
  plain-grpc: {protocol: grpc, endpoints: [%[1]s]}
  plain-http: {protocol: http, endpoints: [%[1]s]}
  plain-h2c: {protocol: http2, endpoints: [%[1]s]}
  mesh-grpc:
    protocol: grpc
    endpoints: &endpoints [%[1]s]
    balance: &balance {policy: least_request}
    limits: &limits {maxRequests: 1000, retryBudget: {budgetPercent: 20%%, minRetryConcurrency: 3}}
    outlierDetection: &detection {interval: 100ms, baseEjectionTime: 500ms, maxEjectionTime: 1s, maxEjectionPercent: 60, consecutive5xx: 5}
  mesh-http: {protocol: http, endpoints: *endpoints, balance: *balance, limits: *limits, outlierDetection: *detection}
  mesh-h2c: {protocol: http2, endpoints: *endpoints, balance: *balance, limits: *limits, outlierDetection: *detection}
routes:
  mesh-grpc:
  - to: mesh-grpc
    retry: &retry {attempts: 4, on: [gateway-error, reset, unavailable], perTryTimeout: 200ms, backOff: {baseInterval: 5ms}}
  mesh-http: [{to: mesh-http, retry: *retry}]
  mesh-h2c: [{to: mesh-h2c, retry: *retry}]
`

// chaosRun is five backends in random trouble and what calls of them come to.
type chaosRun struct {
	*testing.T
	net      chaosNetwork
	backends []*troubled
	mesh     *mesh.Mesh
	base     *http.Transport
	conns    []*grpc.ClientConn
	kinds    []chaosKind
	tallies  map[string]*tally // by client
}

// chaosKind is a kind of call. It sends a text and expects it back.
type chaosKind struct {
	name string // and the end of its services' names
	call func(ctx context.Context, client, text string) (string, error)
}

func newChaosRun(t *testing.T, n chaosNetwork) *chaosRun {
	r := &chaosRun{T: t, net: n, tallies: map[string]*tally{}}
	addresses := n.addresses(t, chaosBackends)
	for _, a := range addresses {
		r.backends = append(r.backends, startTroubled(t, n, a))
	}
	var err error
	r.mesh, err = mesh.New(mesh.WithPolicy(fmt.Appendf(nil, chaosPolicy, `"`+strings.Join(addresses, `", "`)+`"`)),
		mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	r.base = &http.Transport{DialContext: n.dial, MaxIdleConns: 100}
	r.kinds = []chaosKind{
		{"unary", r.overGRPC(chaosUnary)},
		{"stream", r.overGRPC(chaosStream)},
		{"http", r.overHTTP("http")},
		{"h2c", r.overHTTP("h2c")},
	}
	return r
}

// overGRPC returns a call by gRPC, over a channel of its own for each client.
func (r *chaosRun) overGRPC(call func(context.Context, *grpc.ClientConn, string) (string, error)) func(context.Context, string, string) (string, error) {
	channels := map[string]*grpc.ClientConn{}
	for _, client := range []string{"plain", "mesh"} {
		conn, err := r.mesh.Dial(client+"-grpc", grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return r.net.dial(ctx, "tcp", address)
		}))
		if err != nil {
			r.Fatal(err)
		}
		channels[client] = conn
		r.conns = append(r.conns, conn)
	}
	return func(ctx context.Context, client, text string) (string, error) {
		return call(withClient(ctx, client), channels[client], text)
	}
}

func chaosUnary(ctx context.Context, conn *grpc.ClientConn, text string) (string, error) {
	reply := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, "/a/unary", wrapperspb.String(text), reply)
	return reply.GetValue(), err
}

// chaosStream sends a text in three messages.
func chaosStream(ctx context.Context, conn *grpc.ClientConn, text string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/stream")
	if err != nil {
		return "", err
	}
	var got strings.Builder
	for part := range slices.Chunk([]byte(text), (len(text)+2)/3) {
		if err := s.SendMsg(wrapperspb.String(string(part))); err != nil {
			break // receiving says why
		}
	}
	if err := s.CloseSend(); err != nil {
		return "", err
	}
	for {
		m := new(wrapperspb.StringValue)
		if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
			return got.String(), nil
		} else if err != nil {
			return "", err
		}
		got.WriteString(m.GetValue())
	}
}

// overHTTP returns a call by HTTP, every other of which has a body that cannot be had again.
func (r *chaosRun) overHTTP(protocol string) func(context.Context, string, string) (string, error) {
	rt := r.mesh.Transport(r.base)
	return func(ctx context.Context, client, text string) (string, error) {
		var body io.Reader = strings.NewReader(text)
		if len(text)%2 == 0 {
			body = io.MultiReader(body)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+client+"-"+protocol+"/", body)
		if err != nil {
			return "", err
		}
		req.Header.Set("client", client)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", resp.Status)
		}
		return string(got), err
	}
}

// load makes calls for d, while the backends fall ill and recover as seed says.
func (r *chaosRun) load(seed uint64, d time.Duration) {
	var callers, schedules sync.WaitGroup
	for i, b := range r.backends {
		schedules.Go(func() { b.schedule(seed+uint64(i), d) })
	}
	ends := time.Now().Add(d)
	for _, k := range r.kinds {
		for _, client := range []string{"plain", "mesh"} {
			t := &tally{}
			r.tallies[client+" "+k.name] = t
			for i := range chaosCallers {
				callers.Go(func() {
					for n := i; time.Now().Before(ends); n++ {
						t.count(k, client, strings.Repeat("chaos ", 1+n%50)+fmt.Sprint(n))
						pause(context.Background(), nil, 20*time.Millisecond)
					}
				})
			}
		}
	}
	callers.Wait()
	schedules.Wait()
}

// open is how many connections the backends have.
func (r *chaosRun) open() (n int64) {
	for _, b := range r.backends {
		n += b.conns.Load()
	}
	return n
}

// stop ends clients and backends, and expects nothing to be left of them.
func (r *chaosRun) stop() {
	for _, c := range r.conns {
		_ = c.Close()
	}
	if err := r.mesh.Close(within(r, long)); err != nil {
		r.Errorf("calls are in flight: %v", err)
	}
	for begun := time.Now(); r.open() > 0 && time.Since(begun) < long; {
		pause(context.Background(), nil, 10*time.Millisecond)
	}
	if n := r.open(); n > 0 {
		r.Errorf("%d connections are open after all was closed", n)
	}
	for _, b := range r.backends {
		b.stop()
	}
}

// chaosTime is how long a run takes: d, or what WEFT_CHAOS says, such as 1m.
func chaosTime(t *testing.T, d time.Duration) time.Duration {
	if v := os.Getenv("WEFT_CHAOS"); v != "" {
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			t.Fatalf("WEFT_CHAOS: %v", err)
		}
	}
	return d
}

// TestChaos makes calls of each kind to backends in random trouble. Time is synctest's, and
// the network takes none, so that what calls take is exact on every machine.
func TestChaos(t *testing.T) {
	const seed = 5
	d := chaosTime(t, 6*time.Second)
	before := heap()
	var run *chaosRun // grpc's channels must not become garbage within the bubble
	synctest.Test(t, func(t *testing.T) {
		run = newChaosRun(t, &memory{})
		run.load(seed, d)
		run.report(seed)
		run.judge()
		run.judgeAnswers()
		run.stop()
		time.Sleep(time.Hour) // timers that nobody stopped hold what they are of
	})
	*run = chaosRun{}
	if grown := int64(heap()) - int64(before); grown > 8<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// TestChaosOverSockets is TestChaos over the machine's, in its time. How late a call ends is
// reported beside how late a timer is that does nothing.
func TestChaosOverSockets(t *testing.T) {
	const seed = 5
	r := newChaosRun(t, &loopback{})
	stop, control := make(chan struct{}), make(chan time.Duration)
	go func() { control <- timersLate(stop) }()
	r.load(seed, chaosTime(t, 5*time.Second))
	close(stop)
	r.report(seed)
	r.Logf("a timer that does nothing is late by up to %v meanwhile", (<-control).Round(100*time.Microsecond))
	r.judgeAnswers()
	r.stop()
}

// heap is how many bytes are in use.
func heap() uint64 {
	var s runtime.MemStats
	for range 3 { // finalizers and cleanups make garbage of their own
		runtime.GC()
	}
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// timersLate is by how much a timer is late at most.
func timersLate(stop <-chan struct{}) (late time.Duration) {
	for {
		due := time.Now().Add(chaosDeadline / 20)
		select {
		case <-stop:
			return late
		case <-time.After(time.Until(due)):
			late = max(late, time.Since(due))
		}
	}
}
