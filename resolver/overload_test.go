package resolver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// The configurations of the tests, of which each case changes something.
const (
	adaptiveConfig = `{"@type": "type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency", "gradientControllerConfig": {
		"concurrencyLimitParams": {"concurrencyUpdateInterval": "0.1s"}, "minRttCalcParams": {"interval": "60s"}}}`
	admissionConfig = `{"@type": "type.googleapis.com/envoy.extensions.filters.http.admission_control.v3.AdmissionControl", "successCriteria": {}}`
	shedConfig      = `{"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "typeUrl": "type.googleapis.com/weft.LoadShed", "value": {"max_requests": 2}}`
)

var overloadKinds = sync.OnceValues(func() (*filter.Registry, error) { return filter.NewRegistry(FilterKinds()...) })

// parseFilter reads a configuration, in which pairs of strings are replaced.
func parseFilter(t testing.TB, override bool, config string, replace ...string) (*filter.Parsed, error) {
	t.Helper()
	kinds, err := overloadKinds()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(config, replace[i]) {
			t.Fatalf("%s is not in %s", replace[i], config)
		}
		config = strings.Replace(config, replace[i], replace[i+1], 1)
	}
	var a anypb.Any
	if err := protojson.Unmarshal([]byte(config), &a); err != nil {
		t.Fatalf("%v in %s", err, config)
	}
	return kinds.Parse(&a, filter.Place{Override: override})
}

