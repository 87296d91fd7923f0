package envoy

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// TestBreakerMetadata has Envoy take a cluster whose metadata carry breakers, which it
// ignores.
func TestBreakerMetadata(t *testing.T) {
	p := newPair(t, false)
	b := newBackend(t, "b")
	breakers, err := structpb.NewStruct(map[string]any{"endpoint": map[string]any{"consecutive_failures": 3}, "cluster": map[string]any{"failure_percent": 50}})
	if err != nil {
		t.Fatal(err)
	}
	rules := &policy{routes: toCluster("c", nil)}
	rules.cluster(t, "c", false, []*endpointv3.LbEndpoint{endpoint(t, b)}...).Metadata = &corev3.Metadata{
		FilterMetadata: map[string]*structpb.Struct{"weft.breaker": breakers},
	}
	if !p.apply(t, rules) {
		t.Fatalf("both refuse it: %v", p.rejections())
	}
	p.compare(t, request{host: "shop", path: "/"}, func() string { return "breakers in metadata" })
}
