package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// countedCreds are per-RPC credentials that are new each time.
type countedCreds struct {
	mu sync.Mutex
	n  int
}

func (c *countedCreds) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return map[string]string{"token": fmt.Sprint(c.n)}, nil
}

func (c *countedCreds) RequireTransportSecurity() bool { return false }

// TestCallOptionsUnderRetry fills what call options name once, from the attempt that won,
// under retries and under hedges.
func TestCallOptionsUnderRetry(t *testing.T) {
	p := protocols[0]
	for name, c := range map[string]struct {
		route string
		fails bool
	}{
		"retry":        {"retry: {" + again + "}", false},
		"retry, fails": {"retry: {attempts: 2, on: [unavailable], backOff: {baseInterval: 1ms}}", true},
		"hedge":        {"retry: {" + again + "}, hedge: {delay: 20ms}", false},
		"hedge, fails": {"retry: {attempts: 2, on: [unavailable]}, hedge: {delay: 20ms}", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := p.scripted(t, "b", failFirst(3))
			conn := dial(t, p.retrying(t, "maxRetries: 10", c.route, b), "orders")
			header, trailer := metadata.Pairs("stale", "1"), metadata.Pairs("stale", "1")
			var from peer.Peer
			var finished []error
			creds := &countedCreds{}
			reply := wrapperspb.String("stale")
			err := conn.Invoke(within(t, long), "/a/b", wrapperspb.String("7"), reply,
				grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from), grpc.PerRPCCredentials(creds),
				grpc.OnFinish(func(err error) { finished = append(finished, err) }))
			if (err != nil) != c.fails {
				t.Fatalf("%v; want a failure: %v", err, c.fails)
			}
			if len(finished) != 1 || status.Code(finished[0]) != status.Code(err) {
				t.Errorf("OnFinish was called with %v, want once with %v", finished, err)
			}
			if got := from.Addr; got == nil || got.String() != b.Addr {
				t.Errorf("peer %v, want %s", got, b.Addr)
			}
			if got := trailer.Get("end"); len(got) != 1 || got[0] != "b" || trailer.Get("stale") != nil {
				t.Errorf("trailer %v", trailer)
			}
			if got := header.Get("backend"); !c.fails && (len(got) != 1 || got[0] != "b") || header.Get("stale") != nil {
				t.Errorf("header %v", header)
			}
			if !c.fails && reply.GetValue() != "b7" {
				t.Errorf("reply %q, want b7", reply.GetValue())
			}
			var want []string
			for i := range int(b.Calls()) {
				want = append(want, fmt.Sprint(i+1))
			}
			got := b.headers("token")
			slices.Sort(got) // those of a hedge may overtake one another
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("tokens of the attempts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHedgeReplies has hedged calls run at once: their replies never mix (with -race).
func TestHedgeReplies(t *testing.T) {
	p := protocols[0]
	b := p.scripted(t, "b", func(int) act { return act{} })
	conn := dial(t, p.retrying(t, "maxRetries: 1000", "hedge: {delay: 1us}", b), "orders")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				var header metadata.MD
				reply := new(wrapperspb.StringValue)
				err := conn.Invoke(within(t, long), "/a/b", wrapperspb.String(fmt.Sprint(i)), reply, grpc.Header(&header))
				if err != nil || reply.GetValue() != fmt.Sprintf("b%d", i) || len(header.Get("backend")) != 1 {
					t.Errorf("caller %d: reply %q, header %v, %v", i, reply.GetValue(), header, err)
				}
			}
		})
	}
	wg.Wait()
}

// openStream opens a stream of all kinds.
func openStream(t *testing.T, ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/b", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStreamRetry has streams tried again until their first message (row Z1).
func TestStreamRetry(t *testing.T) {
	p := protocols[0]
	policy := "retry: {" + again + ", bufferLimit: 64}"
	for name, c := range map[string]struct {
		script   func(int) act
		send     []string
		header   bool // ask for it first
		attempts int64
		fails    bool
	}{
		"succeeds":         {script: failFirst(3), send: []string{"1", "2", "3"}, attempts: 4},
		"succeeds, header": {script: failFirst(3), send: []string{"1", "2", "3"}, header: true, attempts: 4},
		"nothing sent":     {script: failFirst(1), attempts: 2},
		"exhausted":        {script: failFirst(4), send: []string{"1"}, attempts: 4, fails: true},
		"exhausted/header": {script: failFirst(4), send: []string{"1"}, header: true, attempts: 4, fails: true},
		"not named":        {script: func(int) act { return act{fail: codes.NotFound} }, send: []string{"1"}, attempts: 1, fails: true},
		"begun":            {script: func(int) act { return act{early: true, fail: codes.Unavailable} }, attempts: 1, fails: true},
		"over the limit":   {script: failFirst(1), send: []string{strings.Repeat("x", 100)}, attempts: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := p.scripted(t, "b", c.script)
			m := p.retrying(t, "", policy, b)
			conn := dial(t, m, "orders")
			var trailer metadata.MD
			finished := make(chan error, 10)
			s := openStream(t, within(t, long), conn, grpc.Trailer(&trailer), grpc.OnFinish(func(err error) { finished <- err }))
			for _, v := range c.send {
				if err := s.SendMsg(wrapperspb.String(v)); err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
			}
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if c.header {
				if md, err := s.Header(); err != nil || (md == nil) != c.fails || !c.fails && len(md.Get("backend")) != 1 {
					t.Errorf("header %v, %v", md, err)
				}
			}
			reply := new(wrapperspb.StringValue)
			err := s.RecvMsg(reply)
			if want := "b" + strings.Join(c.send, ""); (err != nil) != c.fails || err == nil && reply.GetValue() != want {
				t.Errorf("reply %q, %v; want %q", reply.GetValue(), err, want)
			}
			if err == nil {
				if err := s.RecvMsg(reply); !errors.Is(err, io.EOF) {
					t.Errorf("after the end: %v", err)
				}
			}
			if got := receive(t, "OnFinish", finished); (got != nil) != c.fails {
				t.Errorf("OnFinish: %v", got)
			}
			if got := trailer.Get("end"); len(got) != 1 {
				t.Errorf("trailer %v", trailer)
			}
			if b.Calls() != c.attempts {
				t.Errorf("%d attempts, want %d", b.Calls(), c.attempts)
			}
			select {
			case err := <-finished:
				t.Errorf("OnFinish was called again, with %v", err)
			default:
			}
		})
	}
}

