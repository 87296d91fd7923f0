package envoy

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	admissionFilter           = "envoy.filters.http.admission_control"
	adaptiveConcurrencyFilter = "envoy.filters.http.adaptive_concurrency"
)

// concurrencyLimited is what Envoy says of calls over the limit of adaptive concurrency.
const concurrencyLimited = "reached concurrency limit"

// keptBack is a pair whose listeners have one filter, and a lane.
func keptBack(t *testing.T, protocol, name string, config proto.Message, text string) *lanes {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), config); err != nil {
		t.Fatal(err)
	}
	filter := &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, config)}}
	l := setup{filters: []*hcmv3.HttpFilter{filter}}.lanes(t, protocol == "grpc", 1, 1)
	l.applyRules(t, protocol != "http1", []laneRule{{action: new(routev3.RouteAction)}}, nil)
	return l
}

// TestAdmission makes calls of which so many fail, of those that are let through, and expects
// the share that Weft refuses to be Envoy's.
func TestAdmission(t *testing.T) {
	const calls = 800
	var (
		all      = func(int) bool { return true }
		half     = func(n int) bool { return n%2 == 1 }
		tenth    = func(n int) bool { return n%10 == 9 }
		missing  = act{Kind: answers, Status: 404, Code: codes.NotFound}
		internal = act{Kind: answers, Status: 500, Code: codes.Internal}
	)
	cases := []struct {
		name   string
		filter string // what AdmissionControl has besides a window
		fails  func(n int) bool
		how    act
	}{
		{"all fail", `, "max_rejection_probability": {"default_value": {"value": 60}, "runtime_key": "m"}`, all, unavailable},
		{"all fail, as much as there is by default", ``, all, internal},
		{"half fail", `, "sr_threshold": {"default_value": {"value": 80}, "runtime_key": "s"}`, half, unavailable},
		{"half fail, with aggression", `, "sr_threshold": {"default_value": {"value": 80}, "runtime_key": "s"}, "aggression": {"default_value": 3, "runtime_key": "a"}`, half, unavailable},
		{"few fail", `, "sr_threshold": {"default_value": {"value": 80}, "runtime_key": "s"}, "aggression": {"default_value": 3, "runtime_key": "a"}`, tenth, unavailable},
		{"too few calls", `, "rps_threshold": {"default_value": 100, "runtime_key": "r"}`, all, unavailable},
		{"what fails by default", ``, all, missing},
		{"what fails by policy", `, "success_criteria": {"http_criteria": {"http_success_status": [{"start": 200, "end": 300}]}, "grpc_criteria": {"grpc_success_status": [0]}}`, all, missing},
		{"what succeeds by policy", `, "success_criteria": {"http_criteria": {"http_success_status": [{"start": 200, "end": 600}]}, "grpc_criteria": {"grpc_success_status": [0, 14]}}`, all, unavailable},
	}
	for _, protocol := range []string{"http1", "grpc"} {
		for _, c := range cases {
			t.Run(protocol+" "+c.name, func(t *testing.T) {
				text := `{"sampling_window": "600s"` + c.filter
				if !strings.Contains(text, "success_criteria") {
					text += `, "success_criteria": {}`
				}
				l := keptBack(t, protocol, admissionFilter, new(admissionv3.AdmissionControl), text+"}")
				var shares [2]float64
				for i, s := range l.sides() {
					refused := 0
					for n := range calls {
						sc := script{ok}
						if c.fails(n - refused) {
							sc = script{c.how}
						}
						got, err := l.perform(t, s, 0, performance{script: sc, request: request{method: "GET"}})
						if err != nil {
							t.Fatal(err)
						}
						if len(got.Attempts) == 0 {
							refused++
						}
					}
					shares[i] = float64(refused) / calls
				}
				t.Logf("Envoy refuses %.3f, Weft %.3f", shares[0], shares[1])
				// No more than seven standard deviations of the difference: as what is refused
				// depends on what was, it is spread a little wider.
				if p := shares[0]; math.Abs(p-shares[1]) > 7*math.Sqrt(2*p*(1-p)/calls) {
					t.Errorf("Envoy refuses %.3f, Weft %.3f", p, shares[1])
				}
			})
		}
	}
}

