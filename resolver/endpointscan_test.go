package resolver

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// compareScan holds what is scanned against what is unmarshalled.
func compareScan(t *testing.T, raw []byte) (scanned bool) {
	t.Helper()
	d := &decoder{kind: "ClusterLoadAssignment"}
	name, got, ok := d.scanAssignment(raw, nil)
	if !ok {
		return false
	}
	var m endpointv3.ClusterLoadAssignment
	if err := proto.Unmarshal(raw, &m); err != nil {
		t.Fatalf("scanned what is not a message: %v", err)
	}
	want, err := d.root().assignment(&m, false)
	if err != nil {
		t.Fatalf("scanned what is bad: %v", err)
	}
	if name != m.GetClusterName() {
		t.Errorf("name %q, want %q", name, m.GetClusterName())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("assignment (-want +got):\n%s", diff)
	}
	return true
}

func istioAssignments(t testing.TB) (list [][]byte) {
	t.Helper()
	for _, recording := range []string{"istio-echo-grpc", "istio-echo-envoy"} {
		raw, err := os.ReadFile(filepath.Join("testdata", recording, "eds.binpb"))
		if err != nil {
			t.Fatal(err)
		}
		var response discoveryv3.DiscoveryResponse
		if err := proto.Unmarshal(raw, &response); err != nil {
			t.Fatal(err)
		}
		for _, r := range response.GetResources() {
			list = append(list, r.GetValue())
		}
	}
	return list
}

// The usual form is scanned; with anything more, the scan gives up.
func TestScannedAssignments(t *testing.T) {
	for _, raw := range istioAssignments(t) {
		if !compareScan(t, raw) {
			t.Errorf("gave up on %x", raw)
		}
		var m endpointv3.ClusterLoadAssignment
		if err := proto.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		for what, spoil := range map[string]func(e *endpointv3.LbEndpoint){
			"additional addresses": func(e *endpointv3.LbEndpoint) {
				e.GetEndpoint().AdditionalAddresses = []*endpointv3.Endpoint_AdditionalAddress{{}}
			},
			"a named port": func(e *endpointv3.LbEndpoint) {
				e.GetEndpoint().GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_NamedPort{NamedPort: "http"}
			},
			"no endpoint": func(e *endpointv3.LbEndpoint) { e.HostIdentifier = nil },
		} {
			spoiled := proto.CloneOf(&m)
			spoil(spoiled.Endpoints[0].LbEndpoints[0])
			raw, err := proto.Marshal(spoiled)
			if err != nil {
				t.Fatal(err)
			}
			if compareScan(t, raw) {
				t.Errorf("did not give up on %s", what)
			}
		}
	}
}

// A message whose parts come in several pieces is merged, which is not the usual
// form.
func TestScanGivesUpOnPieces(t *testing.T) {
	part := func(field protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), v)
	}
	region, zone := part(1, part(1, []byte("r"))), part(1, part(2, []byte("z")))
	name := part(1, []byte("c"))
	whole := slices.Concat(name, part(2, part(1, slices.Concat(part(1, []byte("r")), part(2, []byte("z"))))))
	if !compareScan(t, whole) {
		t.Error("gave up on a locality in one piece")
	}
	pieces := slices.Concat(name, part(2, slices.Concat(region, zone)))
	if compareScan(t, pieces) {
		t.Error("did not give up on a locality in two pieces")
	}
}

func FuzzScanAssignment(f *testing.F) {
	for _, raw := range istioAssignments(f) {
		f.Add(raw)
	}
	f.Add([]byte("\n\x01c\"\x12\x10\x01\n\x0e\n\x01d\x12\x09\x08\x05\x10\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) { compareScan(t, raw) })
}
