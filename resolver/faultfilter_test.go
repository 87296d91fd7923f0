package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/resolver"
)

var faultKinds = sync.OnceValues(func() (*filter.Registry, error) { return filter.NewRegistry(resolver.FilterKinds()...) })

// faultConfig reads the fields of an HTTPFault.
func faultConfig(tb testing.TB, fields string, at filter.Place) (*filter.Parsed, error) {
	tb.Helper()
	kinds, err := faultKinds()
	if err != nil {
		tb.Fatal(err)
	}
	var a anypb.Any
	if err := protojson.Unmarshal([]byte(`{"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", `+fields+`}`), &a); err != nil {
		tb.Fatal(err)
	}
	return kinds.Parse(&a, at)
}

// faults is the filter of a configuration.
func faults(tb testing.TB, fields string) filter.Filter {
	tb.Helper()
	config, err := faultConfig(tb, fields, filter.Place{})
	if err != nil {
		tb.Fatal(err)
	}
	f, err := config.New(nil)
	if err != nil || f == nil {
		tb.Fatalf("the filter is %v, %v", f, err)
	}
	return f
}

const (
	always    = `"percentage": {"numerator": 100}`
	delay5s   = `"delay": {"fixedDelay": "5s", ` + always + `}`
	abort503  = `"abort": {"httpStatus": 503, ` + always + `}`
	slow1K    = `"responseRateLimit": {"fixedLimit": {"limitKbps": 1}, ` + always + `}`
	byHeaders = `"delay": {"headerDelay": {}, ` + always + `}, "abort": {"headerAbort": {}, ` + always + `},
		"responseRateLimit": {"headerLimit": {}, ` + always + `}`
)

// fate is what became of a request.
type fate struct {
	Delay  time.Duration
	Status int    // of the answer; 0 for none
	Code   string // that it has under gRPC
	Body   string
	Piece  int // of the response; 0 if it is not held back
}