// TestAdaptiveConcurrency holds calls, after one that is not held, until no more are let in,
// and expects as many in Weft.
func TestAdaptiveConcurrency(t *testing.T) {
	const never = `"concurrency_update_interval": "3600s"`
	cases := []struct{ name, filter string }{
		{"while it is measured", `{"concurrency_limit_params": {` + never + `}, "min_rtt_calc_params": {"interval": "3600s", "min_concurrency": 2}}`},
		{"while it is measured, by default", `{"concurrency_limit_params": {` + never + `}, "min_rtt_calc_params": {"interval": "3600s"}}`},
		{"while it is measured, below the least", `{"concurrency_limit_params": {` + never + `, "min_concurrency_limit": 4}, "min_rtt_calc_params": {"interval": "3600s", "min_concurrency": 2}}`},
		{"while it is measured, above the least", `{"concurrency_limit_params": {` + never + `, "min_concurrency_limit": 2}, "min_rtt_calc_params": {"interval": "3600s", "min_concurrency": 4}}`},
		{"once it was measured", `{"concurrency_limit_params": {` + never + `, "min_concurrency_limit": 4}, "min_rtt_calc_params": {"interval": "3600s", "request_count": 1, "min_concurrency": 2}}`},
		{"once it was measured, without a least", `{"concurrency_limit_params": {` + never + `}, "min_rtt_calc_params": {"interval": "3600s", "request_count": 1, "min_concurrency": 2}}`},
		{"fixed, below the least", `{"concurrency_limit_params": {` + never + `, "min_concurrency_limit": 4}, "min_rtt_calc_params": {"fixed_value": "1s", "min_concurrency": 2}}`},
		{"fixed, above the least", `{"concurrency_limit_params": {` + never + `, "min_concurrency_limit": 2}, "min_rtt_calc_params": {"fixed_value": "1s", "min_concurrency": 4}}`},
		{"fixed, without a least", `{"concurrency_limit_params": {` + never + `}, "min_rtt_calc_params": {"fixed_value": "1s", "min_concurrency": 4}}`},
		{"fixed, and measured", `{"concurrency_limit_params": {` + never + `, "min_concurrency_limit": 4}, "min_rtt_calc_params": {"fixed_value": "1s", "interval": "3600s", "min_concurrency": 2}}`},
		{"fixed, by default", `{"concurrency_limit_params": {` + never + `}, "min_rtt_calc_params": {"fixed_value": "1s"}}`},
	}
	for _, protocol := range []string{"http1", "grpc"} {
		for _, c := range cases {
			t.Run(protocol+" "+c.name, func(t *testing.T) {
				l := keptBack(t, protocol, adaptiveConcurrencyFilter, new(adaptivev3.AdaptiveConcurrency), `{"gradient_controller_config": `+c.filter+`}`)
				l.keptBack = concurrencyLimited
				var reports [2]string
				for i, s := range l.sides() {
					reports[i] = l.crowdOne(t, s, 0, append([]script{{ok}}, slices.Repeat([]script{{holding}}, 6)...), long)
				}
				if reports[0] != reports[1] {
					t.Errorf("Envoy:\n%s\nWeft:\n%s", reports[0], reports[1])
				}
			})
		}
	}
}

// TestAdaptiveConcurrencyGrows has calls take far less time than they might, and expects the
// limit to come to its most.
func TestAdaptiveConcurrencyGrows(t *testing.T) {
	const most = 7
	const limits = `{"gradient_controller_config": {"concurrency_limit_params": {"concurrency_update_interval": "0.02s", "min_concurrency_limit": 2, "max_concurrency_limit": 7}, "min_rtt_calc_params": {"fixed_value": "100s"}}}`
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			l := keptBack(t, protocol, adaptiveConcurrencyFilter, new(adaptivev3.AdaptiveConcurrency), limits)
			l.keptBack = concurrencyLimited
			for _, s := range l.sides() {
				await(t, s.name+" to let in as many calls as it may", func() bool {
					report := l.crowdOne(t, s, 0, slices.Repeat([]script{{holding}}, most+1), long)
					return strings.Count(report, "held") == most
				})
			}
		})
	}
}

// TestAdaptiveConcurrencyShrinks has calls take far less time than they might, and then far
// more, and expects the limit to come down from its most to 2, which is the least that it
// comes to by itself: of half of 2, and the root of that.
func TestAdaptiveConcurrencyShrinks(t *testing.T) {
	const most, slow = 7, 500 * time.Millisecond
	const limits = `{"gradient_controller_config": {"concurrency_limit_params": {"concurrency_update_interval": "0.02s", "min_concurrency_limit": 1, "max_concurrency_limit": 7}, "min_rtt_calc_params": {"fixed_value": "0.1s"}}}`
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			l := keptBack(t, protocol, adaptiveConcurrencyFilter, new(adaptivev3.AdaptiveConcurrency), limits)
			l.keptBack = concurrencyLimited
			for _, s := range l.sides() {
				var seen []int
				crowd := func(held time.Duration) int {
					report := l.crowdHeld(t, s, 0, slices.Repeat([]script{{holding}}, most+1), long, held)
					return strings.Count(report, "held")
				}
				await(t, s.name+" to let in as many calls as it may", func() bool { return crowd(0) == most })
				await(t, s.name+" to let in the least", func() bool {
					seen = append(seen, crowd(slow))
					return seen[len(seen)-1] == 2
				})
				seen = append(seen, crowd(slow))
				t.Logf("%s lets in %v", s.name, seen)
				if !slices.IsSortedFunc(seen, func(a, b int) int { return b - a }) || seen[len(seen)-1] != 2 {
					t.Errorf("%s lets in %v, want less and less, and 2 at the end", s.name, seen)
				}
			}
		})
	}
}
