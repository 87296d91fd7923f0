package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// long is longer than anything here takes on the slowest machine: a bound on
// hanging, not a measurement.
const long = time.Minute

// request is a call that both protocols can make.
type request struct {
	path   string // "/shop.Orders/Get" if empty
	header map[string]string
}

// protocol is one of the two ways to call a service: the tests run their cases in both.
type protocol struct {
	name string
	// backend starts a server that answers with its name.
	backend func(tb testing.TB, name string) *meshtest.Backend
	// client returns a function that calls target and returns the name of the
	// backend that answered.
	client func(tb testing.TB, m *mesh.Mesh, target string) func(context.Context, request) (string, error)
}

var protocols = []protocol{
	{"grpc", grpcBackend, grpcClient},
	{"http", httpBackend, httpClient},
}

// eachProtocol runs a test in both.
func eachProtocol(t *testing.T, test func(t *testing.T, p protocol)) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

// inTime has connections outlast a machine that stalls: it is longer than any stall.
const inTime = "connectTimeout: 60s"

// service is a line of a policy file's services.
func (p protocol) service(name string, backends ...*meshtest.Backend) string {
	return fmt.Sprintf("  %s: {protocol: %s, "+inTime+", endpoints: [%s]}\n", name, p.name, addresses(backends))
}

func addresses(backends []*meshtest.Backend) string {
	var list []string
	for _, b := range backends {
		list = append(list, `"`+b.Addr+`"`)
	}
	return strings.Join(list, ", ")
}

// grpcBackend answers every method, whatever its kind: each message with its name.
func grpcBackend(tb testing.TB, name string) *meshtest.Backend {
	return meshtest.GRPC(tb, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		if md, _ := metadata.FromIncomingContext(s.Context()); len(md.Get("want-header")) > 0 {
			_ = s.SetHeader(metadata.Pairs("backend", name))
		}
		s.SetTrailer(metadata.Pairs("end", name))
		for {
			in := new(wrapperspb.StringValue)
			if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(wrapperspb.String(name)); err != nil {
				return err
			}
		}
	}))
}

func grpcClient(tb testing.TB, m *mesh.Mesh, target string) func(context.Context, request) (string, error) {
	conn := dial(tb, m, target)
	return func(ctx context.Context, r request) (string, error) { return invoke(ctx, conn, r) }
}

func invoke(ctx context.Context, conn *grpc.ClientConn, r request) (string, error) {
	if r.path == "" {
		r.path = "/shop.Orders/Get"
	}
	var header []string
	for k, v := range r.header {
		header = append(header, k, v)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, header...)
	reply := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, r.path, wrapperspb.String("7"), reply)
	return reply.GetValue(), err
}

func dial(tb testing.TB, m *mesh.Mesh, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	conn, err := m.Dial(target, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// httpBackend answers with its name, and with the request's body after it.
func httpBackend(tb testing.TB, name string) *meshtest.Backend {
	return meshtest.HTTP(tb, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "End")
		w.Header().Set("Proto", r.Proto)
		w.Header().Set("Host", r.Host)
		fmt.Fprint(w, name)
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("End", name)
	}))
}

func httpClient(tb testing.TB, m *mesh.Mesh, target string) func(context.Context, request) (string, error) {
	client := m.HTTPClient()
	tb.Cleanup(client.CloseIdleConnections)
	return func(ctx context.Context, r request) (string, error) { return httpCall(ctx, client, target, r) }
}

func httpCall(ctx context.Context, client *http.Client, target string, r request) (string, error) {
	if r.path == "" {
		r.path = "/shop.Orders/Get"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+r.path, nil)
	if err != nil {
		return "", err
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = &statusError{fmt.Sprintf("status %s: %s", resp.Status, bytes.TrimSpace(body)), filter.ReplyIn(resp)}
	}
	return string(body), err
}

// statusError is an HTTP response that is not 200.
type statusError struct {
	text  string
	reply *filter.Reply // nil if a server answered
}

func (e *statusError) Error() string { return e.text }
func (e *statusError) Unwrap() error { return e.reply.Unwrap() }