// TestFaultFilter passes requests through faults, in simulated time.
func TestFaultFilter(t *testing.T) {
	for _, test := range []struct {
		name, config string
		header       map[string][]string
		cluster      string
		want         fate
	}{
		{"delay", delay5s, nil, "", fate{Delay: 5 * time.Second}},
		{"abort", abort503, nil, "", fate{Status: 503, Code: "Unavailable", Body: "fault filter abort"}},
		{"both", delay5s + ", " + abort503, nil, "", fate{Delay: 5 * time.Second, Status: 503, Code: "Unavailable", Body: "fault filter abort"}},
		{"slow", slow1K, nil, "", fate{Piece: 51}},
		{"slow and late", slow1K + ", " + delay5s, nil, "", fate{Delay: 5 * time.Second, Piece: 51}},
		{"its own words", `"abort": {"httpStatus": 429, "responseBody": "no", ` + always + `}`, nil, "", fate{Status: 429, Code: "Unavailable", Body: "no"}},
		{"HTTP 200", `"abort": {"httpStatus": 200, ` + always + `}`, nil, "", fate{Status: 200, Code: "Unknown", Body: "fault filter abort"}},
		{"gRPC", `"abort": {"grpcStatus": 5, ` + always + `}`, nil, "", fate{Status: 200, Code: "NotFound", Body: "fault filter abort"}},
		{"gRPC OK", `"abort": {"grpcStatus": 0, ` + always + `}`, nil, "", fate{Status: 200, Code: "empty", Body: "fault filter abort"}},
		{"gRPC unknown", `"abort": {"grpcStatus": 77, ` + always + `}`, nil, "", fate{Status: 200, Code: "Unknown", Body: "fault filter abort"}},
		{"headers do not say what is fixed", delay5s, map[string][]string{"X-Envoy-Fault-Delay-Request": {"1"}, "X-Envoy-Fault-Delay-Request-Percentage": {"0"}}, "", fate{Delay: 5 * time.Second}},

		{"no headers", byHeaders, nil, "", fate{}},
		{"header delay", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"20"}}, "", fate{Delay: 20 * time.Millisecond}},
		{"header delay, the first", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"20", "30"}}, "", fate{Delay: 20 * time.Millisecond}},
		{"header delay, generous", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {" +20 "}}, "", fate{Delay: 20 * time.Millisecond}},
		{"header delay of 0", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"0"}}, "", fate{}},
		{"header delay, negative", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"-20"}}, "", fate{}},
		{"header delay, no number", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"20ms"}}, "", fate{}},
		{"header delay, of none", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"20"}, "X-Envoy-Fault-Delay-Request-Percentage": {"0"}}, "", fate{}},
		{"header delay, of more than all", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"20"}, "X-Envoy-Fault-Delay-Request-Percentage": {"200"}}, "", fate{Delay: 20 * time.Millisecond}},
		{"header delay, of no number", byHeaders, map[string][]string{"X-Envoy-Fault-Delay-Request": {"20"}, "X-Envoy-Fault-Delay-Request-Percentage": {"-1"}}, "", fate{Delay: 20 * time.Millisecond}},
		{"header abort", byHeaders, map[string][]string{"X-Envoy-Fault-Abort-Request": {"404"}}, "", fate{Status: 404, Code: "Unimplemented", Body: "fault filter abort"}},
		{"header abort, gRPC", byHeaders, map[string][]string{"X-Envoy-Fault-Abort-Grpc-Request": {"7"}}, "", fate{Status: 200, Code: "PermissionDenied", Body: "fault filter abort"}},
		{"header abort, gRPC OK", byHeaders, map[string][]string{"X-Envoy-Fault-Abort-Grpc-Request": {"0"}}, "", fate{Status: 200, Code: "empty", Body: "fault filter abort"}},
		{"header abort, both", byHeaders, map[string][]string{"X-Envoy-Fault-Abort-Request": {"404"}, "X-Envoy-Fault-Abort-Grpc-Request": {"7"}}, "", fate{Status: 404, Code: "Unimplemented", Body: "fault filter abort"}},
		{"header abort, HTTP out of range", byHeaders, map[string][]string{"X-Envoy-Fault-Abort-Request": {"600"}, "X-Envoy-Fault-Abort-Grpc-Request": {"7"}}, "", fate{Status: 200, Code: "PermissionDenied", Body: "fault filter abort"}},
		{"header abort out of range", byHeaders, map[string][]string{"X-Envoy-Fault-Abort-Request": {"199"}}, "", fate{}},
		{"header abort, of none", byHeaders, map[string][]string{"X-Envoy-Fault-Abort-Request": {"404"}, "X-Envoy-Fault-Abort-Request-Percentage": {"0"}}, "", fate{}},
		{"header limit", byHeaders, map[string][]string{"X-Envoy-Fault-Throughput-Response": {"1"}}, "", fate{Piece: 51}},
		{"header limit of 0", byHeaders, map[string][]string{"X-Envoy-Fault-Throughput-Response": {"0"}}, "", fate{}},
		{"header limit, enormous", byHeaders, map[string][]string{"X-Envoy-Fault-Throughput-Response": {"18446744073709551615"}}, "", fate{Piece: math.MaxInt32}},
		{"header limit, of none", byHeaders, map[string][]string{"X-Envoy-Fault-Throughput-Response": {"1"}, "X-Envoy-Fault-Throughput-Response-Percentage": {"0"}}, "", fate{}},

		{"the cluster", abort503 + `, "upstreamCluster": "a"`, nil, "a", fate{Status: 503, Code: "Unavailable", Body: "fault filter abort"}},
		{"another cluster", abort503 + `, "upstreamCluster": "a"`, nil, "b", fate{}},
		{"the node", abort503 + `, "downstreamNodes": ["a", "b"]`, map[string][]string{"X-Envoy-Downstream-Service-Node": {"b"}}, "", fate{Status: 503, Code: "Unavailable", Body: "fault filter abort"}},
		{"another node", abort503 + `, "downstreamNodes": ["a"]`, map[string][]string{"X-Envoy-Downstream-Service-Node": {"c"}}, "", fate{}},
		{"no node", abort503 + `, "downstreamNodes": ["a"]`, nil, "", fate{}},
		{"the headers", abort503 + `, "headers": [{"name": "x-a"}, {"name": ":path", "stringMatch": {"prefix": "/a"}}]`, map[string][]string{"X-A": {""}}, "", fate{Status: 503, Code: "Unavailable", Body: "fault filter abort"}},
		{"one header not", abort503 + `, "headers": [{"name": "x-a"}, {"name": ":path", "stringMatch": {"prefix": "/b"}}]`, map[string][]string{"X-A": {""}}, "", fate{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := faults(t, test.config)
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				follower, err := f.Request(t.Context(), &filter.Request{Header: filter.HTTPHeader(test.header), Path: "/a", Cluster: test.cluster})
				got := fate{Delay: time.Since(began)}
				if reply := filter.ReplyOf(err); reply != nil {
					got.Status, got.Body, got.Code = reply.HTTPStatus(), reply.Body, status.Code(err).String()
					if reply.Empty {
						got.Code = "empty"
					}
					if !errors.Is(err, resilience.ErrFault) {
						t.Errorf("%v is not an ErrFault", err)
					}
				} else if err != nil {
					t.Error(err)
				}
				if p := filter.OfPace(follower); p != nil {
					got.Piece = p.Piece()
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
	t.Run("empty", func(t *testing.T) {
		// What a call gets that waits for a message.
		_, err := faults(t, `"abort": {"grpcStatus": 0, `+always+`}`).Request(t.Context(), &filter.Request{GRPC: true})
		if code := status.Code(err); code != codes.Internal {
			t.Errorf("%v, want %v", code, codes.Internal)
		}
	})
}

// TestFaultFilterIsNone makes no filter of what cannot do anything.
func TestFaultFilterIsNone(t *testing.T) {
	for _, fields := range []string{
		`"headers": [{"name": "x-a"}]`,
		`"delay": {"fixedDelay": "5s"}, "abort": {"httpStatus": 503}, "responseRateLimit": {"fixedLimit": {"limitKbps": 1}}`,
		abort503 + `, "maxActiveFaults": 0`,
	} {
		config, err := faultConfig(t, fields, filter.Place{})
		if err != nil {
			t.Fatal(err)
		}
		if f, err := config.New(nil); f != nil || err != nil {
			t.Errorf("%s: %v, %v", fields, f, err)
		}
	}
}

// TestFaultFilterIsBad refuses what Envoy does, and warns of what is not acted on.
func TestFaultFilterIsBad(t *testing.T) {
	for fields, want := range map[string]string{
		`"delay": {}`: "delay: must have fixed_delay or header_delay",
		`"delay": {"fixedDelay": "0s", ` + always + `}`:                             "delay.fixed_delay: must be more than zero",
		`"delay": {"headerDelay": {}, "percentage": {"denominator": 7}}`:            "delay.percentage.denominator: unknown value 7",
		`"abort": {` + always + `}`:                                                 "abort: must have http_status, grpc_status or header_abort",
		`"abort": {"httpStatus": 100, ` + always + `}`:                              "abort.http_status: 100 is not from 200 to 599",
		`"abort": {"httpStatus": 600, ` + always + `}`:                              "abort.http_status: 600 is not from 200 to 599",
		`"responseRateLimit": {` + always + `}`:                                     "response_rate_limit: must have fixed_limit or header_limit",
		`"responseRateLimit": {"fixedLimit": {}}`:                                   "response_rate_limit.fixed_limit.limit_kbps: must be at least 1",
		`"headers": [{"name": "a"}, {}]`:                                            "headers[1].name: must not be empty",
		`"abort": {"httpStatus": 503, "percentage": {"denominator": 9}}`:            "abort.percentage.denominator: unknown value 9",
		`"responseRateLimit": {"headerLimit": {}, "percentage": {"denominator":9}}`: "response_rate_limit.percentage.denominator: unknown value 9",
	} {
		if _, err := faultConfig(t, fields, filter.Place{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %v, want %q", fields, err, want)
		}
	}
	var warned []string
	_, err := faultConfig(t, abort503+`, "disableDownstreamClusterStats": true, "filterMetadata": {"a": 1}, "delayPercentRuntime": "x"`,
		filter.Place{Warn: func(field string) { warned = append(warned, field) }})
	if want := []string{"delay_percent_runtime", "filter_metadata"}; err != nil || !slices.Equal(slices.Sorted(slices.Values(warned)), want) {
		t.Errorf("warnings: %v, %v; want %v", warned, err, want)
	}
}

// TestFaultFilterCounts shares what may be active among a listener's routes, and lets each
// say how much that is.
func TestFaultFilterCounts(t *testing.T) {
	const all = delay5s + `, "abort": {"headerAbort": {}, ` + always + `}`
	config, err := faultConfig(t, all+`, "maxActiveFaults": 2`, filter.Place{})
	if err != nil {
		t.Fatal(err)
	}
	override, err := faultConfig(t, delay5s+", "+slow1K+`, "maxActiveFaults": 3`, filter.Place{Override: true})
	if err != nil {
		t.Fatal(err)
	}
	route, err := config.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := config.New([]*filter.Parsed{config, override})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var wg sync.WaitGroup
		var mu sync.Mutex
		var took []string
		var slow []filter.Follower
		call := func(f filter.Filter, name string, timeout time.Duration) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				follower, err := f.Request(ctx, &filter.Request{})
				mu.Lock()
				defer mu.Unlock()
				took = append(took, fmt.Sprint(time.Since(began), " ", name, " ", err))
				if follower != nil {
					slow = append(slow, follower)
				}
			})
			synctest.Wait()
		}
		call(route, "first", time.Minute)
		call(route, "cancelled", time.Second)
		call(route, "overflows", time.Minute)
		call(other, "may still", time.Minute)
		call(other, "overflows too", time.Minute)
		time.Sleep(2 * time.Second) // one has gone
		call(route, "overflows again", time.Minute)
		call(other, "after it", time.Minute)
		wg.Wait()
		want := []string{
			"0s overflows <nil>", "0s overflows too <nil>", "1s cancelled context deadline exceeded", "2s overflows again <nil>",
			"5s first <nil>", "5s may still <nil>", "7s after it <nil>",
		}
		if diff := cmp.Diff(want, took, cmp.Transformer("sort", func(l []string) []string { return slices.Sorted(slices.Values(l)) })); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		// Responses that are held back are active until they end.
		began, took = time.Now(), nil
		call(route, "overflows", time.Minute)
		for _, f := range slow {
			f.End(filter.Outcome{})
		}
		call(route, "not any more", time.Minute)
		wg.Wait()
		if diff := cmp.Diff([]string{"0s overflows <nil>", "5s not any more <nil>"}, took); diff != "" {
			t.Errorf("calls after slow ones (-want +got):\n%s", diff)
		}
	})
}

