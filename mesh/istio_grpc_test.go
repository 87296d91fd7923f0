package mesh_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
	"github.com/weft-mesh/weft/resolver"
)

// echoPorts are the recorded service's, by protocol, and echoEndpoints the
// addresses of its two versions.
var (
	echoPorts     = map[string]string{"grpc": "7070", "http": "8080"}
	echoEndpoints = map[string]map[string]string{
		"grpc": {"v1": "127.0.0.1:17071", "v2": "127.0.0.2:17071"},
		"http": {"v1": "127.0.0.1:18081", "v2": "127.0.0.2:18081"},
	}
)

// echoCases are the calls that the recorded virtual host tells apart. The canary
// route also injects faults: one call in ten takes a second longer, one in twenty fails.
var echoCases = []struct {
	name string
	request
	want map[string]int
}{
	{"split", request{path: "/proto.Echo/Say"}, map[string]int{"v1": 20, "v2": 20}},
	{"canary", request{path: "/proto.Echo/Say", header: map[string]string{"x-canary": "1"}}, map[string]int{"v2": 10}},
	{"canary by prefix", request{path: "/proto.EchoStream/Say", header: map[string]string{"X-Canary": "1"}}, map[string]int{"v2": 10}},
	{"canary of another value", request{path: "/proto.Echo/Say", header: map[string]string{"x-canary": "11"}}, map[string]int{"v1": 20, "v2": 20}},
	{"canary of another path", request{path: "/proto.Other/Say", header: map[string]string{"x-canary": "1"}}, map[string]int{"v1": 20, "v2": 20}},
}

// eachADS runs a test with both forms of ADS, and with servers that send what was
// asked for and that send everything there is.
func eachADS(t *testing.T, test func(t *testing.T, form string, everything bool)) {
	for _, form := range []string{"delta", "sotw"} {
		for what, everything := range map[string]bool{"asked": false, "everything": true} {
			t.Run(form+" "+what, func(t *testing.T) {
				t.Parallel()
				test(t, form, everything)
			})
		}
	}
}

// TestIstioProxyless has calls go by what istiod serves to proxyless gRPC.
func TestIstioProxyless(t *testing.T) {
	eachADS(t, func(t *testing.T, form string, everything bool) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			v1, v2 := p.backend(t, "v1"), p.backend(t, "v2")
			cp := newReplay(t, "grpc", everything)
			cp.move(t, map[string]string{
				echoEndpoints[p.name]["v1"]: v1.Addr,
				echoEndpoints[p.name]["v2"]: v2.Addr,
			})
			m := meshtest.New(t, mesh.WithBootstrap(cp.bootstrap(t, map[string]any{"weft": map[string]any{"ads": form}})))
			callsEcho(t, p, m)
			cp.introduced(t, resolver.ClusterURL, resolver.EndpointsURL, resolver.ListenerURL, resolver.RouteConfigURL)
		})
	})
}

// callsEcho makes the calls of echoCases.
func callsEcho(t *testing.T, p protocol, m *mesh.Mesh) {
	t.Helper()
	target := "echo.mesh.local:" + echoPorts[p.name]
	if err := m.Ready(within(t, long), target); err != nil {
		t.Fatal(err)
	}
	call := p.client(t, m, target)
	until(t, "both are connected, over which gRPC balances", func() bool {
		return len(answers(t, call, request{path: "/proto.Echo/Say"}, 40)) == 2
	})
	for _, c := range echoCases {
		if diff := cmp.Diff(c.want, answers(t, call, c.request, c.want["v1"]+c.want["v2"])); diff != "" {
			t.Errorf("%s: answers (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestIstioFaults has calls of the canary route meet the recorded faults, until one has
// failed, and none of another route.
func TestIstioFaults(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		backend := p.backend(t, "v2")
		cp := newReplay(t, "grpc", true)
		cp.move(t, map[string]string{echoEndpoints[p.name]["v1"]: backend.Addr, echoEndpoints[p.name]["v2"]: backend.Addr})
		m := meshtest.New(t, mesh.WithBootstrap(cp.bootstrap(t, nil)))
		call := p.client(t, m, "echo.mesh.local:"+echoPorts[p.name])
		ctx, stop := context.WithCancel(within(t, long))
		defer stop()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, err := call(ctx, request{path: "/proto.Echo/Say", header: map[string]string{"x-canary": "1"}})
					if aborted(err) {
						stop()
					} else if err != nil && !tooSlow(ctx, err) && ctx.Err() == nil {
						t.Error(err)
						stop()
					}
				}
			})
		}
		wg.Wait()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error("no call of the canary route fails")
		}
		for range 200 {
			if _, err := call(within(t, long), request{path: "/proto.Echo/Say"}); aborted(err) {
				t.Fatalf("a call of another route: %v", err)
			}
		}
	})
}

// tooSlow reports whether a call failed for a recorded limit, 2 s for a call and 1 s
// for a connection, which a machine may take longer for that has much else to do.
func tooSlow(ctx context.Context, err error) bool {
	late := errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
	return late && ctx.Err() == nil
}

// patiently makes calls again that are too slow.
func patiently(call func(context.Context, request) (string, error)) func(context.Context, request) (string, error) {
	return func(ctx context.Context, r request) (name string, err error) {
		for name, err = call(ctx, r); tooSlow(ctx, err); {
			name, err = call(ctx, r)
		}
		return name, err
	}
}

// aborted reports whether a call failed for the recorded fault.
func aborted(err error) bool {
	return err != nil && strings.Contains(err.Error(), "fault filter abort")
}

// answers calls n times and returns how often each backend answered. If one of the
// calls is too slow, all are made again; those of the recorded faults by themselves.
func answers(t *testing.T, call func(context.Context, request) (string, error), r request, n int) map[string]int {
	t.Helper()
	ctx := within(t, long)
	for {
		got := map[string]int{}
		for i := 0; i < n; i++ {
			name, err := call(ctx, r)
			if aborted(err) && r.header != nil {
				i--
				continue
			}
			if tooSlow(ctx, err) {
				break
			}
			if err != nil {
				t.Fatalf("call: %v", err)
			}
			got[name]++
		}
		if got["v1"]+got["v2"] == n {
			return got
		}
	}
}

// introduced checks that one node introduced itself, on one stream, and asked for
// these types, and that it has accepted every response.
func (r *replay) introduced(t *testing.T, types ...string) {
	t.Helper()
	r.settle(t)
	if diff := cmp.Diff(types, r.types()); diff != "" {
		t.Errorf("types asked for (-want +got):\n%s", diff)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acks < len(types) {
		t.Errorf("%d answers to %d types of resources", r.acks, len(types))
	}
	if len(r.nodes) != 1 {
		t.Fatalf("%d introductions, want one", len(r.nodes))
	}
	node := r.nodes[0]
	if got := node.GetId(); got != istioNode {
		t.Errorf("node id %q, want %q", got, istioNode)
	}
	if diff := cmp.Diff(r.metadata, node.GetMetadata().AsMap()); diff != "" {
		t.Errorf("node metadata (-want +got):\n%s", diff)
	}
	if got := node.GetUserAgentName(); got != "weft" {
		t.Errorf("user agent %q, want weft", got)
	}
}
