package xds

import (
	"bytes"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// What the generated messages can read, parse reads the same.
func FuzzParseAsGenerated(f *testing.F) {
	for _, m := range []proto.Message{
		&discoveryv3.DeltaDiscoveryResponse{
			SystemVersionInfo: "s", TypeUrl: "t", Nonce: "n", RemovedResources: []string{"gone"},
			RemovedResourceNames: []*discoveryv3.ResourceName{{Name: "gone too"}},
			ResourceErrors:       []*discoveryv3.ResourceError{{ResourceName: &discoveryv3.ResourceName{Name: "e"}}},
			Resources: []*discoveryv3.Resource{
				{Name: "a", Version: "1", Resource: &anypb.Any{TypeUrl: "t", Value: []byte("x")}, Ttl: durationpb.New(1)},
				{Name: "heartbeat"},
			},
		},
		&discoveryv3.DiscoveryResponse{
			VersionInfo: "v", TypeUrl: "t", Nonce: "n", Canary: true,
			Resources: []*anypb.Any{{TypeUrl: "t", Value: []byte("x")}, {}},
		},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		comparedDelta(t, b)
		comparedSotW(t, b)
	})
}

func comparedDelta(t *testing.T, b []byte) {
	var want discoveryv3.DeltaDiscoveryResponse
	if proto.Unmarshal(b, &want) != nil {
		return
	}
	got, err := delta.parse(b)
	if err != nil {
		t.Fatalf("delta: %v", err)
	}
	if got.typeURL != want.TypeUrl || got.nonce != want.Nonce || len(got.items) != len(want.Resources) ||
		len(got.removed) != len(want.RemovedResources)+len(want.RemovedResourceNames) || len(got.refused) != len(want.ResourceErrors) {
		t.Fatalf("delta: got %+v, want %v", got, &want)
	}
	for i, w := range want.Resources {
		g := got.items[i]
		if g.err != nil {
			continue // for want of a name, or for a time to live that cannot be
		}
		name := w.Name
		if w.ResourceName.GetName() != "" && (name == "" || g.name == canonicalName(w.ResourceName.Name)) {
			name = w.ResourceName.Name // only one of them may be set
		}
		if g.name != canonicalName(name) || g.version != w.Version || string(g.typeURL) != w.Resource.GetTypeUrl() ||
			(g.body == nil) != (w.Resource == nil) || !bytes.Equal(g.body, w.Resource.GetValue()) {
			t.Fatalf("delta: resource %d: got %+v, want %v", i, g, w)
		}
		if w.Ttl != nil && g.ttl != w.Ttl.AsDuration() {
			t.Fatalf("delta: resource %d: ttl is %v, want %v", i, g.ttl, w.Ttl.AsDuration())
		}
	}
}

func comparedSotW(t *testing.T, b []byte) {
	var want discoveryv3.DiscoveryResponse
	if proto.Unmarshal(b, &want) != nil {
		return
	}
	got, err := sotw.parse(b)
	if err != nil {
		t.Fatalf("sotw: %v", err)
	}
	if got.typeURL != want.TypeUrl || got.nonce != want.Nonce || got.version != want.VersionInfo || len(got.items) != len(want.Resources) {
		t.Fatalf("sotw: got %+v, want %v", got, &want)
	}
	for i, w := range want.Resources {
		g := got.items[i]
		if w.TypeUrl == wrapperURL {
			continue
		}
		if g.err != nil || string(g.typeURL) != w.TypeUrl || !bytes.Equal(g.body, w.Value) {
			t.Fatalf("sotw: resource %d: got %+v, want %v", i, g, w)
		}
	}
}

// TestWrapperURL holds the constant against the message it names.
func TestWrapperURL(t *testing.T) {
	a, err := anypb.New(&discoveryv3.Resource{})
	if err != nil || a.TypeUrl != wrapperURL {
		t.Errorf("the wrapper is %s (%v)", a.GetTypeUrl(), err)
	}
}
