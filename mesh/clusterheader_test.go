package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// to is a call that names its cluster.
func to(cluster string) request { return request{header: map[string]string{"x-cluster": cluster}} }

// TestClusterHeader has calls go to the cluster that their header names: one that
// nothing else refers to, one that comes later, and none at all (row R4).
func TestClusterHeader(t *testing.T) {
	for _, source := range []string{"xdsserver", "embedded"} {
		t.Run(source, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				a, b, late := p.backend(t, "a"), p.backend(t, "b"), p.backend(t, "late")
				services := "services:\n" + p.service("a", a) + p.service("b", b)
				const routes = "routes:\n  orders: [{toHeader: X-Cluster}]\n"
				set, m := served(t, source, services+routes)
				call := p.client(t, m, "orders")
				for range 3 {
					for _, name := range []string{"a", "b"} {
						if got, err := call(within(t, long), to(name)); err != nil || got != name {
							t.Errorf("calls to %s are answered by %q, %v", name, got, err)
						}
					}
				}
				for name, r := range map[string]request{
					"an unknown cluster": to("nowhere"), "no header": {}, "an empty header": to(""), "a long name": to(strings.Repeat("x", 5000)),
				} {
					_, err := call(within(t, long), r)
					if !errors.Is(err, mesh.ErrNoRoute) || p.name == "grpc" && status.Code(err) != codes.Unavailable {
						t.Errorf("%s: %v, want ErrNoRoute", name, err)
					}
				}

				_, err := call(within(t, long), to("late"))
				if !errors.Is(err, mesh.ErrNoRoute) || !strings.Contains(err.Error(), `"late"`) {
					t.Errorf("a cluster that is not there yet: %v, want ErrNoRoute and its name", err)
				}
				set(services + p.service("late", late) + routes)
				ctx := within(t, long)
				for {
					got, err := call(ctx, to("late"))
					if err == nil && got == "late" {
						break
					}
					if ctx.Err() != nil {
						t.Fatalf("a cluster that came: %q, %v", got, err)
					}
				}
				if got, err := call(within(t, long), to("a")); err != nil || got != "a" {
					t.Errorf("after a change: %q, %v", got, err)
				}
			})
		})
	}
}

// TestClusterHeaderStatus has policy say what a gRPC call ends with that names no
// cluster, and weighted clusters and mirrors be named by calls.
func TestClusterHeaderStatus(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a, b := p.backend(t, "a"), p.backend(t, "b")
		m := embedded(t, withRoutes("services:\n"+p.service("a", a)+p.service("b", b), `{name: r, virtual_hosts: [{name: h, domains: ["*"], routes: [
			{match: {prefix: /w}, route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {cluster_header: x-cluster, weight: 3}]}}},
			{match: {prefix: /m}, route: {cluster: a, request_mirror_policies: [{cluster_header: x-cluster}]}},
			{match: {prefix: /404}, route: {cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND}},
			{match: {prefix: /500}, route: {cluster_header: x-cluster, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}}]}]}`))
		call := p.client(t, m, "orders")
		for path, want := range map[string]codes.Code{"/404.A/b": codes.Unimplemented, "/500.A/b": codes.Unknown} {
			r := to("nowhere")
			r.path = path
			_, err := call(within(t, long), r)
			if !errors.Is(err, mesh.ErrNoRoute) {
				t.Errorf("%s: %v, want ErrNoRoute", path, err)
			}
			if got := status.Code(err); p.name == "grpc" && got != want {
				t.Errorf("%s: %v, want %v", path, got, want)
			}
		}
		weighted := to("b")
		weighted.path = "/w.A/b"
		if got := counts(t, call, weighted, 40); got["a"] < 9 || got["a"] > 11 {
			t.Errorf("weighted 1 to 3: %v", got)
		}

		mirrored := to("b")
		mirrored.path = "/m.A/b"
		before := b.Calls()
		if got := counts(t, call, mirrored, 10); got["a"] != 10 {
			t.Errorf("mirrored calls are answered by %v", got)
		}
		if err := b.AwaitCalls(within(t, long), before+10); err != nil {
			t.Error(err)
		}
	})
}

// TestClusterHeaderOfAll has names that are made up cost those that are not nothing, and
// be refused when there are too many.
func TestClusterHeaderOfAll(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a := p.backend(t, "a")
		cp := meshtest.NewControlPlane(t)
		cp.Apply("services:\n" + p.service("a", a) + "routes:\n  orders: [{toHeader: x-cluster}]\n")
		call := p.client(t, cp.Mesh(), "orders")
		if _, err := call(within(t, long), to("a")); err != nil {
			t.Fatal(err)
		}
		last := error(nil)
		for i := range 200 {
			_, last = call(within(t, long), to(fmt.Sprint("made-up-", i)))
			if !errors.Is(last, mesh.ErrNoRoute) {
				t.Fatalf("a name that was made up: %v, want ErrNoRoute", last)
			}
			if got, err := call(within(t, long), to("a")); err != nil || got != "a" {
				t.Fatalf("after %d of them: %q, %v", i, got, err)
			}
		}
		if !strings.Contains(last.Error(), "too many") {
			t.Errorf("the last of many: %v", last)
		}
		asked := 0
		for _, c := range cp.Clients() {
			for _, s := range c.Types {
				asked += s.Names
			}
		}
		if asked > 80 {
			t.Errorf("the client has asked for %d resources", asked)
		}
	})
}

// TestClusterHeaderWaits has the first call to a cluster wait as long as its context
// lets it.
func TestClusterHeaderWaits(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		a := p.backend(t, "a")
		cp := meshtest.NewControlPlane(t)
		cp.Apply("services:\n" + p.service("a", a) + "routes:\n  orders: [{toHeader: x-cluster}]\n")
		m := cp.Mesh()
		call := p.client(t, m, "orders")
		if err := m.Ready(within(t, long), "orders"); err != nil {
			t.Fatal(err)
		}
		if p.name == "http" {
			_, _ = call(within(t, long), request{}) // its target is another: any authority
		}
		cp.Kill()
		_, err := call(within(t, 50*time.Millisecond), to("a"))
		if !errors.Is(err, context.DeadlineExceeded) && status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("without a control plane: %v", err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := call(within(t, long), to("a"))
			done <- err
		}()
		cp.Start()
		if err := receive(t, "the call's end", done); err != nil {
			t.Errorf("with one: %v", err)
		}
	})
}
