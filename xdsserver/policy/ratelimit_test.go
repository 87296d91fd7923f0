package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRateLimitErrors names each part of what is said of rate limits that cannot be.
func TestRateLimitErrors(t *testing.T) {
	const bucket = "tokenBucket: {maxTokens: 1, fillInterval: 1s}"
	for _, test := range []struct{ limit, want string }{
		{"{}", "18: nothing is limited: say tokenBucket or descriptors"},
		{"{tokenBucket: {maxTokens: 1}}", `32: field "fillInterval" is missing`},
		{"{tokenBucket: {fillInterval: 1s}}", `32: field "maxTokens" is missing`},
		{"{tokenBucket: {maxTokens: 1, fillInterval: 49ms}}", "61: 49ms: it must be 50ms or more"},
		{"{tokenBucket: {maxTokens: 1, fillInterval: 1s, tokensPerFill: 0}}", "80: tokensPerFill is 0: it must be 1 or more"},
		{"{" + bucket + ", status: 200}", "73: status is 200: it must be from 400 to 599"},
		{"{" + bucket + ", maxDynamicDescriptors: 0}", "88: maxDynamicDescriptors is 0: it must be from 1 to 1048576"},
		{"{" + bucket + ", disabled: true}", `19: "tokenBucket" cannot stand beside "disabled"`},
		{"{descriptors: [{entries: [], " + bucket + "}]}", "33: the descriptor has no entries"},
		{"{descriptors: [{entries: [{header: a}]}]}", "33: the descriptor has no tokenBucket"},
		{"{descriptors: [{entries: [{}], " + bucket + "}]}", "44: say one of header, genericKey and remoteAddress"},
		{"{descriptors: [{entries: [{header: a b}], " + bucket + "}]}", `53: "a b" is not the name of a header`},
		{"{descriptors: [{entries: [{header: a, genericKey: b}], " + bucket + "}]}", `56: "genericKey" cannot stand beside "header": say one of header, genericKey and remoteAddress`},
		{"{descriptors: [{entries: [{genericKey: b, value: c}], " + bucket + "}]}", `60: "value" is not for a genericKey, which is one`},
		{"{descriptors: [{entries: [{remoteAddress: true, value: c}], " + bucket + "}]}", `73: "c" is not an IP address`},
		{"{descriptors: [{entries: [{header: a}], " + bucket + "}, {entries: [{header: a}], " + bucket + "}]}", `106: the descriptor is the same as another one`},
		{"{service: {target: a, domain: b, failureMode: deny, descriptors: [{entries: [{header: a}]}]}}", `19: "service" is for the limits of services: write the filter itself to ask about the calls of a route`},
		{"{tokensBucket: {}}", `19: unknown field "tokensBucket" (did you mean "tokenBucket"?)`},
	} {
		_, err := Parse("p.yaml", []byte(service+"routes: {a: [\n {to: v1, rateLimit: "+test.limit+"}]}\n"))
		if err == nil {
			t.Errorf("%s: no error", test.limit)
			continue
		}
		first, _, _ := strings.Cut(err.Error(), "\n")
		_, text, _ := strings.Cut(first, ":3:")
		_, message, _ := strings.Cut(text, ": ")
		_, want, _ := strings.Cut(test.want, ": ")
		if diff := cmp.Diff(want, message); diff != "" || text == "" {
			t.Errorf("%s: %v (-want +got):\n%s", test.limit, err, diff)
		}
	}
	of := func(fields string) string {
		return "services: {a: {endpoints: [], rateLimit: {service: {" + fields + "}}}}"
	}
	const descriptors = "descriptors: [{entries: [{header: a}]}]"
	for text, want := range map[string]string{
		of("target: x, domain: d, " + descriptors):                                                                                   `field "failureMode" is missing`,
		of("target: x, domain: d, failureMode: open, " + descriptors):                                                                `"open" is not`,
		of("domain: d, failureMode: allow, " + descriptors):                                                                          `field "target" is missing`,
		of("target: x, domain: d, failureMode: allow, descriptors: []"):                                                              "the service is asked about nothing",
		of("target: x, domain: d, failureMode: allow, timeout: -1s, " + descriptors):                                                 "negative",
		of("target: x, domain: d, failureMode: allow, descriptors: [{entries: [{header: a, value: b}]}]"):                            `"value" is not for the descriptors of a service`,
		of("target: x, domain: d, failureMode: allow, descriptors: [{entries: [{header: a}], " + bucket + "}]"):                      `"tokenBucket" is not for the descriptors of a service`,
		"services: {a: {endpoints: [], rateLimit: {disabled: true}}}":                                                                `"disabled" is for the limits of routes`,
		"routes: {inbound/a: [{rateLimit: {}}]}":                                                                                     "nothing is limited",
		`{routes: {inbound/a: [{rateLimit: {` + bucket + `}}]}, filters: {inbound/a: [{name: envoy.filters.http.local_ratelimit}]}}`: `"envoy.filters.http.local_ratelimit" is the name of the filter that the rate limits of "inbound/a" are made of`,
	} {
		if _, err := Parse("p.yaml", []byte(text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	// What only a program can say.
	for name, l := range map[string]*RateLimit{
		"50ms":        {TokenBucket: &TokenBucket{MaxTokens: 1, FillInterval: time.Millisecond}},
		"nil":         {Descriptors: []*RateLimitDescriptor{nil}},
		"deny or all": {Service: &RateLimitService{Target: "a", Domain: "b", Descriptors: []*RateLimitDescriptor{{Entries: []*RateLimitEntry{{Header: "a"}}}}}},
		"enum":        {Service: &RateLimitService{FailureMode: "open"}},
	} {
		p := &Policy{Services: map[string]*Service{"a": {Endpoints: []*Endpoint{}, RateLimit: l}}}
		if _, err := p.Compile(); err == nil || name != "enum" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
