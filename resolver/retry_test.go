package resolver_test

import (
	"testing"
	"time"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/resolver"
)

// retrying is a table with one virtual host, of these fields, and one route, with these
// fields beside its match and in its action.
func retrying(host, route, action string) string {
	return `{"name": "r", "virtualHosts": [{"domains": ["*"]` + host + `, "routes": [
		{"match": {"prefix": "/"}` + route + `, "route": {"cluster": "c"` + action + `}}]}]}`
}

func TestRetryPolicy(t *testing.T) {
	everything := `{"retryOn": "5xx, gateway-error,reset,unavailable,no-such-token", "numRetries": 4,
		"perTryTimeout": "2s", "perTryIdleTimeout": "1s", "retriableStatusCodes": [418],
		"retryBackOff": {"baseInterval": "0.1s", "maxInterval": "3s"},
		"rateLimitedRetryBackOff": {"resetHeaders": [{"name": "Retry-After"}, {"name": "x-reset", "format": "UNIX_TIMESTAMP"}], "maxInterval": "60s"},
		"retryHostPredicate": [{"name": "p", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
		"hostSelectionRetryMaxAttempts": 5}`
	all := resilience.Retry{
		Retries:       4,
		On:            resilience.Conditions{On: resilience.On5xx | resilience.OnGatewayError | resilience.OnReset | resilience.OnUnavailable, StatusCodes: []uint32{418}},
		Backoff:       resilience.Backoff{Base: 100 * time.Millisecond, Max: 3 * time.Second},
		RateLimited:   &resilience.RateLimitedBackoff{Headers: []resilience.ResetHeader{{Name: "retry-after"}, {Name: "x-reset", UnixTime: true}}, Max: time.Minute},
		PerTryTimeout: 2 * time.Second, PerTryIdleTimeout: time.Second,
		PreviousHosts: true,
	}
	with := func(change func(*resilience.Retry)) resilience.Retry {
		r := resilience.Retry{Retries: 1, On: resilience.Conditions{On: resilience.On5xx}}
		change(&r)
		return r
	}
	hedge := func(h resilience.Hedge) *resilience.Hedge { return &h }
	for name, c := range map[string]struct {
		host, route, action string
		want                *resilience.Policy
	}{
		"none":       {want: nil},
		"everything": {action: `, "retryPolicy": ` + everything, want: &resilience.Policy{Retry: all}},
		"host's":     {host: `, "retryPolicy": ` + everything, want: &resilience.Policy{Retry: all}},
		"route's": {host: `, "retryPolicy": ` + everything, action: `, "retryPolicy": {"retryOn": "5xx"}`,
			want: &resilience.Policy{Retry: with(func(*resilience.Retry) {})}},
		"no retries": {action: `, "retryPolicy": {"retryOn": "5xx", "numRetries": 0}`, want: &resilience.Policy{Retry: with(func(r *resilience.Retry) { r.Retries = 0 })}},
		"buffer of host": {host: `, "perRequestBufferLimitBytes": 7`, action: `, "retryPolicy": {"retryOn": "5xx"}`,
			want: &resilience.Policy{Retry: with(func(r *resilience.Retry) { r.BufferLimit = 7 })}},
		"buffer of route": {host: `, "requestBodyBufferLimit": 7`, route: `, "perRequestBufferLimitBytes": 8`, action: `, "retryPolicy": {"retryOn": "5xx"}`,
			want: &resilience.Policy{Retry: with(func(r *resilience.Retry) { r.BufferLimit = 8 })}},
		"hedge on timeouts": {action: `, "retryPolicy": {"retryOn": "5xx", "perTryTimeout": "1s"}, "hedgePolicy": {"hedgeOnPerTryTimeout": true}`,
			want: &resilience.Policy{Retry: with(func(r *resilience.Retry) { r.PerTryTimeout = time.Second }), Hedge: hedge(resilience.Hedge{OnPerTryTimeout: true})}},
		"hedge of host": {host: `, "hedgePolicy": {"hedgeOnPerTryTimeout": true}`, action: `, "retryPolicy": {"retryOn": "5xx", "perTryTimeout": "1s"}`,
			want: &resilience.Policy{Retry: with(func(r *resilience.Retry) { r.PerTryTimeout = time.Second }), Hedge: hedge(resilience.Hedge{OnPerTryTimeout: true})}},
		"hedge on no timeout": {action: `, "retryPolicy": {"retryOn": "5xx"}, "hedgePolicy": {"hedgeOnPerTryTimeout": true}`,
			want: &resilience.Policy{Retry: with(func(*resilience.Retry) {})}},
		"hedge alone": {route: `, "metadata": {"filterMetadata": {"weft.hedge": {"delay": "50ms", "quantile": 0.9}}}`,
			want: &resilience.Policy{Retry: resilience.Retry{Retries: 1}, Hedge: hedge(resilience.Hedge{Delay: 50 * time.Millisecond, Quantile: 0.9})}},
		"hedge of several": {route: `, "metadata": {"filterMetadata": {"weft.hedge": {"delay": "50ms", "max_attempts": 4}}}`, action: `, "retryPolicy": {"retryOn": "5xx"}`,
			want: &resilience.Policy{Retry: with(func(r *resilience.Retry) { r.Retries = 3 }), Hedge: hedge(resilience.Hedge{Delay: 50 * time.Millisecond})}},
	} {
		table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, retrying(c.host, c.route, c.action)))
		route, err := table.Route(&resolver.Request{Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, route.Attempts(), cmpopts.IgnoreFields(resilience.Policy{}, "Latency")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRetriesApart: routes that take the policy of their virtual host learn apart what
// their calls take.
func TestRetriesApart(t *testing.T) {
	table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, `{"name": "r", "virtualHosts": [{"domains": ["*"], "retryPolicy": {"retryOn": "5xx"}, "routes": [
		{"match": {"path": "/a"}, "route": {"cluster": "c"}}, {"match": {"prefix": "/"}, "route": {"cluster": "c", "priority": "HIGH"}}]}]}`))
	a, err := table.Route(&resolver.Request{Path: "/a"})
	b, err2 := table.Route(&resolver.Request{Path: "/b"})
	if err != nil || err2 != nil || a.Attempts().Latency == b.Attempts().Latency {
		t.Errorf("%v, %v: two routes share what they learn", err, err2)
	}
	if a.Priority() != resilience.PriorityDefault || b.Priority() != resilience.PriorityHigh {
		t.Errorf("priorities %v and %v", a.Priority(), b.Priority())
	}
}

