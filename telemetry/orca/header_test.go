package orca

import (
	"encoding/base64"
	"math"
	"net/http"
	"strings"
	"testing"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

var full = &Report{
	CPU: 0.7, Memory: 0.9, Application: 0.8, QueriesPerSecond: 1000, ErrorsPerSecond: 2,
	Named: map[string]float64{"foo": 123, "bar.x": 0.2}, Utilizations: map[string]float64{"total": 0.5}, Costs: map[string]float64{"db": 3},
}

func encoded(t testing.TB, e *base64.Encoding) string {
	t.Helper()
	raw, err := proto.Marshal(&orcav3.OrcaLoadReport{
		CpuUtilization: 0.7, MemUtilization: 0.9, ApplicationUtilization: 0.8, RpsFractional: 1000, Eps: 2,
		NamedMetrics: map[string]float64{"foo": 123, "bar.x": 0.2}, Utilization: map[string]float64{"total": 0.5}, RequestCost: map[string]float64{"db": 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeToString(raw)
}

func TestParseHeader(t *testing.T) {
	for name, h := range map[string]http.Header{
		"gRPC's":           {binHeader: {encoded(t, base64.RawStdEncoding)}},
		"padded":           {binHeader: {encoded(t, base64.StdEncoding)}},
		"BIN":              {header: {"BIN " + encoded(t, base64.StdEncoding)}},
		"JSON":             {header: {`JSON {"cpu_utilization": 0.7, "memUtilization": 0.9, "application_utilization": 0.8, "rps_fractional": 1000, "eps": 2, "named_metrics": {"foo": 123, "bar.x": 0.2}, "utilization": {"total": 0.5}, "request_cost": {"db": 3}, "of_tomorrow": 1}`}},
		"TEXT":             {header: {"TEXT cpu_utilization=0.7,application_utilization=0.8, mem_utilization=0.9,rps_fractional=1e3,eps=2,named_metrics.foo=123,named_metrics.bar.x=0.2,utilization.total=0.5,request_cost.db=3"}},
		"TEXT with colons": {header: {"TEXT cpu_utilization:0.7,application_utilization:0.8,mem_utilization:0.9,rps_fractional:1000,eps:2,named_metrics.foo:123,named_metrics.bar.x:0.2,utilization.total:0.5,request_cost.db:3"}},
		"binary first":     {binHeader: {encoded(t, base64.StdEncoding)}, header: {"TEXT eps=7"}},
	} {
		got, err := ParseHeader(h)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(full, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got, err := ParseHeader(http.Header{"X": {"y"}}); got != nil || err != nil {
		t.Errorf("without a report: %v, %v", got, err)
	}
}

func TestParseHeaderErrors(t *testing.T) {
	for value, text := range map[string]string{
		"":                             "neither",
		"BAD cpu_utilization=1":        "neither",
		"BIN !":                        "base64",
		"BIN /w==":                     "cannot parse",
		"JSON {":                       "unexpected",
		"TEXT cpu_utilization":         "no value",
		"TEXT cpu_utilization=":        "invalid syntax",
		"TEXT cpu_utilization=NaN":     "NaN",
		"TEXT cpu_utilization=+Inf":    "Inf",
		"TEXT cpu=1":                   "not a metric",
		"TEXT named_metrics.=1":        "not a metric",
		"TEXT eps=1,eps=2":             "twice",
		"TEXT mem_utilization=\"0.7\"": "invalid syntax",
	} {
		if got, err := ParseHeader(http.Header{header: {value}}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, %v; want an error with %q", value, got, err, text)
		}
	}
}

func TestSetHeader(t *testing.T) {
	h := http.Header{}
	full.SetHeader(h)
	got, err := ParseHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(encoded(f, base64.StdEncoding), true)
	f.Add("TEXT cpu_utilization=0.7,named_metrics.foo:1", false)
	f.Add(`JSON {"cpu_utilization": 0.7}`, false)
	f.Fuzz(func(t *testing.T, value string, bin bool) {
		h := http.Header{header: {value}}
		if bin {
			h = http.Header{binHeader: {value}}
		}
		r, err := ParseHeader(h)
		if (r == nil) != (err != nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if err == nil && strings.HasPrefix(value, "TEXT") && !bin && (math.IsNaN(r.CPU) || math.IsInf(r.CPU, 0)) {
			t.Errorf("the utilization is %v", r.CPU)
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	h := http.Header{}
	(&Report{CPU: 0.5, QueriesPerSecond: 100}).SetHeader(h)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHeader(h); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParseTrailer(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(encoded(t, base64.StdEncoding))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTrailer(metadata.MD{"endpoint-load-metrics-bin": {string(raw)}, "x": {"y"}})
	if diff := cmp.Diff(full, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := ParseTrailer(metadata.MD{"x": {"y"}}); got != nil || err != nil {
		t.Errorf("without a report: %v, %v", got, err)
	}
	for text, values := range map[string][]string{"cannot parse": {"\xff"}, "there are 2": {string(raw), string(raw)}} {
		if got, err := ParseTrailer(metadata.MD{"endpoint-load-metrics-bin": values}); got != nil || err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, %v; want an error with %q", values, got, err, text)
		}
	}
}
