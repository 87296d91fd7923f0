package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRetryErrors names each part of what is said of attempts that cannot be.
func TestRetryErrors(t *testing.T) {
	for _, test := range []struct{ route, want string }{
		{"retry: {attempts: 1}", "32: attempts is 1: with one there is no retry, leave out retry"},
		{"retry: {on: []}", "22: nothing is retried: name what is, or leave out on"},
		{"retry: {on: [5xx, unavailabel]}", `32: "unavailabel" is not one of 5xx, gateway-error, reset, reset-before-request, connect-failure, envoy-ratelimited, ` +
			`retriable-4xx, refused-stream, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable (did you mean "unavailable"?)`},
		{"retry: {on: [5xx, 5xx]}", `32: "5xx" is listed twice`},
		{"retry: {statusCodes: [99]}", "36: 99 is not a status of HTTP"},
		{"retry: {headers: {'a b': {present: true}}}", `32: "a b" is not the name of a header`},
		{"retry: {headers: {a: {}}}", "32: say one of exact, prefix, suffix, contains, regex, present and range"},
		{"retry: {methods: ['G T']}", `32: "G T" is not a method of HTTP`},
		{"retry: {methods: [GET], requestHeaders: {a: {present: true}}}", `38: "requestHeaders" cannot stand beside "methods": either would do`},
		{"retry: {perTryTimeout: 0s}", "37: 0s: it must be greater than zero"},
		{"timeout: 1s, retry: {perTryTimeout: 2s}", "50: perTryTimeout is 2s, longer than the timeout of the route, 1s"},
		{"retry: {backOff: {baseInterval: 1us}}", "46: 1µs: it must be 1ms or more"},
		{"retry: {backOff: {maxInterval: 10ms}}", "45: maxInterval is 10ms, less than baseInterval, 25ms"},
		{"retry: {omitHosts: [{a: b}, {}]}", "42: name a label: without any, no endpoint would be left out"},
		{"retry: {previousPriorities: {updateFrequency: 0}}", "60: updateFrequency is 0: it must be 1 or more"},
		{"retry: {rateLimitedBackOff: {}}", `42: field "resetHeaders" is missing`},
		{"retry: {rateLimitedBackOff: {resetHeaders: {a: minutes}}}", `61: "minutes" is not one of seconds, unix_timestamp`},
		{"retry: {perTryTimeOut: 1s}", `22: unknown field "perTryTimeOut" (did you mean "perTryTimeout"?)`},
		{"hedge: {}", "14: say one of onPerTryTimeout, delay and quantile"},
		{"hedge: {onPerTryTimeout: true}", "39: the route has no retry with a perTryTimeout"},
		{"hedge: {delay: 0s}", "29: 0s: it must be greater than zero"},
		{"hedge: {quantile: 100%}", "32: 100%: it must be between 0% and 100%"},
		{"priority: highest", `24: "highest" is not one of default, high`},
	} {
		_, err := Parse("p.yaml", []byte(service+"routes: {a: [\n    {to: v1, "+test.route+"}]}\n"))
		if err == nil {
			t.Errorf("%s: no error", test.route)
			continue
		}
		if diff := cmp.Diff("p.yaml:3:"+test.want, strings.TrimSpace(err.Error())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.route, diff)
		}
	}
	for _, test := range []struct{ limits, want string }{
		{"{maxRetries: 1, retryBudget: {}}", `27: "retryBudget" cannot stand beside "maxRetries", in whose place it is`},
		{"{high: {maxRetries: 1, retryBudget: {}}}", `34: "retryBudget" cannot stand beside "maxRetries", in whose place it is`},
		{"{retryThrottling: {maxTokens: 1001, tokenRatio: 1%}}", "41: maxTokens is 1001: it must be from 1 to 1000"},
		{"{retryThrottling: {maxTokens: 10, tokenRatio: 0.01%}}", "57: 0.01%: it must be 0.1% or more"},
		{"{retryThrottling: {maxTokens: 10}}", `13: field "tokenRatio" is missing`},
	} {
		_, err := Parse("p.yaml", []byte("services: {a: {endpoints: [],\n  limits: "+test.limits+"}}\n"))
		if err == nil {
			t.Errorf("%s: no error", test.limits)
			continue
		}
		if !strings.Contains(err.Error(), test.want[strings.Index(test.want, ":"):]) {
			t.Errorf("%s: %v, want %s", test.limits, err, test.want)
		}
	}
	if _, err := Parse("p.yaml", []byte(service+"routes: {a: [{respond: {status: 200}, retry: {}}]}\n")); err == nil ||
		!strings.Contains(err.Error(), `"retry" is for routes that send calls somewhere`) {
		t.Errorf("a route that answers itself has retries: %v", err)
	}
}
