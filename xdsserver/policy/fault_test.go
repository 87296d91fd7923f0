package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFaultErrors names each part of what is said of faults that cannot be.
func TestFaultErrors(t *testing.T) {
	for _, test := range []struct{ fault, want string }{
		{"{}", "14: nothing goes wrong: say delay, abort or responseRateLimit"},
		{"{headers: {a: {present: true}}}", "14: nothing goes wrong: say delay, abort or responseRateLimit"},
		{"{disabled: true, abort: {httpStatus: 503, percentage: 1%}}", `38: "abort" cannot stand beside "disabled"`},
		{"{delay: {percentage: 1%}}", "22: say one of fixedDelay and headerDelay"},
		{"{delay: {fixedDelay: 1s}}", `29: field "percentage" is missing`},
		{"{delay: {fixedDelay: 0s, percentage: 1%}}", "42: 0s: it must be greater than zero"},
		{"{delay: {fixedDelay: 1s, headerDelay: true, percentage: 1%}}", `46: "headerDelay" cannot stand beside "fixedDelay": say one of fixedDelay and headerDelay`},
		{"{delay: {fixedDelay: 1s, percentage: 1}}", `58: want a percentage such as 2.5%, not the number 1 (did you mean "1%"?)`},
		{"{delay: {fixDelay: 1s, percentage: 1%}}", `30: unknown field "fixDelay" (did you mean "fixedDelay"?)`},
		{"{abort: {percentage: 1%}}", "22: say one of httpStatus, grpcStatus and headerAbort"},
		{"{abort: {httpStatus: 199, percentage: 1%}}", "42: httpStatus is 199: it must be from 200 to 599"},
		{"{abort: {httpStatus: 600, percentage: 1%}}", "42: httpStatus is 600: it must be from 200 to 599"},
		{"{abort: {grpcStatus: 17, percentage: 1%}}", "42: grpcStatus is 17: it must be from 0 to 16"},
		{"{abort: {httpStatus: 503, grpcStatus: 14, percentage: 1%}}", `47: "grpcStatus" cannot stand beside "httpStatus": say one of httpStatus, grpcStatus and headerAbort`},
		{"{responseRateLimit: {percentage: 1%}}", "22: say one of limitKbps and headerLimit"},
		{"{responseRateLimit: {limitKbps: 0, percentage: 1%}}", "53: limitKbps is 0: it must be 1 or more"},
		{"{abort: {httpStatus: 503, percentage: 1%}, upstreamCluster: v7}", `64: "v7" is not defined: it is neither a subset of "a" nor a service (did you mean "v1"?)`},
		{"{abort: {httpStatus: 503, percentage: 1%}, headers: {a: {}}}", "74: say one of exact, prefix, suffix, contains, regex, present and range"},
		{"{abort: {httpStatus: 503, percentage: 1%}, headers: {'a b': {present: true}}}", `74: "a b" is not the name of a header`},
	} {
		_, err := Parse("p.yaml", []byte(service+"routes: {a: [\n    {to: v1, fault: "+test.fault+"}]}\n"))
		if err == nil {
			t.Errorf("%s: no error", test.fault)
			continue
		}
		if diff := cmp.Diff("p.yaml:3:"+test.want, strings.TrimSpace(err.Error())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.fault, diff)
		}
	}
	for text, want := range map[string]string{
		"services: {a: {endpoints: [], fault: {disabled: true}}}":                                                      `p.yaml:1:39: "disabled" is for the faults of routes: leave the fault out`,
		"services: {a: {failover: [b], fault: {}}, b: {endpoints: []}}":                                                "p.yaml:1:31: nothing goes wrong",
		"routes: {inbound/a: [{fault: {}}]}":                                                                           "p.yaml:1:23: nothing goes wrong",
		"routes: {inbound/a: [{fault: {abort: {grpcStatus: 1, percentage: 1%}, upstreamCluster: a}}]}":                 `p.yaml:1:71: "upstreamCluster" is for the faults of clients`,
		`{routes: {inbound/a: [{fault: {disabled: true}}]}, filters: {inbound/a: [{name: envoy.filters.http.fault}]}}`: `"envoy.filters.http.fault" is the name of the filter that the faults of "inbound/a" are made of`,
	} {
		if _, err := Parse("p.yaml", []byte(text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	// What only a program can say.
	second := time.Second
	for name, f := range map[string]*Fault{
		"more than 100%": {Delay: &FaultDelay{FixedDelay: &second, Percentage: 1_000_001}},
		"nil":            {Delay: &FaultDelay{FixedDelay: &second}, Headers: map[string]*HeaderMatch{"a": nil}},
	} {
		p := &Policy{Services: map[string]*Service{"a": {Endpoints: []*Endpoint{}, Fault: f}}}
		if _, err := p.Compile(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
