package envoy

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestBoundedLoad makes requests with few keys that none of the endpoints answers before
// the last has come, and expects each where Envoy sends it: to the endpoint of its key
// until that has too much to do.
func TestBoundedLoad(t *testing.T) {
	const policies, requests = 12, 16
	p := newPair(t, false)
	g := newGenerator(t, seeded.Seed(t), false)
	held := &held{came: make(chan string)}
	var backends []*meshtest.Backend
	for i := range 5 {
		backends = append(backends, held.backend(t, fmt.Sprint("b", i)))
	}
	for n := range policies {
		name := fmt.Sprint("c", n)
		rules := &policy{routes: toCluster(name, nil)}
		rules.routes.VirtualHosts[0].Routes[0].GetRoute().HashPolicy = []*routev3.RouteAction_HashPolicy{{
			PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: "x-a"}},
		}}
		var list []*endpointv3.LbEndpoint
		byHostname := g.one(2)
		for i, b := range backends[:2+g.IntN(len(backends)-1)] {
			e := endpoint(t, b)
			if byHostname {
				e.GetEndpoint().Hostname = fmt.Sprint("host-", i)
			}
			list = append(list, e)
		}
		bound := &commonv3.ConsistentHashingLbConfig{
			UseHostnameForHashing: byHostname,
			HashBalanceFactor:     wrapperspb.UInt32(pick(g, uint32(100), 120, 150, 200, 300)),
		}
		config, kind := proto.Message(&maglevv3.Maglev{TableSize: wrapperspb.UInt64(101), ConsistentHashingLbConfig: bound}), "maglev"
		if g.one(2) {
			config, kind = &ringhashv3.RingHash{HashFunction: ringhashv3.RingHash_XX_HASH, ConsistentHashingLbConfig: bound}, "ring_hash"
		}
		rules.cluster(t, name, false, list...).LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
			TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: "envoy.load_balancing_policies." + kind, TypedConfig: pack(t, config)},
		}}}
		if !p.apply(t, rules) {
			t.Fatalf("both refuse it: %v", p.rejections())
		}
		var sequence []string
		for range requests {
			sequence = append(sequence, pick(g, "1", "1", "1", "2"))
		}
		want, got := held.places(t, p, p.envoy, sequence), held.places(t, p, p.weft, sequence)
		if !slices.Equal(want, got) {
			t.Errorf("%s %v, %d endpoints, keys %v:\nEnvoy %v\nWeft  %v", kind, bound, len(list), sequence, want, got)
		}
	}
}

// held keeps requests at their backends.
type held struct {
	came chan string // the backend's name

	mu      sync.Mutex
	release chan struct{}
}

func (h *held) backend(t *testing.T, name string) *meshtest.Backend {
	return meshtest.HTTP(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		release := h.release
		h.mu.Unlock()
		if r.Header.Get("X-A") == "" { // asks whether there is a cluster
			return
		}
		h.came <- name
		<-release
	}))
}

// places makes requests with these keys, and returns the backends to which they go.
func (h *held) places(t *testing.T, p *pair, s *side, sequence []string) (list []string) {
	h.mu.Lock()
	h.release = make(chan struct{})
	h.mu.Unlock()
	var calls sync.WaitGroup
	for _, key := range sequence {
		calls.Go(func() {
			if a := p.call(t, s, request{host: "shop", path: "/", header: []string{"x-a", key}}); a.Status != http.StatusOK {
				t.Errorf("%s: %+v", s.name, a)
				select {
				case h.came <- "nowhere":
				case <-t.Context().Done():
				}
			}
		})
		list = append(list, <-h.came)
	}
	close(h.release)
	calls.Wait()
	return list
}