// TestStreamAbandoned ends streams that are not used any more once their context ends: the
// mesh, which is closed after the test, waits for none.
func TestStreamAbandoned(t *testing.T) {
	p := protocols[0]
	b := p.scripted(t, "b", func(n int) act { return act{hang: n%2 == 0, fail: codes.Unavailable} })
	conn := dial(t, p.retrying(t, "", "retry: {attempts: 2, on: [unavailable], backOff: {baseInterval: 100000h, maxInterval: 100000h}}", b), "orders")
	for i := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		finished := make(chan error, 1)
		s := openStream(t, ctx, conn, grpc.OnFinish(func(err error) { finished <- err }))
		if err := b.AwaitCalls(within(t, long), int64(i+1)); err != nil {
			t.Fatal(err)
		}
		received := make(chan error, 1)
		if i > 1 {
			go func() { received <- s.RecvMsg(new(wrapperspb.StringValue)) }()
		}
		cancel()
		if err := receive(t, "OnFinish", finished); err == nil {
			t.Error("OnFinish without an error")
		}
		if i > 1 {
			if err := receive(t, "RecvMsg", received); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("received %v", err)
			}
		}
	}
}

// TestStreamsBothWays sends and receives at once while attempts fail.
func TestStreamsBothWays(t *testing.T) {
	p := protocols[0]
	b := p.scripted(t, "b", func(n int) act { return act{fail: map[bool]codes.Code{true: codes.Unavailable}[n%3 != 0]} })
	conn := dial(t, p.retrying(t, "maxRetries: 100", "retry: {"+again+"}", b), "orders")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				s := openStream(t, within(t, long), conn)
				var want strings.Builder
				want.WriteString("b")
				received := make(chan error, 1)
				reply := new(wrapperspb.StringValue)
				go func() { received <- s.RecvMsg(reply) }()
				for i := range 20 {
					fmt.Fprint(&want, i)
					if err := s.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
						t.Error(err)
					}
				}
				if err := s.CloseSend(); err != nil {
					t.Error(err)
				}
				if err := <-received; err != nil || reply.GetValue() != want.String() {
					if status.Code(err) == codes.Unavailable { // all attempts met a failure
						continue
					}
					t.Errorf("reply %q, %v; want %q", reply.GetValue(), err, want.String())
				}
			}
		})
	}
	wg.Wait()
}

// begun is told of each attempt that grpc begins.
type begun chan struct{}

func (b begun) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.Begin); ok {
		b <- struct{}{}
	}
}

func (begun) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (begun) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (begun) HandleConn(context.Context, stats.ConnStats)                       {}

// TestRetryPolicyWithdrawn sends a call, which waited for endpoints, by a newer table, whose
// route has nothing tried again.
func TestRetryPolicyWithdrawn(t *testing.T) {
	p := protocols[0]
	cp := meshtest.NewControlPlane(t)
	cp.Apply("services:\n" + p.service("orders") + "routes:\n  orders:\n    - {to: orders, retry: {" + again + "}}\n")
	waits := make(begun, 10)
	conn := dial(t, cp.Mesh(), "orders", grpc.WithStatsHandler(waits))
	done := make(chan error, 1)
	go func() {
		done <- conn.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String("7"), new(wrapperspb.StringValue), grpc.WaitForReady(true))
	}()
	receive(t, "the beginning of the call", waits)
	b := p.scripted(t, "b", failFirst(1))
	cp.Apply("services:\n" + p.service("others", b.Backend) + "routes:\n  orders:\n    - {to: others}\n")
	if err := receive(t, "the end of the call", done); status.Code(err) != codes.Unavailable {
		t.Errorf("error %v, want the backend's", err)
	}
	if got := b.Calls(); got != 1 {
		t.Errorf("%d attempts, want 1", got)
	}
}

// keptContexts are credentials that keep the contexts of calls.
type keptContexts struct {
	mu   sync.Mutex
	kept []context.Context
}

func (k *keptContexts) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, ctx)
	return nil, nil
}

func (k *keptContexts) RequireTransportSecurity() bool { return false }

// TestContextsOutliveCalls looks at the contexts of calls that have ended: each has its own
// call's values.
func TestContextsOutliveCalls(t *testing.T) {
	p := protocols[0]
	type number struct{}
	kept := new(keptContexts)
	b := p.backend(t, "b")
	m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", b)+"routes:\n  orders:\n    - {to: orders, timeout: 1m, retry: {"+again+"}}\n")))
	conn := dial(t, m, "orders", grpc.WithPerRPCCredentials(kept))
	var callers sync.WaitGroup
	const calls = 100
	for i := range calls {
		callers.Go(func() {
			if _, err := invoke(context.WithValue(within(t, long), number{}, i), conn, request{}); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	var numbers []int
	for _, ctx := range kept.kept {
		n, _ := ctx.Value(number{}).(int)
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	if numbers = slices.Compact(numbers); len(numbers) != calls {
		t.Errorf("of %d calls, %d are found in the contexts", calls, len(numbers))
	}
}