func newFilter(t testing.TB, config string, replace ...string) filter.Filter {
	t.Helper()
	p, err := parseFilter(t, false, config, replace...)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOverloadConfig(t *testing.T) {
	update, interval := `"concurrencyUpdateInterval": "0.1s"`, `"interval": "60s"`
	for _, test := range []struct {
		config, from, to, want string
	}{
		{adaptiveConfig, `, "gradientControllerConfig": {` + "\n\t\t" + `"concurrencyLimitParams": {` + update + `}, "minRttCalcParams": {` + interval + `}}`, "", "gradient_controller_config: must be set"},
		{adaptiveConfig, `"concurrencyLimitParams": {` + update + `},`, "", "gradient_controller_config.concurrency_limit_params: must be set"},
		{adaptiveConfig, `, "minRttCalcParams": {` + interval + `}`, "", "gradient_controller_config.min_rtt_calc_params: must be set"},
		{adaptiveConfig, update, "", "concurrency_limit_params.concurrency_update_interval: must be set"},
		{adaptiveConfig, `"0.1s"`, `"0s"`, "concurrency_update_interval: 0s is less than 1ns"},
		{adaptiveConfig, `"0.1s"`, `"-1s"`, "concurrency_update_interval: -1s is negative"},
		{adaptiveConfig, update, update + `, "maxConcurrencyLimit": 0`, "max_concurrency_limit: must be at least 1"},
		{adaptiveConfig, update, update + `, "minConcurrencyLimit": 0`, "min_concurrency_limit: must be at least 1"},
		{adaptiveConfig, interval, "", "min_rtt_calc_params: must have interval or fixed_value"},
		{adaptiveConfig, `"60s"`, `"0.0001s"`, "min_rtt_calc_params.interval: 100µs is less than 1ms"},
		{adaptiveConfig, interval, `"fixedValue": "0s"`, "fixed_value: 0s is less than 1ns"},
		{adaptiveConfig, interval, interval + `, "requestCount": 0`, "request_count: must be at least 1"},
		{adaptiveConfig, interval, interval + `, "minConcurrency": 0`, "min_concurrency: must be at least 1"},
		{adaptiveConfig, interval, interval + `, "jitter": {"value": 101}`, "jitter: 101 is not a percentage"},
		{adaptiveConfig, interval, interval + `, "buffer": {"value": -1}`, "buffer: -1 is not a percentage"},
		{adaptiveConfig, `{` + "\n", `{"sampleAggregatePercentile": {"value": "NaN"},` + "\n", "sample_aggregate_percentile: NaN is not a percentage"},
		{adaptiveConfig, `"gradient`, `"concurrencyLimitExceededStatus": {"code": 600}, "gradient`, "concurrency_limit_exceeded_status.code: 600 is not"},
		{admissionConfig, `, "successCriteria": {}`, "", "success_criteria: must be set"},
		{admissionConfig, `{}`, `{"httpCriteria": {}}`, "http_criteria.http_success_status: must not be empty"},
		{admissionConfig, `{}`, `{"grpcCriteria": {}}`, "grpc_criteria.grpc_success_status: must not be empty"},
		{admissionConfig, `{}`, `{"httpCriteria": {"httpSuccessStatus": [{"start": 300, "end": 200}]}}`, "http_success_status[0]: 300 to 200"},
		{admissionConfig, `{}`, `{"httpCriteria": {"httpSuccessStatus": [{"start": 99, "end": 200}]}}`, "99 to 200"},
		{admissionConfig, `{}`, `{"httpCriteria": {"httpSuccessStatus": [{"start": 200, "end": 601}]}}`, "200 to 601"},
		{admissionConfig, `{}`, `{"grpcCriteria": {"grpcSuccessStatus": [0, 17]}}`, "grpc_success_status[1]: 17 is not a gRPC status"},
		{admissionConfig, `"success`, `"srThreshold": {"defaultValue": {"value": 0.5}}, "success`, "sr_threshold: is less than 1 %"},
		{admissionConfig, `"success`, `"srThreshold": {}, "success`, ""},
		{admissionConfig, `"success`, `"maxRejectionProbability": {"defaultValue": {"value": 101}}, "success`, "max_rejection_probability.default_value: 101 is not"},
		{admissionConfig, `"success`, `"samplingWindow": "-3s", "success`, "sampling_window: -3s is negative"},
		{shedConfig, `"max_requests": 2`, ``, "max_requests: must be at least 1"},
		{shedConfig, `2`, `-2`, "cannot unmarshal number -2"},
		{shedConfig, `2`, `2, "max_request": 3`, `unknown field "max_request"`},
		{shedConfig, `2`, `2, "share": 0`, "share: 0 is not a percentage above 0"},
		{shedConfig, `2`, `2, "share": 101`, "share: 101 is not"},
		{shedConfig, `2`, `2, "priority_header": "x"`, "shares: must not be empty"},
		{shedConfig, `2`, `2, "shares": {"a": 5}`, `priority_header: "" is not the name of a header`},
		{shedConfig, `2`, `2, "priority_header": "x", "shares": {"a": -5}`, "shares[a]: -5 is not"},
		{shedConfig, `2`, `2, "queue": {}`, "queue.size: must be at least 1"},
		{shedConfig, `2`, `2, "queue": {"size": 1, "interval": "1"}`, `queue.interval: "1" is not a duration`},
		{shedConfig, `2`, `2, "queue": {"size": 1, "target": "0s"}`, `queue.target: "0s" is not a duration`},
		{shedConfig, `2`, `2, "retry_after": "soon"`, `retry_after: "soon" is not a duration`},
	} {
		p, err := parseFilter(t, false, test.config, test.from, test.to)
		if test.want == "" && err == nil && p != nil {
			continue
		}
		if err == nil || test.want == "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s in place of %s: got %v, want %s", test.to, test.from, err, test.want)
		}
	}
	for config, want := range map[string]string{
		adaptiveConfig: "not supported in overrides", admissionConfig: "not supported in overrides", shedConfig: "no field but share",
	} {
		if _, err := parseFilter(t, true, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("overridden by %s: %v", config, err)
		}
	}
}

