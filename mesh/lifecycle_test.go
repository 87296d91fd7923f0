package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestOneStreamPerProcess has many targets of both kinds share one ADS stream.
func TestOneStreamPerProcess(t *testing.T) {
	gb, hb := grpcBackend(t, "b"), httpBackend(t, "b")
	cp := meshtest.NewControlPlane(t)
	policy := "services:\n"
	for i := range 10 {
		policy += protocols[0].service(fmt.Sprint("g", i), gb) + protocols[1].service(fmt.Sprint("h", i), hb)
	}
	cp.Apply(policy)
	m := cp.Mesh()
	for i := range 10 {
		for _, call := range []func(context.Context, request) (string, error){
			grpcClient(t, m, fmt.Sprint("g", i)), httpClient(t, m, fmt.Sprint("h", i)),
		} {
			if _, err := call(within(t, long), request{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := len(cp.Clients()); got != 1 {
		t.Errorf("%d ADS streams, want 1", got)
	}
}

// TestClosedChannelsAreForgotten has a program dial ever new targets: what the mesh
// kept for a channel goes with it.
func TestClosedChannelsAreForgotten(t *testing.T) {
	b := grpcBackend(t, "b")
	cp := meshtest.NewControlPlane(t)
	policy := "services:\n"
	for i := range 20 {
		policy += protocols[0].service(fmt.Sprint("g", i), b)
	}
	cp.Apply(policy)
	m := cp.Mesh()
	for i := range 20 {
		conn, err := m.Dial(fmt.Sprint("g", i))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), long)
		_, err = invoke(ctx, conn, request{})
		cancel() // a context that lives on might hold the channel
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, long)
	for names := -1; names != 0; {
		runtime.GC()
		names = 0
		for _, client := range cp.Clients() {
			for _, s := range client.Types {
				names += s.Names
			}
		}
		if names > 0 && ctx.Err() != nil {
			t.Fatalf("the mesh still watches %d resources", names)
		}
	}
}

// TestTwoMeshes has two meshes in one process go by two policies.
func TestTwoMeshes(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		callA := p.client(t, oneService(t, p, a), "orders")
		callB := p.client(t, oneService(t, p, b), "orders")
		for range 10 {
			if got, err := callA(within(t, long), request{}); err != nil || got != "a" {
				t.Fatalf("first mesh: %q, %v", got, err)
			}
			if got, err := callB(within(t, long), request{}); err != nil || got != "b" {
				t.Fatalf("second mesh: %q, %v", got, err)
			}
		}
	})
}

// TestPolicyFile embeds the control plane: the file is followed, and a bad edit
// changes nothing.
func TestPolicyFile(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		path := filepath.Join(t.TempDir(), "policy.yaml")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}
		write("services:\n" + p.service("orders", a))
		logged := make(chan string, 10)
		m := meshtest.New(t, mesh.WithPolicyFile(path), mesh.WithLogger(logTo(logged)))
		call := p.client(t, m, "orders")
		eventually(t, call, request{}, "a")
		write("services:\n" + p.service("orders", b))
		eventually(t, call, request{}, "b")
		write("services:\n" + p.service("orders", a) + "  orders: {}\n")
		if got := receive(t, "the error of the bad edit", logged); got != "policy not changed" {
			t.Errorf("logged %q", got)
		}
		eventually(t, call, request{}, "b")
		write("services:\n" + p.service("orders", a, b))
		eventually(t, call, request{}, "a", "b")
	})
}

// TestEndpointRemovalDrains takes an endpoint away under a stream and a response
// that are under way: both must finish.
func TestEndpointRemovalDrains(t *testing.T) {
	release := make(chan struct{})
	gb := grpcBackend(t, "old")
	hb := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "old")
		_ = http.NewResponseController(w).Flush()
		<-release
		fmt.Fprint(w, " and done")
	}))
	cp := meshtest.NewControlPlane(t)
	cp.Apply("services:\n" + protocols[0].service("g", gb) + protocols[1].service("h", hb))
	m := cp.Mesh()
	conn := dial(t, m, "g")
	stream, err := conn.NewStream(within(t, long), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, stream, "old")
	req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://h/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := m.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	newG, newH := grpcBackend(t, "new"), httpBackend(t, "new")
	cp.Apply("services:\n" + protocols[0].service("g", newG) + protocols[1].service("h", newH))
	callG := func(ctx context.Context, r request) (string, error) { return invoke(ctx, conn, r) }
	eventually(t, callG, request{}, "new")
	eventually(t, httpClient(t, m, "h"), request{}, "new")

	if gb.Connections() == 0 || hb.Connections() == 0 {
		t.Error("a connection was closed under its call")
	}
	exchange(t, stream, "old")
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	close(release)
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "old and done" {
		t.Errorf("the response ended with %q, %v", body, err)
	}
	// With the last call, the last connection goes.
	awaitNoConnections(t, gb, hb)
}

// TestRemovalClosesIdleConnections takes an endpoint away that has no call.
func TestRemovalClosesIdleConnections(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		old, other := p.backend(t, "old"), p.backend(t, "other")
		cp := meshtest.NewControlPlane(t)
		cp.Apply("services:\n" + p.service("orders", old))
		call := p.client(t, cp.Mesh(), "orders")
		eventually(t, call, request{}, "old")
		cp.Apply("services:\n" + p.service("orders", other))
		awaitNoConnections(t, old) // without a call that might have a hand in it
		eventually(t, call, request{}, "other")
	})
}

