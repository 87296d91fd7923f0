package resolver_test

import (
	"context"
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
)

var filterConfigs = []string{
	`{"@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", "statPrefix": "l",
		"filterEnabled": {"defaultValue": {"numerator": 100}}, "filterEnforced": {"defaultValue": {"numerator": 50}},
		"tokenBucket": {"maxTokens": 1, "tokensPerFill": 3, "fillInterval": "1s"}, "enableXRatelimitHeaders": "DRAFT_VERSION_03", "enableRetryAfterHeader": true,
		"requestHeadersToAddWhenNotEnforced": [{"header": {"key": "x", "value": "y"}}], "responseHeadersToAdd": [{"header": {"key": "x", "value": "%REQ(x)%"}}],
		"descriptors": [{"entries": [{"key": "k"}], "tokenBucket": {"maxTokens": 2, "fillInterval": "1s"}}, {"entries": [{"key": "query_match", "value": "1"}], "tokenBucket": {"maxTokens": 0, "fillInterval": "0.1s"}, "shadowMode": true}],
		"localRateLimitPerDownstreamConnection": true, "rateLimits": [
			{"actions": [{"requestHeaders": {"headerName": "x", "descriptorKey": "k", "skipIfAbsent": true}}], "hitsAddend": {"format": "%REQ(x)%"}},
			{"actions": [{"queryParameterValueMatch": {"descriptorValue": "1", "queryParameters": [{"name": "x"}]}}], "hitsAddend": {"number": 2, "isNegativeHits": true}},
			{"actions": [{"maskedRemoteAddress": {"v4PrefixMaskLen": 8}}, {"remoteAddressMatch": {"descriptorValue": "a", "addressMatcher": {"ranges": [{"addressPrefix": "::", "prefixLen": 1}], "invertMatch": true}}}]},
			{"actions": [{"metadata": {"descriptorKey": "k", "source": "ROUTE_ENTRY", "metadataKey": {"key": "a", "path": [{"key": "b"}]}}}, {"headerValueMatch": {"descriptorValue": "1", "expectMatch": false, "headers": [{"name": "x"}]}}]}]}`,
	`{"@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit", "domain": "d", "failureModeDeny": true, "timeout": "0.1s",
		"rateLimitService": {"grpcService": {"envoyGrpc": {"clusterName": "c"}}}, "rateLimits": [
			{"actions": [{"genericKey": {"descriptorValue": "a"}}], "limit": {"rateLimit": {"requestsPerUnit": 1, "unit": "DAY"}}},
			{"actions": [{"sourceCluster": {}}, {"queryParameters": {"queryParameterName": "x", "descriptorKey": "k"}}], "applyOnStreamDone": true}]}`,
	`{"@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", "mutations": {
		"requestMutations": [{"remove": "x"}, {"append": {"header": {"key": "x", "value": "%REQ(x)%"}}}, {"removeOnMatch": {"keyMatcher": {"prefix": "x"}}}],
		"queryParameterMutations": [{"remove": "a"}, {"append": {"record": {"key": "b", "value": "c"}}}],
		"responseMutations": [{"append": {"header": {"key": "x", "value": "%RESPONSE_CODE%"}}}],
		"responseTrailersMutations": [{"append": {"header": {"key": "x", "value": "%RESP(x)%"}}}]}}`,
	`{"@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite", "matcher": {
		"matcherTree": {"input": {"name": "i", "typedConfig": {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "headerName": "x"}},
			"prefixMatchMap": {"map": {"a": {"action": {"name": "a", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"}}}}}},
		"onNoMatch": {"matcher": {"matcherList": {"matchers": [{
			"predicate": {"notMatcher": {"singlePredicate": {"input": {"name": "i", "typedConfig": {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", "queryParam": "x"}}, "valueMatch": {"safeRegex": {"regex": "a+"}}}}},
			"onMatch": {"action": {"name": "a", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction",
				"samplePercent": {"defaultValue": {"numerator": 50}},
				"typedConfig": {"name": "f", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", "mutations": {"requestMutations": [{"remove": "y"}]}}}}}}}]}}}}}`,
	`{"@type": "type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency", "enabled": {"defaultValue": true},
		"concurrencyLimitExceededStatus": {"code": 429}, "gradientControllerConfig": {"sampleAggregatePercentile": {"value": 90},
		"concurrencyLimitParams": {"maxConcurrencyLimit": 9, "minConcurrencyLimit": 2, "concurrencyUpdateInterval": "0.1s"},
		"minRttCalcParams": {"interval": "60s", "fixedValue": "0.01s", "requestCount": 5, "jitter": {"value": 10}, "minConcurrency": 1, "buffer": {"value": 20}}}}`,
	`{"@type": "type.googleapis.com/envoy.extensions.filters.http.admission_control.v3.AdmissionControl", "samplingWindow": "3s", "aggression": {"defaultValue": 2},
		"srThreshold": {"defaultValue": {"value": 90}}, "rpsThreshold": {"defaultValue": 5}, "maxRejectionProbability": {"defaultValue": {"value": 70}},
		"successCriteria": {"httpCriteria": {"httpSuccessStatus": [{"start": 200, "end": 300}]}, "grpcCriteria": {"grpcSuccessStatus": [0, 5]}}}`,
	`{"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "typeUrl": "type.googleapis.com/weft.LoadShed", "value": {"max_requests": 1, "share": 50,
		"priority_header": "x", "shares": {"abc": 10}, "queue": {"size": 1, "interval": "1ms", "target": "1ms"}, "retry_after": "1s"}}`,
	`{"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", ` + delay5s + `, "abort": {"headerAbort": {}, ` + always + `},
		` + slow1K + `, "headers": [{"name": "x"}], "downstreamNodes": ["n"], "upstreamCluster": "c", "maxActiveFaults": 3}`,
}

