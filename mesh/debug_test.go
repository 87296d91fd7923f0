package mesh_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// debugged is what tests look at of the debug page.
type debugged struct {
	Targets []struct {
		Name, Error, Awaits string
		Version             uint64
		Clusters            []string
	}
	Clusters []struct {
		Name   string
		Limits []struct {
			Threshold, Priority string
			InFlight            int64
			Max                 uint32
		}
		Breaker   *breakerState
		Endpoints []struct {
			Address, Health string
			Locality        map[string]string
			InFlight        int64
			Ejected         bool
			Breaker         *breakerState
		}
	}
	Servers   []struct{ Connected bool }
	Resources []struct {
		Type, Name, State, LastError string
		Held                         bool
	}
	Warnings []struct{ Type, Field string }
}

type breakerState struct {
	State     string
	Failures  int
	Successes int
}

// debug is what the mesh's debug page says.
func debug(m *mesh.Mesh) (d debugged) {
	page := httptest.NewRecorder()
	m.DebugHandler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/", nil))
	if err := json.Unmarshal(page.Body.Bytes(), &d); err != nil {
		panic(fmt.Errorf("the debug page: %w: %s", err, page.Body))
	}
	return d
}

// breakers returns the states of the breakers of endpoints by their addresses, and those of
// clusters by their names.
func breakers(m *mesh.Mesh) map[string]string {
	states := map[string]string{}
	for _, c := range debug(m).Clusters {
		if c.Breaker != nil {
			states[c.Name] = c.Breaker.State
		}
		for _, e := range c.Endpoints {
			if e.Breaker != nil {
				states[e.Address] = e.Breaker.State
			}
		}
	}
	return states
}

// ejected lists the addresses of a cluster's endpoints that outlier detection has taken out.
func ejected(m *mesh.Mesh, cluster string) (list []string) {
	for _, c := range debug(m).Clusters {
		for _, e := range c.Endpoints {
			if c.Name == cluster && e.Ejected {
				list = append(list, e.Address)
			}
		}
	}
	slices.Sort(list)
	return list
}

// inFlight is how much of what is limited the clusters have, by their names: calls, retries,
// connections, and calls that wait for one.
func inFlight(m *mesh.Mesh) map[string]int64 {
	all := map[string]int64{}
	for _, c := range debug(m).Clusters {
		for _, l := range c.Limits {
			all[c.Name] += l.InFlight
		}
	}
	return all
}

// TestDebug has the page show a call in flight against the limits of its cluster, and a
// breaker that opens (rows Z4, Z5).
func TestDebug(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "a")
		m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(`
services:
  orders:
    protocol: %s
    limits: {maxRequests: 7}
    breaker: {endpoint: {consecutiveFailures: 2, openTime: 1h}}
    endpoints: [{address: "%s", region: eu, zone: a}]
`, p.name, b.Addr))))
		if d := debug(m); len(d.Targets)+len(d.Clusters) > 0 {
			t.Errorf("before any call there is %+v", d)
		}
		call := p.client(t, m, "orders")
		b.SetDelay(long)
		ctx, cancel := context.WithCancel(within(t, long))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = call(ctx, request{})
		}()
		if err := b.AwaitCalls(ctx, 1); err != nil {
			t.Fatal(err)
		}
		d := debug(m)
		if len(d.Targets) != 1 || !strings.Contains(d.Targets[0].Name, `"orders"`) || d.Targets[0].Version == 0 ||
			!slices.Equal(d.Targets[0].Clusters, []string{"orders"}) || len(d.Clusters) != 1 || len(d.Clusters[0].Endpoints) != 1 {
			t.Fatalf("page %+v", d)
		}
		limits := map[string]string{}
		for _, l := range d.Clusters[0].Limits {
			limits[l.Priority+" "+l.Threshold] = fmt.Sprintf("%d of %d", l.InFlight, l.Max)
		}
		connections := "0 of 1024" // gRPC's are not limited
		if p.name != "grpc" {
			connections = "1 of 1024"
		}
		if diff := cmp.Diff(map[string]string{
			"default max_connections": connections, "high max_connections": "0 of 1024",
			"default max_pending_requests": "0 of 1024", "high max_pending_requests": "0 of 1024",
			"default max_requests": "1 of 7", "high max_requests": "0 of 1024",
			"default max_retries": "0 of 3", "high max_retries": "0 of 3",
		}, limits); diff != "" {
			t.Errorf("limits (-want +got):\n%s", diff)
		}
		if e := d.Clusters[0].Endpoints[0]; e.Address != b.Addr || e.InFlight != 1 || e.Breaker == nil || e.Breaker.State != "closed" ||
			!cmp.Equal(e.Locality, map[string]string{"region": "eu", "zone": "a"}) {
			t.Errorf("endpoint %+v", e)
		}
		cancel()
		<-ended
		b.SetDelay(0)
		b.SetFailing(true)
		until(t, "the breaker is open", func() bool {
			_, _ = call(within(t, long), request{})
			return breakers(m)[b.Addr] == "open"
		})
	})
}

// TestDebugControlPlane has the page show what a control plane sent that is bad, beside what
// is in use, and what policy asks for in vain.
func TestDebugControlPlane(t *testing.T) {
	routes := func(extra string) string {
		return `{name: r, virtual_hosts: [{name: h, domains: ["*"], ` + extra + `
			routes: [{match: {prefix: ""}, route: {cluster: backend, retry_policy: {retry_priority: {name: p}}}}]}]}`
	}
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := p.backend(t, "a")
		cp := meshtest.NewControlPlane(t)
		cp.Apply(string(rawRoutes(p, b, routes(""))))
		m := cp.Mesh()
		call := p.client(t, m, "orders")
		if _, err := call(within(t, long), request{}); err != nil {
			t.Fatal(err)
		}
		states := func() map[string]string {
			all := map[string]string{}
			for _, r := range debug(m).Resources {
				if !r.Held {
					t.Errorf("%s is not held", r.Name)
				}
				all[r.Type[strings.LastIndex(r.Type, ".")+1:]+" "+r.Name] = r.State + " " + r.LastError
			}
			return all
		}
		want := map[string]string{"Listener orders": "acked ", "Cluster backend": "acked ", "ClusterLoadAssignment backend": "acked "}
		if diff := cmp.Diff(want, states()); diff != "" {
			t.Errorf("resources (-want +got):\n%s", diff)
		}
		if d := debug(m); len(d.Servers) != 1 || !d.Servers[0].Connected || len(d.Warnings) != 1 || !strings.HasSuffix(d.Warnings[0].Field, "retry_priority") {
			t.Errorf("servers %+v, warnings %+v", d.Servers, d.Warnings)
		}

		cp.Apply(string(rawRoutes(p, b, routes(`request_headers_to_remove: ["a b"],`))))
		until(t, "the listener is refused", func() bool {
			got := states()["Listener orders"]
			return strings.HasPrefix(got, "nacked ") && strings.Contains(got, `"a b"`)
		})
		if _, err := call(within(t, long), request{}); err != nil {
			t.Error(err)
		}
	})
}