func awaitNoConnections(t *testing.T, backends ...*meshtest.Backend) {
	t.Helper()
	for _, b := range backends {
		awaitConnections(t, b, 0)
	}
}

// awaitConnections waits until no more connections than most are open.
func awaitConnections(t *testing.T, b *meshtest.Backend, most int64) {
	t.Helper()
	ctx := within(t, long)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for b.Connections() > most {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d connections to %s are still open, want %d", b.Connections(), b.Addr, most)
		}
	}
}

func exchange(t *testing.T, s grpc.ClientStream, want string) {
	t.Helper()
	if err := s.SendMsg(wrapperspb.String("7")); err != nil {
		t.Fatal(err)
	}
	recv(t, s, want)
}

// TestCloseWaitsForCalls closes a mesh under a call, which finishes, while new ones
// are refused. The call is its target's first, or one that finds policy there.
func TestCloseWaitsForCalls(t *testing.T) {
	for _, before := range []int64{0, 1} {
		eachProtocol(t, func(t *testing.T, p protocol) {
			b := p.backend(t, "b")
			m := oneService(t, p, b)
			call := p.client(t, m, "orders")
			for range before {
				if _, err := call(within(t, long), request{}); err != nil {
					t.Fatal(err)
				}
			}
			b.SetDelay(time.Hour)
			ctx, cancel := context.WithCancel(context.Background())
			called := make(chan error, 1)
			go func() {
				_, err := call(ctx, request{})
				called <- err
			}()
			if err := b.AwaitCalls(within(t, long), before+1); err != nil {
				t.Fatal(err)
			}
			if err := m.Close(within(t, 20*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close with a call in flight: %v", err)
			}
			if _, err := call(within(t, long), request{}); !errors.Is(err, mesh.ErrClosed) {
				t.Errorf("call of a closed mesh: %v", err)
			}
			cancel()
			if err := receive(t, "the end of the call that was cancelled", called); status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) {
				t.Errorf("call that was cancelled: %v", err)
			}
		})
	}
}

// TestCloseLetsCallsFinish closes a mesh that has all the time: the call succeeds.
func TestCloseLetsCallsFinish(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "b")
		b.SetDelay(50 * time.Millisecond)
		m := oneService(t, p, b)
		call := p.client(t, m, "orders")
		called := make(chan error, 1)
		go func() {
			_, err := call(within(t, long), request{})
			called <- err
		}()
		if err := b.AwaitCalls(within(t, long), 1); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(within(t, long)); err != nil {
			t.Errorf("Close: %v", err)
		}
		select {
		case err := <-called:
			if err != nil {
				t.Errorf("call in flight: %v", err)
			}
		case <-within(t, long).Done():
			t.Error("Close returned before the call")
		}
	})
}

// TestPolicyDeadline has a route's timeout end a call, and a caller's shorter one stay.
func TestPolicyDeadline(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "b")
		b.SetDelay(time.Hour)
		m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", b)+`
routes:
  orders:
    - {match: {path: {prefix: /short}}, to: orders, timeout: 50ms}
    - {to: orders}
`)))
		call := p.client(t, m, "orders")
		ctx := within(t, long)
		if _, err := call(ctx, request{path: "/short.A/B"}); status.Code(err) != codes.DeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			t.Errorf("call past its policy's deadline: %v, with its own %v", err, ctx.Err())
		}
		if _, err := call(within(t, 50*time.Millisecond), request{}); status.Code(err) != codes.DeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call past its own deadline: %v", err)
		}
	})
}

// TestReady waits for policy, endpoints included, and tells of policy that refuses.
func TestReady(t *testing.T) {
	b := grpcBackend(t, "b")
	cp := meshtest.NewControlPlane(t)
	m := cp.Mesh()
	ready := make(chan error, 1)
	go func() { ready <- m.Ready(within(t, long), "orders") }()
	cp.Apply("services:\n" + protocols[0].service("orders", b) + protocols[1].service("shop", httpBackend(t, "h")))
	if err := receive(t, "Ready", ready); err != nil {
		t.Error(err)
	}
	// What is ready needs no control plane any more, not even for its first calls.
	if err := m.Ready(within(t, long), "shop"); err != nil {
		t.Error(err)
	}
	cp.Kill()
	if _, err := grpcClient(t, m, "orders")(within(t, long), request{}); err != nil {
		t.Errorf("first call by gRPC: %v", err)
	}
	if _, err := httpClient(t, m, "shop")(within(t, long), request{}); err != nil {
		t.Errorf("first call by HTTP: %v", err)
	}
	cp.Start()
	if err := m.Ready(within(t, long), "orders", "nowhere"); !errors.Is(err, mesh.ErrNoRoute) {
		t.Errorf("Ready of a target that does not exist: %v", err)
	}
}

// TestManyHosts has a program ask for more hosts than the mesh keeps.
func TestManyHosts(t *testing.T) {
	b := httpBackend(t, "b")
	m := oneService(t, protocols[1], b)
	call := httpClient(t, m, "orders")
	for i := range 3000 {
		if _, err := m.HTTPClient().Get(fmt.Sprintf("http://host-%d/", i)); !errors.Is(err, mesh.ErrNoRoute) {
			t.Fatalf("host %d: %v", i, err)
		}
		if i%100 == 0 {
			if _, err := call(within(t, long), request{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := mesh.HTTPTargets(m); n > 1024 {
		t.Errorf("the mesh keeps %d targets of hosts", n)
	}
}
