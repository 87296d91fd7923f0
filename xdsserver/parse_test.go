package xdsserver

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func seedRequests(f *testing.F) {
	bad := &rpcstatus.Status{Code: 3, Message: "no"}
	for _, m := range []proto.Message{
		&discovery.DiscoveryRequest{
			VersionInfo: "v", Node: &corev3.Node{Id: "n"}, ResourceNames: []string{"a", "*"},
			TypeUrl: policy.ClusterType, ResponseNonce: "1", ErrorDetail: bad,
		},
		&discovery.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: "n"}, TypeUrl: policy.EndpointType, ResponseNonce: "7", ErrorDetail: bad,
			ResourceNamesSubscribe: []string{"a", "b"}, ResourceNamesUnsubscribe: []string{"*"},
			InitialResourceVersions: map[string]string{"a": "1"},
		},
	} {
		f.Add(marshal(f, m))
	}
}

// What protobuf's own decoder understands, ours reads the same.
func FuzzParse(f *testing.F) {
	seedRequests(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var sotw discovery.DiscoveryRequest
		req, err := parseSotW(raw)
		names, namesErr := req.names()
		if proto.Unmarshal(raw, &sotw) == nil {
			if err != nil || namesErr != nil {
				t.Fatalf("refused: %v, %v", err, namesErr)
			}
			sameRequest(t, req, names, sotw.GetTypeUrl(), sotw.GetResponseNonce(), sotw.GetErrorDetail(), sotw.GetResourceNames())
		}
		var delta discovery.DeltaDiscoveryRequest
		req, err = parseDelta(raw)
		if proto.Unmarshal(raw, &delta) == nil {
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			sameRequest(t, req, req.subscribe, delta.GetTypeUrl(), delta.GetResponseNonce(), delta.GetErrorDetail(), delta.GetResourceNamesSubscribe())
			if diff := cmp.Diff(delta.GetResourceNamesUnsubscribe(), req.unsubscribe, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(delta.GetInitialResourceVersions(), req.held, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func sameRequest(t *testing.T, req *request, names []string, typeURL, nonce string, nack *rpcstatus.Status, want []string) {
	t.Helper()
	if req.typeURL != typeURL || req.nonce != nonce {
		t.Errorf("type %q, nonce %q, want %q, %q", req.typeURL, req.nonce, typeURL, nonce)
	}
	if diff := cmp.Diff(want, names, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if (nack == nil) != (req.nack == nil) {
		t.Errorf("error %v, want %v", req.nack, nack)
	}
}

func TestNamesDigestTellsLists(t *testing.T) {
	digest := func(names ...string) uint64 {
		req, err := parseSotW(marshal(t, &discovery.DiscoveryRequest{ResourceNames: names, ResponseNonce: names[0]}))
		if err != nil {
			t.Fatal(err)
		}
		return req.namesDigest
	}
	if digest("ab", "c") == digest("a", "bc") || digest("a") == digest("a", "") || digest("a") == digest("b") || digest("a", "b") == digest("b", "a") {
		t.Error("different lists have the same digest")
	}
	if first, again := digest("a", "b"), digest("a", "b"); first != again {
		t.Error("the same list has different digests")
	}
}

func BenchmarkParseAck(b *testing.B) {
	req := &discovery.DiscoveryRequest{TypeUrl: policy.EndpointType, ResponseNonce: "17", VersionInfo: "0123456789abcdef"}
	for i := range 1000 {
		req.ResourceNames = append(req.ResourceNames, serviceName(i))
	}
	raw := marshal(b, req)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseSotW(raw); err != nil {
			b.Fatal(err)
		}
	}
}