// FuzzFilters reads any configuration as one of a filter and as an override, and has
// requests pass what comes of it.
func FuzzFilters(f *testing.F) {
	kinds, err := filter.NewRegistry(resolver.FilterKinds()...)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range filterConfigs {
		var a anypb.Any
		if err := protojson.Unmarshal([]byte(text), &a); err != nil {
			f.Fatal(err)
		}
		f.Add(a.GetTypeUrl(), a.GetValue())
		raw, err := proto.Marshal(&hcmv3.HttpFilter{Name: "x", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &a}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add("x", raw)
	}
	name := filter.NewHeaderName("x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // delays take no time
	f.Fuzz(func(_ *testing.T, typeURL string, value []byte) {
		a := &anypb.Any{TypeUrl: typeURL, Value: value}
		config, err := kinds.Parse(a, filter.Place{Warn: func(string) {}})
		if err != nil {
			return
		}
		override, err := kinds.Parse(a, filter.Place{Override: true})
		overrides := []*filter.Parsed{override, override}
		if err != nil {
			overrides = nil
		}
		one, err := config.New(overrides)
		if err != nil || one == nil {
			return
		}
		for _, grpc := range []bool{false, true} {
			r := &filter.Request{Path: "/a", RawQuery: "x=1&%zz", GRPC: grpc}
			r.Header.Set(name, "abc")
			follower, _ := one.Request(ctx, r)
			response := &filter.Response{Request: r, Status: 200}
			if f := filter.OfResponse(follower); f != nil {
				_ = f.Response(ctx, response)
			}
			if f := filter.OfTrailer(follower); f != nil {
				f.Trailer(response)
			}
			if p := filter.OfPace(follower); p != nil {
				_ = p.Pace(p.Piece())
			}
			if follower != nil {
				follower.End(filter.Outcome{})
			}
		}
	})
}

func BenchmarkHeaderMutationFilter(b *testing.B) {
	kinds, err := filter.NewRegistry(resolver.FilterKinds()...)
	if err != nil {
		b.Fatal(err)
	}
	var a anypb.Any
	if err := protojson.Unmarshal([]byte(filterConfigs[0]), &a); err != nil {
		b.Fatal(err)
	}
	config, err := kinds.Parse(&a, filter.Place{})
	if err != nil {
		b.Fatal(err)
	}
	one, err := config.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	header := map[string][]string{"X-User": {"ann"}, "X": {"1"}}
	r := &filter.Request{Path: "/a"}
	b.ReportAllocs()
	for b.Loop() {
		r.Header, r.RawQuery = filter.HTTPHeader(header), ""
		_, _ = one.Request(b.Context(), r)
	}
}