// TestOverloadDefaults are Envoy's.
func TestOverloadDefaults(t *testing.T) {
	for _, test := range []struct {
		config string
		change []string
		want   string
	}{
		{adaptiveConfig, nil, "{Percentile:0.5 MaxLimit:1000 MinLimit:3 UpdateInterval:100ms FixedMinRTT:0s MinRTTInterval:1m0s Jitter:0.15 RequestCount:50 MinConcurrency:3 Buffer:0.25}"},
		{adaptiveConfig, []string{`"60s"`, `"60s", "minConcurrency": 7`}, "{Percentile:0.5 MaxLimit:1000 MinLimit:7 UpdateInterval:100ms FixedMinRTT:0s MinRTTInterval:1m0s Jitter:0.15 RequestCount:50 MinConcurrency:7 Buffer:0.25}"},
		{admissionConfig, nil, "{Window:30s Threshold:0.95 Aggression:1 MinRate:0 MaxProbability:0.8}"},
		{admissionConfig, []string{`"success`, `"samplingWindow": "1.5s", "aggression": {"defaultValue": 0.5}, "success`}, "{Window:2s Threshold:0.95 Aggression:1 MinRate:0 MaxProbability:0.8}"},
	} {
		got := ""
		switch f := newFilter(t, test.config, test.change...).(type) {
		case *adaptiveConcurrency:
			got = fmt.Sprintf("%+v", f.gradient.Config())
		case *admissionControl:
			got = fmt.Sprintf("%+v", f.admission.Config())
		}
		if got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
	for _, config := range []string{adaptiveConfig, admissionConfig} {
		if f := newFilter(t, config, `", "`, `", "enabled": {"defaultValue": false}, "`); f != nil {
			t.Errorf("a filter that is not enabled is %v", f)
		}
		if f := newFilter(t, config, `", "`, `", "enabled": {"runtimeKey": "x"}, "`); f == nil {
			t.Error("without a default value, a filter is not enabled")
		}
	}
	for from, want := range map[string]int{`{"code": 429}`: 429, `{"code": 200}`: 503, `{}`: 503} {
		f := newFilter(t, adaptiveConfig, `"gradient`, `"concurrencyLimitExceededStatus": `+from+`, "gradient`).(*adaptiveConcurrency)
		if f.refusal.status != want {
			t.Errorf("%s: refused with %d, want %d", from, f.refusal.status, want)
		}
	}
}

// pass has a request pass a filter.
func pass(f filter.Filter, r *filter.Request) (filter.Follower, error) {
	return f.Request(context.Background(), r)
}

// TestRefusal is what callers get to know: an answer, and in gRPC clients an error that is a
// limit's.
func TestRefusal(t *testing.T) {
	f := newFilter(t, shedConfig, "2", `1, "retry_after": "1.2s"`)
	if _, err := pass(f, &filter.Request{}); err != nil {
		t.Fatal(err)
	}
	for _, grpc := range []bool{false, true} {
		for _, server := range []bool{false, true} {
			follower, err := pass(f, &filter.Request{GRPC: grpc, Server: server})
			if !errors.Is(err, resilience.ErrLimit) {
				t.Errorf("grpc %v, server %v: %v", grpc, server, err)
			}
			reply := filter.ReplyOf(err)
			if answers := server || !grpc; (reply != nil) != answers || answers && (reply.Status != 503 || reply.GRPCStatus().Code() != codes.Unavailable || reply.Header["Retry-After"][0] != "2") {
				t.Errorf("grpc %v, server %v: %+v", grpc, server, reply)
			}
			trailer := filter.OfTrailer(follower)
			if (trailer != nil) != (grpc && server) {
				t.Fatalf("grpc %v, server %v: follower %v", grpc, server, follower)
			}
			if trailer != nil {
				r := &filter.Response{Trailer: filter.OwnMetadata(map[string][]string{})}
				trailer.Trailer(r)
				if got := r.Trailer.Get(pushbackName); got != "1200" {
					t.Errorf("pushback is %q", got)
				}
			}
		}
	}
}

// TestAdmissionCounts has calls end in all ways.
func TestAdmissionCounts(t *testing.T) {
	const none, failure, success = "does not count", "fails", "succeeds"
	broke := errors.New("the connection broke")
	rest := []string{`{}`, `{"httpCriteria": {"httpSuccessStatus": [{"start": 200, "end": 300}, {"start": 503, "end": 504}]}, "grpcCriteria": {"grpcSuccessStatus": [0, 14]}}`}
	for _, test := range []struct {
		grpc      bool
		change    []string
		outcome   filter.Outcome
		want, own string // by default, and by criteria
	}{
		{false, nil, filter.Outcome{Status: 200}, success, success},
		{false, nil, filter.Outcome{Status: 404}, success, failure},
		{false, nil, filter.Outcome{Status: 500}, failure, failure},
		{false, nil, filter.Outcome{Status: 503}, failure, success},
		{false, nil, filter.Outcome{Status: 504, Err: context.Canceled}, failure, failure},
		{false, nil, filter.Outcome{Status: 200, Err: broke}, success, success},
		{false, nil, filter.Outcome{Err: broke}, failure, failure},
		{false, nil, filter.Outcome{Err: context.DeadlineExceeded}, failure, failure},
		{false, nil, filter.Outcome{Err: fmt.Errorf("gave up: %w", context.Canceled)}, none, none},
		{false, nil, filter.Outcome{}, success, success}, // hijacked
		{true, nil, filter.Outcome{Code: codes.OK}, success, success},
		{true, nil, filter.Outcome{Code: codes.PermissionDenied, Err: broke}, success, failure},
		{true, nil, filter.Outcome{Code: codes.Unknown, Err: broke}, success, failure},
		{true, nil, filter.Outcome{Code: codes.DeadlineExceeded, Err: broke}, failure, failure},
		{true, nil, filter.Outcome{Code: codes.ResourceExhausted, Err: broke}, failure, failure},
		{true, nil, filter.Outcome{Code: codes.Internal}, failure, failure},
		{true, nil, filter.Outcome{Code: codes.Unavailable, Err: broke}, failure, success},
		{true, nil, filter.Outcome{Code: codes.Canceled, Err: broke}, none, none},
	} {
		for i, want := range []string{test.want, test.own} {
			f := newFilter(t, admissionConfig, `"success`, `"srThreshold": {"defaultValue": {"value": 100}}, "maxRejectionProbability": {"defaultValue": {"value": 100}}, "success`,
				`{}`, rest[i]).(*admissionControl)
			// One call that failed before: the probability of 1/2 then says what became of the other.
			f.admission.Record(time.Now(), false)
			f.follower(test.grpc).End(test.outcome)
			got := map[float64]string{0.5: none, 2.0 / 3: failure, 1.0 / 3: success}[f.admission.Probability(time.Now())]
			if got != want {
				t.Errorf("grpc %v, criteria %s: %+v %s, want: %s", test.grpc, rest[i], test.outcome, got, want)
			}
		}
	}
}

// TestAdaptiveConcurrencyCounts has one call in flight, and end in all ways.
func TestAdaptiveConcurrencyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilter(t, adaptiveConfig, `"60s"`, `"60s", "minConcurrency": 1, "requestCount": 3`).(*adaptiveConcurrency)
		for _, o := range []filter.Outcome{
			{Status: 200, Err: context.Canceled}, {Code: codes.Canceled}, // which say nothing
			{Status: 500}, {Code: codes.DeadlineExceeded}, {Err: context.DeadlineExceeded},
		} {
			if f.gradient.MinRTT() > time.Millisecond {
				t.Fatalf("before %+v there were enough samples", o)
			}
			follower, err := pass(f, &filter.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pass(f, &filter.Request{}); !errors.Is(err, resilience.ErrLimit) {
				t.Errorf("a second call: %v", err)
			}
			time.Sleep(20 * time.Millisecond)
			follower.End(o)
		}
		if got := f.gradient.MinRTT().Round(time.Millisecond); got != 20*time.Millisecond {
			t.Errorf("minRTT is %v", got)
		}
	})
}

