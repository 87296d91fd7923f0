package envoy

import (
	"fmt"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestOutliers has endpoints fail, one after the other, as often as makes Envoy eject
// them or once less, and expects the same ones to be out at the end.
func TestOutliers(t *testing.T) {
	const policies = 16
	p := newPair(t, false)
	g := newGenerator(t, seeded.Seed(t), false)
	var backends []*meshtest.Backend
	for i := range 6 {
		backends = append(backends, newBackend(t, fmt.Sprint("b", i)))
	}
	out := 0
	for n := range policies {
		name := fmt.Sprint("c", n)
		rules := &policy{routes: toCluster(name, nil)}
		var list []*endpointv3.LbEndpoint
		for _, b := range backends[:2+g.IntN(len(backends)-1)] {
			list = append(list, endpoint(t, b))
		}
		c := rules.cluster(t, name, false, list...)
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
			HealthyPanicThreshold: &typev3.Percent{Value: pick(g, 0.0, 50, 80)},
			UpdateMergeWindow:     durationpb.New(0), // or Envoy tells its workers of the second ejection a second later
		}
		status, often := pick(g, "500", "503"), 2+g.IntN(3)
		detection := &clusterv3.OutlierDetection{
			Interval: durationpb.New(time.Hour), BaseEjectionTime: durationpb.New(time.Hour), MaxEjectionTime: durationpb.New(time.Hour),
			EnforcingSuccessRate: wrapperspb.UInt32(0),
			Consecutive_5Xx:      wrapperspb.UInt32(uint32(often)),
		}
		if g.one(2) {
			detection.Consecutive_5Xx = wrapperspb.UInt32(100)
			detection.ConsecutiveGatewayFailure = wrapperspb.UInt32(uint32(often))
			detection.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(100)
		}
		if g.one(5) {
			detection.EnforcingConsecutive_5Xx = wrapperspb.UInt32(0)
		}
		if g.one(4) {
			detection.AlwaysEjectOneHost = wrapperspb.Bool(true)
		}
		if !g.one(4) {
			detection.MaxEjectionPercent = wrapperspb.UInt32(pick(g, uint32(0), 20, 34, 50, 67, 100))
		}
		c.OutlierDetection = detection
		if !p.apply(t, rules) {
			t.Fatalf("both refuse it: %v", p.rejections())
		}
		var failures []failure
		for _, i := range g.Perm(len(list)) {
			failures = append(failures, failure{fmt.Sprint("b", i), status, often - g.IntN(4)/3})
		}
		failures = failures[:1+g.IntN(len(failures))]
		for _, s := range p.sides() {
			for _, f := range failures {
				f.happen(t, p, s)
				if s == p.envoy { // which ejects on its main thread, after it has answered
					p.proxy.settle()
				}
			}
		}
		want, got, alike := p.shares(t, request{method: "GET", host: "shop", path: "/"})
		if !alike {
			t.Errorf("%d endpoints, %v, %v, after %v: Envoy %v, Weft %v", len(list), detection, c.GetCommonLbConfig(), failures, want, got)
		}
		if len(want) < len(list) {
			out++
		}
	}
	if out == 0 {
		t.Error("nothing is ever ejected: the generator is no good")
	}
}

// failure is a backend that fails so often in a row.
type failure struct {
	backend, status string
	often           int
}

// happen calls a side until the backend has failed.
func (f failure) happen(t *testing.T, p *pair, s *side) {
	failed := 0
	for range 400 {
		if failed == f.often {
			return
		}
		a := p.call(t, s, request{method: "GET", host: "shop", path: "/", header: []string{wantStatus, f.status, wantFrom, f.backend}})
		if backendOf(a) == f.backend {
			failed++
		}
	}
}