func TestRetriableHeaders(t *testing.T) {
	table := routesTable(t, parse(t, &routev3.RouteConfiguration{}, retrying("", "", `, "retryPolicy": {"retryOn": "retriable-headers",
		"retriableHeaders": [{"name": "X-Again"}, {"name": ":status", "stringMatch": {"prefix": "42"}}],
		"retriableRequestHeaders": [{"name": ":method", "stringMatch": {"exact": "GET"}}, {"name": "x-idempotent"}]}`)))
	route, err := table.Route(&resolver.Request{Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		h      answer
		want   bool
	}{{200, answer{"x-again": ""}, true}, {200, answer{"other": ""}, false}, {429, answer{}, true}, {500, answer{}, false}} {
		got := route.Attempts().Retry.On.Retries(&resilience.Result{Status: c.status, Headers: c.h})
		if got != c.want {
			t.Errorf("%d %v: %v", c.status, c.h, got)
		}
	}
	for _, c := range []struct {
		r    resolver.Request
		want bool
	}{
		{resolver.Request{Method: "GET"}, true},
		{resolver.Request{Method: "POST"}, false},
		{resolver.Request{Method: "POST", Headers: header{"x-idempotent": {"1"}}}, true},
		{resolver.Request{GRPC: true}, false},
	} {
		if got := route.Retriable(&c.r); got != c.want {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}

type answer map[string]string

func (h answer) Values(name string) []string {
	if v, ok := h[name]; ok {
		return []string{v}
	}
	return nil
}

func (h answer) Header(name string) (string, bool) {
	v, ok := h[name]
	return v, ok
}

func TestBadRetryPolicies(t *testing.T) {
	for _, c := range []struct{ route, action, want string }{
		{"", `"retryPolicy": {"retryBackOff": {}}`, "route.retry_policy.retry_back_off.base_interval: must be greater than zero"},
		{"", `"retryPolicy": {"retryBackOff": {"baseInterval": "2s", "maxInterval": "1s"}}`, "route.retry_policy.retry_back_off.max_interval: 1s is less"},
		{"", `"retryPolicy": {"perTryTimeout": "-1s"}`, "route.retry_policy.per_try_timeout"},
		{"", `"retryPolicy": {"retryPriority": {"name": "p", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"}}}`, "route.retry_policy.retry_priority.typed_config.update_frequency"},
		{"", `"retryPolicy": {"rateLimitedRetryBackOff": {}}`, "route.retry_policy.rate_limited_retry_back_off.reset_headers"},
		{"", `"retryPolicy": {"rateLimitedRetryBackOff": {"resetHeaders": [{}]}}`, "rate_limited_retry_back_off.reset_headers[0].name"},
		{"", `"retryPolicy": {"rateLimitedRetryBackOff": {"resetHeaders": [{"name": "a", "format": 7}]}}`, "reset_headers[0].format"},
		{"", `"retryPolicy": {"retriableHeaders": [{}]}`, "route.retry_policy.retriable_headers[0]"},
		{"", `"retryPolicy": {"retriableRequestHeaders": [{}]}`, "route.retry_policy.retriable_request_headers[0]"},
		{"", `"priority": 7`, "route.priority: unknown value 7"},
		{`{"delay": "soon"}`, "", "metadata.weft.hedge.delay"},
		{`{"quantile": 1}`, "", "metadata.weft.hedge.quantile"},
		{`{"delay": "1s", "max_attempts": 1.5}`, "", "metadata.weft.hedge.max_attempts"},
	} {
		route, action := "", ""
		if c.route != "" {
			route = `, "metadata": {"filterMetadata": {"weft.hedge": ` + c.route + `}}`
		}
		if c.action != "" {
			action = ", " + c.action
		}
		_, err := decode(t, parse(t, &routev3.RouteConfiguration{}, retrying("", route, action)))
		wantError(t, err, "virtual_hosts[0].routes[0]", c.want)
	}
}

func TestCircuitBreakers(t *testing.T) {
	with := func(change func(*resilience.LimitsConfig)) *resilience.LimitsConfig {
		l := resilience.DefaultLimits
		change(&l)
		return &l
	}
	for fields, want := range map[string]*resilience.LimitsConfig{
		``:                        nil,
		`, "circuitBreakers": {}`: nil,
		`, "circuitBreakers": {"thresholds": [
			{"priority": "HIGH", "maxConnections": 1, "maxPendingRequests": 2, "maxRequests": 3, "maxRetries": 0},
			{"priority": "HIGH", "maxRequests": 4},
			{"retryBudget": {"budgetPercent": {"value": 10}}}]}`: with(func(l *resilience.LimitsConfig) {
			l.Thresholds[resilience.PriorityHigh] = resilience.Thresholds{MaxConnections: 1, MaxPending: 2, MaxRequests: 3}
			l.Thresholds[resilience.PriorityDefault].Budget = &resilience.Budget{Percent: 10, MinConcurrency: 3}
		}),
		`, "circuitBreakers": {"thresholds": [{"retryBudget": {"minRetryConcurrency": 0}}]}`: with(func(l *resilience.LimitsConfig) {
			l.Thresholds[0].Budget = &resilience.Budget{Percent: 20}
		}),
		`, "metadata": {"filterMetadata": {"weft.retry_throttle": {"max_tokens": 10, "token_ratio": 0.1}}}`: with(func(l *resilience.LimitsConfig) {
			l.Throttle = &resilience.ThrottleConfig{MaxTokens: 10, Ratio: 100}
		}),
	} {
		config := decodedConfig(t, `{"name": "c", `+eds+fields+`}`)
		if diff := cmp.Diff(want, config.Limits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", fields, diff)
		}
	}
	for fields, want := range map[string]string{
		`"circuitBreakers": {"thresholds": [{"priority": 7}]}`:                                               "circuit_breakers.thresholds[0].priority",
		`"circuitBreakers": {"thresholds": [{"retryBudget": {"budgetPercent": {"value": 101}}}]}`:            "retry_budget.budget_percent",
		`"metadata": {"filterMetadata": {"weft.retry_throttle": {"max_tokens": 0, "token_ratio": 0.1}}}`:     "metadata.weft.retry_throttle.max_tokens",
		`"metadata": {"filterMetadata": {"weft.retry_throttle": {"max_tokens": 1.5, "token_ratio": 0.1}}}`:   "metadata.weft.retry_throttle.max_tokens",
		`"metadata": {"filterMetadata": {"weft.retry_throttle": {"max_tokens": 10, "token_ratio": "much"}}}`: "metadata.weft.retry_throttle.token_ratio",
	} {
		_, err := decode(t, parse(t, &clusterv3.Cluster{}, `{"name": "c", `+eds+`, `+fields+`}`))
		wantError(t, err, want)
	}
}