// TestLoadShedShares has calls of different importance fill a server.
func TestLoadShedShares(t *testing.T) {
	config, err := parseFilter(t, false, shedConfig, "2", `10, "share": 90, "priority_header": "X-Priority", "shares": {"bulk": 20, "batch": 50, "top": 100}`)
	if err != nil {
		t.Fatal(err)
	}
	override, err := parseFilter(t, true, shedConfig, `"max_requests": 2`, `"share": 30`)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := config.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	route, err := config.New([]*filter.Parsed{override})
	if err != nil {
		t.Fatal(err)
	}
	name := filter.NewHeaderName("x-priority")
	in := 0
	for _, step := range []struct {
		f        filter.Filter
		priority string
		want     int // in flight after as many as go in
	}{
		{plain, "bulk", 2}, {route, "bulk", 2}, {route, "top", 3}, {route, "", 3}, {plain, "bulk", 3},
		{plain, "batch", 5}, {plain, "other", 9}, {plain, "", 9}, {plain, "top", 9},
	} {
		for {
			r := &filter.Request{Header: filter.HTTPHeader(map[string][]string{"X-Priority": {step.priority}})}
			if r.Header.Get(name) != step.priority {
				t.Fatal(r.Header)
			}
			if _, err := pass(step.f, r); err != nil {
				break
			}
			in++
		}
		if in != step.want {
			t.Errorf("%q: %d are in flight, want %d", step.priority, in, step.want)
		}
	}
}