// TestDelayedCallsAreActive until they end by HTTP (Envoy), and until their delay does by
// gRPC (gRFC A33).
func TestDelayedCallsAreActive(t *testing.T) {
	for _, grpc := range []bool{false, true} {
		config, err := faultConfig(t, delay5s+`, "maxActiveFaults": 1`, filter.Place{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := config.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			took := func() (filter.Follower, time.Duration) {
				began := time.Now()
				follower, err := f.Request(t.Context(), &filter.Request{GRPC: grpc})
				if err != nil {
					t.Error(err)
				}
				return follower, time.Since(began)
			}
			first, _ := took()
			want := time.Duration(0)
			if grpc {
				want = 5 * time.Second
			}
			if _, d := took(); d != want {
				t.Errorf("gRPC %v: a call beside one that was delayed is delayed for %v, want %v", grpc, d, want)
			}
			if !grpc {
				first.End(filter.Outcome{})
				if _, d := took(); d != 5*time.Second {
					t.Errorf("a call after one that was delayed is delayed for %v", d)
				}
			}
		})
	}
}

// FuzzFaultHeaders has any headers choose faults: none that is out of bounds.
func FuzzFaultHeaders(f *testing.F) {
	all := faults(f, byHeaders)
	for _, v := range []string{"", "0", "20", "+7", " 503\t", "-1", "18446744073709551616", "1e3", "0x10"} {
		f.Add(v, v, v, v)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // delays take no time
	f.Fuzz(func(t *testing.T, delay, status, code, throughput string) {
		r := &filter.Request{Header: filter.HTTPHeader(map[string][]string{
			"X-Envoy-Fault-Delay-Request": {delay}, "X-Envoy-Fault-Delay-Request-Percentage": {code},
			"X-Envoy-Fault-Abort-Request": {status}, "X-Envoy-Fault-Abort-Grpc-Request": {code},
			"X-Envoy-Fault-Throughput-Response": {throughput}, "X-Envoy-Fault-Throughput-Response-Percentage": {delay},
		})}
		follower, err := all.Request(ctx, r)
		if reply := filter.ReplyOf(err); reply != nil && (reply.Status < 200 || reply.Status > 599 || reply.Code > codes.Unauthenticated) {
			t.Errorf("the answer is %+v", reply)
		}
		if p := filter.OfPace(follower); p != nil && (p.Piece() < 1 || p.Pace(1) < 0) {
			t.Errorf("pieces of %d bytes", p.Piece())
		}
		if r.Header.Changed() {
			t.Error("the request was changed")
		}
	})
}

func BenchmarkFaultFilter(b *testing.B) {
	header := map[string][]string{"X-User": {"ann"}, "X-Canary": {"0"}}
	const rare = `"percentage": {"numerator": 1, "denominator": "MILLION"}`
	for name, fields := range map[string]string{
		"rare":     `"delay": {"fixedDelay": "0.000001s", ` + rare + `}, "abort": {"httpStatus": 503, ` + rare + `}`,
		"matchers": abort503 + `, "headers": [{"name": "x-canary", "stringMatch": {"exact": "1"}}]`,
		"headers":  byHeaders,
	} {
		b.Run(name, func(b *testing.B) {
			f := faults(b, fields)
			r := &filter.Request{Path: "/a", Header: filter.HTTPHeader(header)}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f.Request(b.Context(), r)
			}
		})
	}
}
