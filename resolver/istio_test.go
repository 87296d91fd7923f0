package resolver_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

var update = flag.Bool("update", false, "write the golden files")

// recorded are the resources of a recording of istiod, each of which must be
// accepted.
func recorded(t testing.TB, recording string, types []xds.ResourceType) map[string][]resolver.StaticResource {
	t.Helper()
	all := make(map[string][]resolver.StaticResource)
	for _, file := range []string{"lds", "rds", "cds", "eds"} {
		raw, err := os.ReadFile(filepath.Join("testdata", recording, file+".binpb"))
		if err != nil {
			t.Fatal(err)
		}
		var response discoveryv3.DiscoveryResponse
		if err := proto.Unmarshal(raw, &response); err != nil {
			t.Fatal(err)
		}
		for _, r := range response.GetResources() {
			name, _, err := decoderOf(t, types, r.GetTypeUrl())(r.GetValue())
			if err != nil {
				t.Errorf("%s %q: %v", r.GetTypeUrl(), name, err)
			}
			all[r.GetTypeUrl()] = append(all[r.GetTypeUrl()], resolver.StaticResource{Name: name, Raw: r.GetValue()})
		}
	}
	return all
}

func decoderOf(t testing.TB, types []xds.ResourceType, url string) func([]byte) (string, any, error) {
	t.Helper()
	for _, typ := range types {
		if typ.URL == url {
			return typ.Decode
		}
	}
	t.Fatalf("no decoder for %s", url)
	return nil
}

// Every resource of istiod is accepted, unknown extension types included, and what
// is not acted on is said.
func TestIstioIsAccepted(t *testing.T) {
	for recording, count := range map[string]int{"istio-echo-grpc": 12, "istio-echo-envoy": 28, "istio-echo-inbound": 1} {
		t.Run(recording, func(t *testing.T) {
			warnings := resolver.NewWarnings(nil)
			kinds, err := filter.NewRegistry(resolver.FilterKinds()...)
			if err != nil {
				t.Fatal(err)
			}
			all := recorded(t, recording, resolver.Types(resolver.TypesConfig{Warnings: warnings, Filters: kinds}))
			n := 0
			for _, list := range all {
				n += len(list)
			}
			if n != count {
				t.Errorf("the recording has %d resources, want %d", n, count)
			}
			var got bytes.Buffer
			encoder := json.NewEncoder(&got)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(warnings.List()); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", recording, "warnings.json")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// istioTable is the table of a target by what istiod served.
func istioTable(t *testing.T, recording string, name resolver.TargetName) *resolver.Table {
	t.Helper()
	types := resolver.Types(resolver.TypesConfig{})
	s := resolver.NewStatic(types)
	if err := s.Set(recorded(t, recording, types)); err != nil {
		t.Fatal(err)
	}
	target := newResolver(t, s).Target(name)
	table, err := target.Await(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// split counts the clusters of ten calls.
func split(t *testing.T, table *resolver.Table, r *resolver.Request) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for range 10 {
		route, err := table.Route(r)
		if err != nil {
			t.Fatal(err)
		}
		to, err := route.Pick()
		if err != nil {
			t.Fatal(err)
		}
		count[to.Cluster.Name()]++
	}
	return count
}

// The canary header and the 50/50 split that the configuration asks for, as istiod
// tells them to gRPC and to a sidecar.
func TestIstioRoutes(t *testing.T) {
	grpc := func(h headers) *resolver.Request {
		return &resolver.Request{Authority: "echo.mesh.local:7070", Path: "/proto.EchoTestService/Echo", GRPC: true, Headers: h}
	}
	http := func(path string, h headers) *resolver.Request {
		return &resolver.Request{Authority: "echo.mesh.local:8080", Path: path, Headers: h}
	}
	for _, test := range []struct {
		name, recording string
		target          resolver.TargetName
		request         *resolver.Request
		want            map[string]int
	}{
		{"gRPC", "istio-echo-grpc", resolver.TargetName{Listener: "echo.mesh.local:7070"}, grpc(nil),
			map[string]int{"outbound|7070|v1|echo.mesh.local": 5, "outbound|7070|v2|echo.mesh.local": 5}},
		{"gRPC canary", "istio-echo-grpc", resolver.TargetName{Listener: "echo.mesh.local:7070"}, grpc(headers{"x-canary": {"1"}}),
			map[string]int{"outbound|7070|v2|echo.mesh.local": 10}},
		{"HTTP by a listener", "istio-echo-grpc", resolver.TargetName{Listener: "echo.mesh.local:8080"}, http("/", nil),
			map[string]int{"outbound|8080|v1|echo.mesh.local": 5, "outbound|8080|v2|echo.mesh.local": 5}},
		{"HTTP as a sidecar", "istio-echo-envoy", resolver.TargetName{RouteConfig: "8080"}, http("/", nil),
			map[string]int{"outbound|8080|v1|echo.mesh.local": 5, "outbound|8080|v2|echo.mesh.local": 5}},
		{"HTTP canary as a sidecar", "istio-echo-envoy", resolver.TargetName{RouteConfig: "8080"}, http("/proto.Echo/x", headers{"X-Canary": {"1"}}),
			map[string]int{"outbound|8080|v2|echo.mesh.local": 10}},
		{"the header alone", "istio-echo-envoy", resolver.TargetName{RouteConfig: "8080"}, http("/", headers{"X-Canary": {"1"}}),
			map[string]int{"outbound|8080|v1|echo.mesh.local": 5, "outbound|8080|v2|echo.mesh.local": 5}},
		{"gRPC as a sidecar, one host", "istio-echo-envoy", resolver.TargetName{RouteConfig: "7070", Authority: "echo.mesh.local:7070"}, grpc(headers{"x-canary": {"1"}}),
			map[string]int{"outbound|7070|v2|echo.mesh.local": 10}},
		{"an unknown host", "istio-echo-envoy", resolver.TargetName{RouteConfig: "8080"}, &resolver.Request{Authority: "other:8080", Path: "/"},
			map[string]int{"PassthroughCluster": 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, split(t, istioTable(t, test.recording, test.target), test.request)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}