// TestLoadShedWaitsNoLonger has a call be let in just as its time is up: whichever it is
// told, its place is not lost.
func TestLoadShedWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilter(t, shedConfig, "2", `1, "queue": {"size": 1, "interval": "1s", "target": "1s"}`)
		for range 200 {
			first, err := pass(f, &filter.Request{})
			if err != nil {
				t.Fatalf("a place was lost: %v", err)
			}
			go func() {
				time.Sleep(time.Second)
				first.End(filter.Outcome{})
			}()
			if second, err := pass(f, &filter.Request{}); err == nil {
				second.End(filter.Outcome{})
			}
			synctest.Wait()
		}
	})
}

// TestLoadShedWaits has calls wait for others to end, for their time to be up, and for
// their callers to give up.
func TestLoadShedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilter(t, shedConfig, "2", `1, "queue": {"size": 2, "interval": "1s", "target": "10ms"}, "priority_header": "p", "shares": {"low": 99}`)
		first, err := pass(f, &filter.Request{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := pass(f, &filter.Request{Header: filter.HTTPHeader(map[string][]string{"P": {"low"}})}); !errors.Is(err, resilience.ErrLimit) || time.Since(began) != 0 {
			t.Errorf("a call with a smaller share, after %v: %v", time.Since(began), err)
		}
		go func() {
			time.Sleep(300 * time.Millisecond)
			first.End(filter.Outcome{})
		}()
		began = time.Now()
		second, err := pass(f, &filter.Request{})
		if err != nil || time.Since(began) != 300*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		began = time.Now()
		if _, err := pass(f, &filter.Request{}); !errors.Is(err, resilience.ErrLimit) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began = time.Now()
		if _, err := f.Request(ctx, &filter.Request{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		second.End(filter.Outcome{})
		if _, err := pass(f, &filter.Request{}); err != nil {
			t.Errorf("those that gave up hold places: %v", err)
		}
		for range 2 {
			go func() { _, _ = pass(f, &filter.Request{}) }()
		}
		synctest.Wait()
		began = time.Now()
		if _, err := pass(f, &filter.Request{}); !errors.Is(err, resilience.ErrLimit) || time.Since(began) != 0 {
			t.Errorf("a full queue, after %v: %v", time.Since(began), err)
		}
		time.Sleep(2 * time.Second)
	})
}

// TestOverloadAllocates holds calls that pass to what they may cost.
func TestOverloadAllocates(t *testing.T) {
	for _, test := range []struct {
		config string
		most   float64
	}{{adaptiveConfig, 1}, {admissionConfig, 0}, {shedConfig, 0}} {
		f := newFilter(t, test.config)
		r := &filter.Request{}
		if got := testing.AllocsPerRun(100, func() {
			follower, _ := f.Request(t.Context(), r)
			follower.End(filter.Outcome{Status: 200})
		}); got > test.most {
			t.Errorf("%T: %v allocations, want at most %v", f, got, test.most)
		}
	}
}

func BenchmarkOverload(b *testing.B) {
	for _, test := range []struct{ name, config, from, to string }{
		{"adaptive concurrency", adaptiveConfig, `"60s"`, `"60s", "minConcurrency": 1000000`},
		{"admission control", admissionConfig, `{}`, `{}`},
		{"load shed", shedConfig, "2", "1000000"},
	} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprint(test.name, "/", callers), func(b *testing.B) {
				f := newFilter(b, test.config, test.from, test.to)
				b.ReportAllocs()
				b.SetParallelism(callers)
				b.RunParallel(func(pb *testing.PB) {
					r, outcome := &filter.Request{}, filter.Outcome{Status: 200}
					if rand.IntN(2) == 0 {
						r.GRPC = true
					}
					for pb.Next() {
						if follower, err := pass(f, r); err == nil {
							follower.End(outcome)
						}
					}
				})
			})
		}
	}
}
