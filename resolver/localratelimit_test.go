package resolver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
)

// localLimitOf makes the filter of a local limit that is counted and enforced.
func localLimitOf(tb testing.TB, fields string) (filter.Filter, error) {
	tb.Helper()
	kinds, err := filter.NewRegistry(resolver.FilterKinds()...)
	if err != nil {
		tb.Fatal(err)
	}
	for _, share := range []string{"filterEnabled", "filterEnforced"} {
		if !strings.Contains(fields, share) {
			fields += `, "` + share + `": {"defaultValue": {"numerator": 100}}`
		}
	}
	var a anypb.Any
	if err := protojson.Unmarshal([]byte(`{"@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", `+fields+`}`), &a); err != nil {
		tb.Fatal(err)
	}
	config, err := kinds.Parse(&a, filter.Place{})
	if err != nil {
		return nil, err
	}
	return config.New(nil)
}

// TestLocalRateLimitFills has tokens come as time passes, one by one.
func TestLocalRateLimitFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := localLimitOf(t, `"tokenBucket": {"maxTokens": 3, "tokensPerFill": 4, "fillInterval": "2s"}`)
		if err != nil {
			t.Fatal(err)
		}
		passed := func() (n int) {
			for range 10 {
				if _, err := f.Request(t.Context(), &filter.Request{}); err == nil {
					n++
				}
			}
			return n
		}
		for i, step := range []struct {
			wait time.Duration
			want int
		}{{0, 3}, {499 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 2}, {time.Hour, 3}} {
			time.Sleep(step.wait)
			if got := passed(); got != step.want {
				t.Errorf("step %d: %d passed after %v, want %d", i, got, step.wait, step.want)
			}
		}
	})
}

// TestLocalRateLimitDynamic has no more buckets than policy says, however many values come.
func TestLocalRateLimitDynamic(t *testing.T) {
	f, err := localLimitOf(t, `"maxDynamicDescriptors": 2, "rateLimits": [{"actions": [{"requestHeaders": {"headerName": "x", "descriptorKey": "k"}}]}],
		"descriptors": [{"entries": [{"key": "k"}], "tokenBucket": {"maxTokens": 1, "fillInterval": "3600s"}}]`)
	if err != nil {
		t.Fatal(err)
	}
	name := filter.NewHeaderName("x")
	for i, step := range []struct {
		value string
		pass  bool
	}{{"a", true}, {"a", false}, {"b", true}, {"a", false}, {"c", true}, {"a", false}, {"b", true}, {"c", true}, {"b", false}} {
		r := &filter.Request{}
		r.Header.Set(name, step.value)
		if _, err := f.Request(t.Context(), r); (err == nil) != step.pass {
			t.Errorf("call %d of %s: %v", i, step.value, err)
		}
	}
}

// TestLocalRateLimitRefused names the field of each configuration that is refused.
func TestLocalRateLimitRefused(t *testing.T) {
	const bucket = `"tokenBucket": {"maxTokens": 1, "fillInterval": "1s"}`
	one := func(entries string) string { return `{"entries": [` + entries + `], ` + bucket + `}` }
	for fields, want := range map[string]string{
		`"tokenBucket": {"maxTokens": 1}`:                                                     "token_bucket.fill_interval: must be more than 0",
		`"tokenBucket": {"maxTokens": 1, "fillInterval": "0.049s"}`:                           "token_bucket.fill_interval: 49ms is less than 50ms",
		`"tokenBucket": {"maxTokens": 1, "fillInterval": "1s", "tokensPerFill": 0}`:           "token_bucket.tokens_per_fill: must be more than 0",
		`"filterEnabled": {"defaultValue": {"numerator": 1, "denominator": 7}}`:               "filter_enabled.default_value.denominator: unknown value 7",
		`"filterEnforced": {"defaultValue": {"numerator": 1, "denominator": 7}}`:              "filter_enforced.default_value.denominator: unknown value 7",
		`"requestHeadersToAddWhenNotEnforced": [{}]`:                                          "request_headers_to_add_when_not_enforced[0].header.key: \"\" is not the name of a header",
		`"responseHeadersToAdd": [{}]`:                                                        "response_headers_to_add[0].header.key: \"\" is not the name of a header",
		`"stage": 11`:                                                                         "stage: 11 is more than 10",
		`"maxDynamicDescriptors": 0`:                                                          "max_dynamic_descriptors: 0 is not from 1 to 1048576",
		`"descriptors": [` + one("") + `]`:                                                    "descriptors[0].entries: must not be empty",
		`"descriptors": [{"entries": [{"key": "a"}]}]`:                                        "descriptors[0].token_bucket: must be set",
		`"descriptors": [` + one(`{"key": "a"}`) + `, ` + one(`{"key": "a"}`) + `]`:           "descriptors[1]: is the same as another descriptor",
		`"rateLimits": [{}]`:                                                                  "rate_limits[0].actions: must not be empty",
		`"rateLimits": [{"stage": 1, "actions": [{"sourceCluster": {}}]}]`:                    "rate_limits[0].stage: is for the rate_limits of routes and virtual hosts",
		`"rateLimits": [{"actions": [{}]}]`:                                                   "rate_limits[0].actions[0]: must say what to do (generic_key, request_headers, ...)",
		`"rateLimits": [{"actions": [{"genericKey": {}}]}]`:                                   "rate_limits[0].actions[0].generic_key.descriptor_value: must not be empty",
		`"rateLimits": [{"actions": [{"sourceCluster": {}}], "hitsAddend": {"format": "a"}}]`: "rate_limits[0].hits_addend.format: must be exactly one command",
		`"rateLimits": [{"actions": [{"maskedRemoteAddress": {"v4PrefixMaskLen": 33}}]}]`:     "rate_limits[0].actions[0].masked_remote_address.v4_prefix_mask_len: 33 is more than 32",
	} {
		if _, err := localLimitOf(t, fields); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", fields, err, want)
		}
	}
}

// TestLocalRateLimitAllocates holds calls that pass a limit without descriptors to nothing.
func TestLocalRateLimitAllocates(t *testing.T) {
	f, err := localLimitOf(t, `"tokenBucket": {"maxTokens": 1000000, "fillInterval": "1s"}`)
	if err != nil {
		t.Fatal(err)
	}
	r := &filter.Request{}
	if n := testing.AllocsPerRun(1000, func() { _, _ = f.Request(context.Background(), r) }); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func BenchmarkLocalRateLimit(b *testing.B) {
	name := filter.NewHeaderName("x")
	for _, kind := range []string{"all", "descriptor", "each value"} {
		value := map[string]string{"descriptor": "a"}[kind]
		fields := `"tokenBucket": {"maxTokens": 4000000000, "fillInterval": "1s"}`
		if kind != "all" {
			fields += fmt.Sprintf(`, "rateLimits": [{"actions": [{"requestHeaders": {"headerName": "x", "descriptorKey": "k"}}]}],
				"descriptors": [{"entries": [{"key": "k", "value": %q}], "tokenBucket": {"maxTokens": 4000000000, "fillInterval": "1s"}}]`, value)
		}
		b.Run(kind, func(b *testing.B) {
			f, err := localLimitOf(b, fields)
			if err != nil {
				b.Fatal(err)
			}
			r := &filter.Request{}
			r.Header.Set(name, "a")
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f.Request(context.Background(), r)
			}
		})
	}
}
