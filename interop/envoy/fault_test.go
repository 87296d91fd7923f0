package envoy

import (
	"math"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// TestFaults gives the listener a fault filter and overrides it at all four levels. Faults
// are for all calls or for none, so that the same becomes of them.
func TestFaults(t *testing.T) {
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			aborted, passed := 0, 0
			filtered{
				policies: 8, requests: 60,
				filters: func(g *generator) []*hcmv3.HttpFilter { return []*hcmv3.HttpFilter{g.faultFilter()} },
				routes:  (*generator).faultRoutes, request: (*generator).faultRequest,
				note: func(_ request, a answer) {
					if a.Seen != nil {
						passed++
					} else if a.Body == "fault filter abort" || a.Body == "no" {
						aborted++
					}
				},
				enough: func() bool { return aborted > 60 && passed > 60 },
			}.compare(t, protocol == "grpc")
			t.Logf("%d calls passed, %d were aborted", passed, aborted)
		})
	}
}

// faultPair is a pair whose listener has this fault.
func faultPair(t *testing.T, f *faultv3.HTTPFault, grpc bool) *pair {
	t.Helper()
	f.Headers = []*routev3.HeaderMatcher{{Name: wantFault}}
	p := setup{filters: []*hcmv3.HttpFilter{{Name: faultFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, f)}}}}.pair(t, grpc, "shop")
	rules := &policy{routes: toCluster("a", nil)}
	rules.cluster(t, "a", grpc, endpoint(t, newBackend(t, "a")))
	if !p.apply(t, rules) {
		t.Fatalf("both refuse it: %v", p.rejections())
	}
	return p
}

// TestFaultShares has shares of the calls meet a fault, as policy says and as the calls do.
func TestFaultShares(t *testing.T) {
	header := &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}}
	for _, test := range []struct {
		of      *typev3.FractionalPercent
		percent string // that calls ask for
		want    float64
	}{
		{&typev3.FractionalPercent{Numerator: 25}, "", 0.25},
		{&typev3.FractionalPercent{Numerator: 6_000, Denominator: typev3.FractionalPercent_TEN_THOUSAND}, "1500", 0.15},
		{&typev3.FractionalPercent{Numerator: 400_000, Denominator: typev3.FractionalPercent_MILLION}, "900000", 0.4},
	} {
		p := faultPair(t, &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{ErrorType: header, Percentage: test.of}}, false)
		r := request{host: "shop", path: "/", header: []string{wantFault, "1", "x-envoy-fault-abort-request", "503"}}
		if test.percent != "" {
			r.header = append(r.header, "x-envoy-fault-abort-request-percentage", test.percent)
		}
		for _, s := range p.sides() {
			n := 0
			for range calls {
				if p.call(t, s, r).Status == 503 {
					n++
				}
			}
			if d := 7 * math.Sqrt(calls*test.want*(1-test.want)); math.Abs(float64(n)-calls*test.want) > d {
				t.Errorf("%v, asked for %q: %s aborts %d of %d calls, want %.0f ± %.0f", test.of, test.percent, s.name, n, calls, calls*test.want, d)
			}
		}
	}
}

// TestFaultTimes measures delays, and responses that are held back: neither side is earlier
// than policy has it, nor much later.
func TestFaultTimes(t *testing.T) {
	const early, late = 10 * time.Millisecond, 3 * time.Second // Envoy's clock is coarse, and machines are busy
	f := &faultv3.HTTPFault{
		Delay: &faultcommonv3.FaultDelay{
			FaultDelaySecifier: &faultcommonv3.FaultDelay_HeaderDelay_{HeaderDelay: &faultcommonv3.FaultDelay_HeaderDelay{}},
			Percentage:         &typev3.FractionalPercent{Numerator: 100},
		},
		ResponseRateLimit: &faultcommonv3.FaultRateLimit{
			LimitType:  &faultcommonv3.FaultRateLimit_HeaderLimit_{HeaderLimit: &faultcommonv3.FaultRateLimit_HeaderLimit{}},
			Percentage: &typev3.FractionalPercent{Numerator: 100},
		},
	}
	for _, grpc := range []bool{false, true} {
		p := faultPair(t, f, grpc)
		pad := strings.Repeat("x", 6<<10) // which the backend tells of
		for _, test := range []struct {
			header []string
			least  time.Duration
		}{
			{[]string{"x-envoy-fault-delay-request", "150"}, 150 * time.Millisecond},
			{[]string{"x-envoy-fault-delay-request", "400"}, 400 * time.Millisecond},
			{[]string{"x-envoy-fault-throughput-response", "8"}, 600 * time.Millisecond}, // of 700
			{[]string{"x-envoy-fault-throughput-response", "4"}, 1350 * time.Millisecond},
			// What is held back may be more than waits: a bucket fills meanwhile.
			{[]string{"x-envoy-fault-throughput-response", "16", "x-envoy-fault-delay-request", "500"}, 500 * time.Millisecond},
		} {
			r := request{host: "shop", path: "/shop.Orders/Get", header: append([]string{wantFault, "1", "x-pad", pad}, test.header...)}
			for _, s := range p.sides() {
				took := 2 * long
				for n := 0; n < 5 && took > test.least+late; n++ { // when the machine is busy
					began := time.Now()
					if a := p.call(t, s, r); a.Seen == nil {
						t.Errorf("%v: %s answers %+v", test.header, s.name, a)
					}
					took = time.Since(began)
				}
				if took < test.least-early || took > test.least+late {
					t.Errorf("%v: a call through %s took %v, want %v at least", test.header, s.name, took, test.least)
				} else {
					t.Logf("%v: %s %v", test.header, s.name, took)
				}
			}
		}
	}
}
