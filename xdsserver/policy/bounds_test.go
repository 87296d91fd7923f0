package policy

import (
	"math"
	"strings"
	"testing"
	"time"
)

// filterOf is a policy with a filter of these fields on a server.
func filterOf(config string) string { return "filters: {inbound/a: [{name: x, " + config + "}]}\n" }

// limitOf is one with a rate limit of a service, and faultOf with a fault.
func limitOf(limit string) string {
	return "services: {a: {endpoints: [192.0.2.1:1], rateLimit: {" + limit + "}}}\n"
}

func faultOf(fault string) string {
	return "services: {a: {endpoints: [192.0.2.1:1], fault: {" + fault + "}}}\n"
}

// TestBounds takes what is just within the bounds of faults, rate limits and what keeps
// calls back, and refuses what is just beyond, at its place.
func TestBounds(t *testing.T) {
	const bucket = "tokenBucket: {maxTokens: 1, fillInterval: 50ms}"
	for _, text := range []string{
		filterOf(`adaptiveConcurrency: {sampleAggregatePercentile: 0%, minConcurrencyLimit: 4, maxConcurrencyLimit: 4, concurrencyUpdateInterval: 1ms, concurrencyLimitExceededStatus: 400,
			minRttCalcParams: {interval: 1ms, requestCount: 1, minConcurrency: 1, jitter: 0%, buffer: 100%}}`),
		filterOf(`adaptiveConcurrency: {sampleAggregatePercentile: 100%, concurrencyLimitExceededStatus: 599, minRttCalcParams: {interval: 1s, jitter: 100%, buffer: 0%}}`),
		filterOf(`admissionControl: {aggression: 1, srThreshold: 1%, maxRejectionProbability: 0%, successCriteria: {httpSuccessStatus: [{start: 100, end: 600}, {start: 599, end: 600}], grpcSuccessStatus: [0, 16]}}`),
		filterOf(`admissionControl: {srThreshold: 100%, maxRejectionProbability: 100%}`),
		filterOf(`loadShed: {maxRequests: 1, share: 0.0001%, priorityHeader: x, shares: {a: 0.0001%, b: 100%}}`),
		filterOf(`loadShed: {maxRequests: 1}`) + "routes: {inbound/a: [{filters: {x: {share: 0.0001%}}}]}\n",
		limitOf(bucket + ", status: 400, maxDynamicDescriptors: 1"),
		limitOf(bucket + ", status: 599, maxDynamicDescriptors: 1048576"),
		faultOf("abort: {httpStatus: 200, percentage: 0%}, responseRateLimit: {limitKbps: 1, percentage: 0%}"),
		faultOf("abort: {httpStatus: 599, percentage: 100%}, responseRateLimit: {headerLimit: true, percentage: 100%}"),
		faultOf("abort: {grpcStatus: 0, percentage: 1%}"),
		faultOf("abort: {grpcStatus: 16, percentage: 1%}"),
	} {
		p, err := Parse("p.yaml", []byte(text))
		if err == nil {
			_, err = p.Compile()
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		filterOf("admissionControl: {successCriteria: {httpSuccessStatus: [{start: 99, end: 200}]}}"):  "1:90: 99 to 200: it must be a range from 100 to 600",
		filterOf("admissionControl: {successCriteria: {httpSuccessStatus: [{start: 200, end: 601}]}}"): "1:90: 200 to 601: it must be a range from 100 to 600",
		filterOf("adaptiveConcurrency: {minRttCalcParams: {requestCount: 0}}"):                         "1:88: 0: it must be 1 to 4294967295",
		limitOf(bucket + ", status: 399"):                    "1:111: status is 399: it must be from 400 to 599",
		limitOf(bucket + ", status: 600"):                    "1:111: status is 600: it must be from 400 to 599",
		limitOf(bucket + ", maxDynamicDescriptors: 1048577"): "1:126: maxDynamicDescriptors is 1048577: it must be from 1 to 1048576",
		limitOf("descriptors: [{entries: [{header: a}], tokenBucket: {maxTokens: 1, fillInterval: 49ms}}]"):                 "1:135: 49ms: it must be 50ms or more",
		limitOf("descriptors: [{entries: [{header: a}], tokenBucket: {maxTokens: 1, fillInterval: 1s, tokensPerFill: 0}}]"): "1:154: tokensPerFill is 0: it must be 1 or more",
	} {
		if _, err := Parse("p.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "p.yaml:"+want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestBoundsOfPrograms refuses values that only a program can give.
func TestBoundsOfPrograms(t *testing.T) {
	most := Fraction(1_000_001)
	status, kbps, infinite := uint32(503), uint32(1), math.Inf(1)
	asks := []*RateLimitDescriptor{{Entries: []*RateLimitEntry{{Header: "a"}}}}
	for want, f := range map[string]*Filter{
		"sampleAggregatePercentile": {AdaptiveConcurrency: &AdaptiveConcurrency{SampleAggregatePercentile: &most}},
		"jitter":                    {AdaptiveConcurrency: &AdaptiveConcurrency{MinRTT: &MinRTT{Jitter: &most}}},
		"buffer":                    {AdaptiveConcurrency: &AdaptiveConcurrency{MinRTT: &MinRTT{Buffer: &most}}},
		"srThreshold":               {AdmissionControl: &AdmissionControl{SRThreshold: &most}},
		"maxRejectionProbability":   {AdmissionControl: &AdmissionControl{MaxRejectionProbability: &most}},
		"aggression":                {AdmissionControl: &AdmissionControl{Aggression: &infinite}},
		"share":                     {LoadShed: &LoadShed{MaxRequests: 1, Share: &most}},
	} {
		f.Name = "x"
		p := &Policy{Filters: map[string][]*Filter{"inbound/a": {f}}}
		if _, err := p.Compile(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for want, s := range map[string]*Service{
		"abort.percentage: ":             {Fault: &Fault{Abort: &FaultAbort{HTTPStatus: &status, Percentage: most}}},
		"responseRateLimit.percentage: ": {Fault: &Fault{ResponseRateLimit: &FaultRateLimit{LimitKbps: &kbps, Percentage: most}}},
		"the service has no target":      {RateLimit: &RateLimit{Service: &RateLimitService{Domain: "d", FailureMode: "deny", Descriptors: asks}}},
		"the service has no domain":      {RateLimit: &RateLimit{Service: &RateLimitService{Target: "x", FailureMode: "deny", Descriptors: asks}}},
		"it must be 50ms or more":        {RateLimit: &RateLimit{TokenBucket: &TokenBucket{FillInterval: 49 * time.Millisecond}}},
	} {
		s.Endpoints = []*Endpoint{}
		p := &Policy{Services: map[string]*Service{"a": s}}
		if _, err := p.Compile(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