// within is a context for one test.
func within(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	tb.Cleanup(cancel)
	return ctx
}

// counts calls n times and returns how often each backend answered.
func counts(t *testing.T, call func(context.Context, request) (string, error), r request, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		name, err := call(within(t, long), r)
		if err != nil {
			t.Fatalf("call: %v", err)
		}
		got[name]++
	}
	return got
}

// eventually waits until calls are answered by just these backends.
func eventually(t *testing.T, call func(context.Context, request) (string, error), r request, backends ...string) {
	t.Helper()
	deadline := time.Now().Add(long)
	for {
		got := counts(t, call, r, 4*len(backends))
		if slices.Equal(slices.Sorted(maps.Keys(got)), backends) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("calls are answered by %v, want %v", got, backends)
		}
	}
}

// load calls from several goroutines until it is stopped, and expects no failure.
type load struct {
	t     *testing.T
	stop  context.CancelFunc
	done  sync.WaitGroup
	mu    sync.Mutex
	more  sync.Cond // calls has grown
	calls int
	errs  []error
}

// sentAgain is the retry of a route whose backend stops under load. A listener that is
// closed resets connections which the kernel has made and the server has not yet accepted,
// with the first request of an HTTP client perhaps already on them.
const sentAgain = "retry: {attempts: 2, on: [reset], backOff: {baseInterval: 1ms}}"

func startLoad(t *testing.T, callers int, call func(context.Context, request) (string, error), requests ...request) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, stop: stop}
	l.more.L = &l.mu
	for i := range callers {
		l.done.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				one, cancel := context.WithTimeout(context.Background(), long)
				_, err := call(one, requests[n%len(requests)])
				cancel()
				l.mu.Lock()
				l.calls++
				l.more.Broadcast()
				if err != nil {
					l.errs = append(l.errs, err)
				}
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { l.end(t) })
	return l
}

// end stops the load and fails the test if a call had failed.
func (l *load) end(t *testing.T) {
	l.stop()
	l.done.Wait()
	if len(l.errs) > 0 {
		t.Errorf("%d of %d calls failed; the first: %v", len(l.errs), l.calls, l.errs[0])
	}
	l.errs = nil
}

// await waits until n more calls were made. The test ends if that takes too long: each
// of them may take its minute.
func (l *load) await(n int) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.calls
	if !reached(&l.more, 2*long, func() bool { return l.calls >= before+n }) {
		l.t.Fatalf("just %d of %d calls in %v; %d have failed: %v", l.calls-before, n, 2*long, len(l.errs), errors.Join(l.errs[:min(3, len(l.errs))]...))
	}
}

// reached waits for a condition that changes are told of by c, whose lock is held. It is
// false if that takes longer than d.
func reached(c *sync.Cond, d time.Duration, holds func() bool) bool {
	late := false
	defer time.AfterFunc(d, func() {
		c.L.Lock()
		defer c.L.Unlock()
		late = true
		c.Broadcast()
	}).Stop()
	for !holds() {
		if late {
			return false
		}
		c.Wait()
	}
	return true
}

// until waits for a condition, which is asked for again and again.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(long); !holds(); pause(t.Context(), nil, time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so in %v: %s", long, what)
		}
	}
}

// receive returns the next value of c.
func receive[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(long):
		tb.Fatalf("waited %v for %s", long, what)
		panic("not reached")
	}
}

// closing closes m. The test fails if its calls do not end.
func closing(tb testing.TB, m *mesh.Mesh) {
	tb.Helper()
	if err := m.Close(within(tb, long)); err != nil {
		tb.Errorf("Close: %v", err)
	}
}

// logTo returns a logger that sends the messages of errors to a channel.
func logTo(messages chan<- string) *slog.Logger { return slog.New(channelHandler{messages}) }

type channelHandler struct{ messages chan<- string }

func (h channelHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (h channelHandler) Handle(_ context.Context, r slog.Record) error {
	h.messages <- r.Message
	return nil
}
func (h channelHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h channelHandler) WithGroup(string) slog.Handler      { return h }
