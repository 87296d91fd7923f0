package resolver_test

import (
	"os"
	"path/filepath"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

// recorded are the serialized resources of a recording, by type URL.
func recorded(t testing.TB, recording string) map[string][][]byte {
	t.Helper()
	resources := make(map[string][][]byte)
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
			resources[r.GetTypeUrl()] = append(resources[r.GetTypeUrl()], r.GetValue())
		}
	}
	return resources
}

func decodeAll(t testing.TB, types []xds.ResourceType, recording string) map[string][]resolver.StaticResource {
	all := make(map[string][]resolver.StaticResource)
	for url, list := range recorded(t, recording) {
		for _, raw := range list {
			name, _, err := decoderOf(t, types, url)(raw)
			if err != nil {
				t.Errorf("%s %q: %v", url, name, err)
			}
			all[url] = append(all[url], resolver.StaticResource{Name: name, Raw: raw})
		}
	}
	return all
}

func decoderOf(t testing.TB, types []xds.ResourceType, url string) func([]byte) (string, any, error) {
	for _, typ := range types {
		if typ.URL == url {
			return typ.Decode
		}
	}
	t.Fatalf("no decoder for %s", url)
	return nil
}

func TestX(t *testing.T) {
	for _, rec := range []string{"istio-echo-grpc", "istio-echo-envoy", "istio-echo-inbound"} {
		w := resolver.NewWarnings(nil)
		decodeAll(t, resolver.Types(resolver.TypesConfig{Warnings: w}), rec)
		for _, x := range w.List() {
			t.Log(rec, x.Type, x.Field, len(x.Resources))
		}
	}
}
