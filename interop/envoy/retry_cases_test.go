package envoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

// retryCase is a policy and what comes of attempts under it.
type retryCase struct {
	name string
	// only are protocols, all if empty.
	only   string
	route  string // a RouteAction
	script script
	performance
}

const (
	fast   = `"retry_back_off": {"base_interval": "0.001s"}`
	inTime = `"per_try_timeout": "0.3s"`
)

var (
	ok          = act{Kind: answers, Status: 200}
	unavailable = act{Kind: answers, Status: 503, Code: codes.Unavailable}
	silent      = act{Kind: hangs}
)

// again is the first n attempts ending like this.
func again(n int, a act, then ...act) (s script) { return append(slices.Repeat(script{a}, n), then...) }

// TestRetryCases is of what a generator rarely meets.
func TestRetryCases(t *testing.T) {
	cases := []retryCase{
		{"lost before the answer", "", `{"retry_policy": {"retry_on": "reset", "num_retries": 2, ` + fast + `}}`, again(2, act{Kind: drops}, ok), performance{}},
		{"refused streams", "http2", `{"retry_policy": {"retry_on": "refused-stream", "num_retries": 2, ` + fast + `}}`, again(2, act{Kind: refuses}, ok), performance{}},
		{"refused streams, exhausted", "http2", `{"retry_policy": {"retry_on": "refused-stream", "num_retries": 2, ` + fast + `}}`, again(3, act{Kind: refuses}, ok), performance{}},
		{"refused streams, not named", "http2", `{"retry_policy": {"retry_on": "connect-failure", ` + fast + `}}`, again(1, act{Kind: refuses}, ok), performance{}},
		{"refused streams, with a body", "http2", `{"retry_policy": {"retry_on": "refused-stream", "num_retries": 2, ` + fast + `}}`, again(2, act{Kind: refuses}, ok), performance{request: request{method: "POST", body: "body"}}},
		{"refused streams, with a body that is had once", "http2", `{"retry_policy": {"retry_on": "refused-stream", "num_retries": 2, ` + fast + `}}`, again(2, act{Kind: refuses}, ok), performance{request: request{method: "POST", body: "body", once: true}}},
		{"GOAWAY, by reset", "http2", `{"retry_policy": {"retry_on": "reset", "num_retries": 2, ` + fast + `}}`, again(2, act{Kind: goesAway}, ok), performance{}},
		{"GOAWAY, not named", "http2", `{"retry_policy": {"retry_on": "connect-failure", ` + fast + `}}`, again(1, act{Kind: goesAway}, ok), performance{}},
		{"GOAWAY after this stream", "http2 grpc", `{"retry_policy": {"retry_on": "reset,refused-stream,unavailable", ` + fast + `}}`, again(2, act{Kind: retires, Status: 200}), performance{}},
		{"another reset than a refusal", "http2", `{"retry_policy": {"retry_on": "refused-stream", ` + fast + `}}`, again(1, act{Kind: fails}, ok), performance{}},
		{"timeout", "http1 http2", `{"timeout": "0.3s"}`, again(1, silent, ok), performance{}},
		{"timeout before the first per-try timeout", "http1 http2", `{"timeout": "0.3s", "retry_policy": {"retry_on": "5xx", "per_try_timeout": "20s", ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"timeout in the second try", "http1 http2", `{"timeout": "0.5s", "retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}}`, again(2, silent, ok), performance{}},
		{"timeout in the answer", "http1 http2", `{"timeout": "0.3s", "retry_policy": {"retry_on": "5xx", ` + fast + `}}`, again(1, act{Kind: stalls, Status: 200}, ok), performance{}},
		{"no timeout", "", `{"timeout": "0s", "retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"per-try timeout in the answer", "http1 http2", `{"retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}, "timeout": "0.6s"}`, again(1, act{Kind: stalls, Status: 200}, ok), performance{}},
		{"per-try timeout of a failure that does not end", "http1 http2", `{"retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}}`, again(1, act{Kind: stalls, Status: 503}, ok), performance{}},
		{"per-try timeout, connect-failure", "", `{"retry_policy": {"retry_on": "connect-failure", ` + inTime + `, ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"per-try timeout, no retry_on", "", `{"retry_policy": {` + inTime + `}}`, again(1, silent, ok), performance{}},
		{"per-try idle timeout", "", `{"retry_policy": {"retry_on": "5xx", "per_try_idle_timeout": "0.3s", ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"per-try idle timeout in the answer", "http1 http2", `{"retry_policy": {"retry_on": "5xx", "per_try_idle_timeout": "0.3s", ` + fast + `}}`, again(1, act{Kind: stalls, Status: 200}, ok), performance{}},
		{"idle_timeout", "", `{"idle_timeout": "0.3s"}`, again(1, silent, ok), performance{}},
		{"idle_timeout in the answer", "http1 http2", `{"idle_timeout": "0.3s"}`, again(1, act{Kind: stalls, Status: 200}, ok), performance{}},
		{"idle_timeout with retries", "", `{"idle_timeout": "0.3s", "retry_policy": {"retry_on": "5xx", ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"idle_timeout in the second try", "", `{"idle_timeout": "0.5s", "retry_policy": {"retry_on": "5xx", "num_retries": 3, ` + inTime + `, ` + fast + `}}`, again(4, silent, ok), performance{}},
		{"idle_timeout after a retry", "", `{"idle_timeout": "0.3s", "retry_policy": {"retry_on": "5xx,unavailable", ` + fast + `}}`, script{unavailable, silent, ok}, performance{}},
		{"idle_timeout 0", "", `{"idle_timeout": "0s", "retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"max_stream_duration", "", `{"max_stream_duration": {"max_stream_duration": "0.3s"}}`, again(1, silent, ok), performance{}},
		{"max_stream_duration with retries", "", `{"max_stream_duration": {"max_stream_duration": "0.3s"}, "retry_policy": {"retry_on": "5xx", ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"max_stream_duration below the timeout", "http1 http2", `{"timeout": "20s", "max_stream_duration": {"max_stream_duration": "0.3s"}}`, again(1, silent, ok), performance{}},
		{"grpc_timeout_header_max", "grpc", `{"max_stream_duration": {"max_stream_duration": "20s", "grpc_timeout_header_max": "0.3s"}}`, again(1, silent, ok), performance{timeout: 10 * time.Second}},
		{"grpc_timeout_header_max 0", "grpc", `{"max_stream_duration": {"max_stream_duration": "0.01s", "grpc_timeout_header_max": "0s"}}`, again(1, silent, ok), performance{timeout: time.Second / 2}},

		{"hedge", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}}`, again(1, silent, ok), performance{}},
		{"hedge, the first answers", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}}`,
			script{{Kind: answers, Status: 200, Until: 2}, silent}, performance{}},
		{"hedge, the first fails late", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 1, ` + inTime + `, ` + fast + `}}`,
			script{{Kind: answers, Status: 503, Code: codes.Unavailable, Until: 2}, silent}, performance{timeout: time.Second}},
		{"hedge, all fail", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 1, ` + inTime + `, ` + fast + `}}`,
			script{{Kind: answers, Status: 503, Code: codes.Unavailable, Until: 2}, unavailable}, performance{any: true}},
		{"hedge, the hedge fails", "http1 http2", `{"timeout": "1s", "hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 1, ` + inTime + `, ` + fast + `}}`,
			script{silent, unavailable}, performance{}},
		{"hedge, the hedge fails, and its retry", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 2, ` + inTime + `, ` + fast + `}}`,
			script{silent, unavailable, ok}, performance{}},
		{"hedge of a failure", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 2, ` + inTime + `, ` + fast + `}}`,
			script{unavailable, silent, ok}, performance{}},
		{"hedge, not named", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "connect-failure", ` + inTime + `, ` + fast + `}}`, script{silent, ok}, performance{}},
		{"hedge, no retries", "http1 http2", `{"timeout": "0.6s", "hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", "num_retries": 0, ` + inTime + `, ` + fast + `}}`, script{silent, ok}, performance{}},
		{"hedge, three in flight", "", `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", "num_retries": 2, ` + inTime + `, ` + fast + `}}`,
			script{{Kind: answers, Status: 200, Until: 3}, silent, silent}, performance{}},
		{"hedge without a per-try timeout", "http1 http2", `{"timeout": "0.3s", "hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", ` + fast + `}}`, script{silent, ok}, performance{}},

		{"retriable headers of the last", "http1 http2", `{"retry_policy": {"retry_on": "retriable-headers", "retriable_headers": [{"name": "x-again", "present_match": true}], ` + fast + `}}`,
			script{{Kind: answers, Status: 200, Header: []string{"x-again", "1"}}}, performance{}},
		{"retriable headers, several values", "http1 http2", `{"retry_policy": {"retry_on": "retriable-headers", "retriable_headers": [{"name": "x-again", "string_match": {"exact": "2"}}], ` + fast + `}}`,
			script{{Kind: answers, Status: 200, Header: []string{"x-again", "1", "x-again", "2"}}, ok}, performance{}},
		{"retriable headers, several values as one", "http1 http2", `{"retry_policy": {"retry_on": "retriable-headers", "retriable_headers": [{"name": "x-again", "string_match": {"exact": "1,2"}}], ` + fast + `}}`,
			script{{Kind: answers, Status: 200, Header: []string{"x-again", "1", "x-again", "2"}}, ok}, performance{}},
		{"retriable headers, :status", "grpc", `{"retry_policy": {"retry_on": "retriable-headers", "retriable_headers": [{"name": ":status", "string_match": {"exact": "200"}}], ` + fast + `}}`,
			script{unavailable, ok}, performance{}},
		{"retriable headers, inverted", "http1 http2", `{"retry_policy": {"retry_on": "retriable-headers", "retriable_headers": [{"name": "x-fine", "present_match": true, "invert_match": true}], ` + fast + `}}`,
			script{ok, {Kind: answers, Status: 200, Header: []string{"x-fine", "1"}}}, performance{}},
		{"two retriable headers", "http1 http2", `{"retry_policy": {"retry_on": "retriable-headers", "num_retries": 3, "retriable_headers": [{"name": "x-a", "present_match": true}, {"name": "x-b", "present_match": true}], ` + fast + `}}`,
			script{{Kind: answers, Status: 200, Header: []string{"x-a", "1"}}, {Kind: answers, Status: 200, Header: []string{"x-b", "1"}}, ok}, performance{}},
		{"retriable request headers of the method", "http1 http2", `{"retry_policy": {"retry_on": "5xx", "retriable_request_headers": [{"name": ":method", "string_match": {"exact": "GET"}}], ` + fast + `}}`,
			script{unavailable, ok}, performance{request: request{method: "POST"}}},
		{"retriable request headers of the method, met", "http1 http2", `{"retry_policy": {"retry_on": "5xx", "retriable_request_headers": [{"name": ":method", "string_match": {"exact": "GET"}}], ` + fast + `}}`,
			script{unavailable, ok}, performance{request: request{method: "GET"}}},
		{"no token is known", "", `{"retry_policy": {"retry_on": "nothing", ` + fast + `}}`, script{unavailable, ok}, performance{}},
		{"an unknown token among known ones", "", `{"retry_policy": {"retry_on": "nothing, 5xx ,unavailable", ` + fast + `}}`, script{unavailable, ok}, performance{}},
		{"HTTP's 503 to gRPC, unavailable", "grpc", `{"retry_policy": {"retry_on": "unavailable", ` + fast + `}}`, script{{Kind: bare, Status: 503}, ok}, performance{}},
		{"no more than two resets", "", `{"retry_policy": {"retry_on": "5xx", "num_retries": 1, ` + fast + `}}`, again(4, act{Kind: closes}, ok), performance{}},

		{"a body over the limit", "http1 http2", `{"retry_policy": {"retry_on": "5xx", ` + fast + `}}`, script{unavailable, ok}, performance{request: request{method: "POST", body: strings.Repeat("x", 9000), once: true}}},
		{"a body within the limit", "", `{"retry_policy": {"retry_on": "5xx,unavailable", ` + fast + `}}`, script{unavailable, ok}, performance{request: request{method: "POST", body: strings.Repeat("x", 3000), once: true}}},

		{"a rate limit that ends in a second", "", rateLimited(`{"name": "x-reset", "format": "SECONDS"}`), script{limited("x-reset", "1"), ok}, performance{note: pause}},
		{"a rate limit, the second header", "http1", rateLimited(`{"name": "x-none", "format": "SECONDS"}, {"name": "x-reset", "format": "SECONDS"}`), script{limited("x-reset", "1"), ok}, performance{note: pause}},
		{"a rate limit, the first header is none", "http1", rateLimited(`{"name": "x-none", "format": "SECONDS"}, {"name": "x-reset", "format": "SECONDS"}`), script{limited("x-none", "no", "x-reset", "1"), ok}, performance{note: pause}},
		{"a rate limit that ends at a time", "http1", rateLimited(`{"name": "x-reset", "format": "UNIX_TIMESTAMP"}`), script{limited("x-reset", fmt.Sprint(time.Now().Unix()+1000)), ok}, performance{note: pause}},
		{"a rate limit that ended long ago", "http1", rateLimited(`{"name": "x-reset", "format": "UNIX_TIMESTAMP"}`), script{limited("x-reset", "1000"), ok}, performance{note: pause}},
		{"a rate limit that is too long", "http1", rateLimited(`{"name": "x-reset", "format": "SECONDS"}`), script{limited("x-reset", "3"), ok}, performance{note: pause}},
		{"a rate limit by retry-after", "", rateLimited(`{"name": "retry-after", "format": "SECONDS"}`), script{limited("retry-after", "1"), ok}, performance{note: pause}},
		{"a rate limit by retry-after, a date", "http1", rateLimited(`{"name": "retry-after", "format": "SECONDS"}`), script{limited("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT"), ok}, performance{note: pause}},
		{"a rate limit by retry-after, unless there is a header before it", "http1 http2", rateLimited(`{"name": "x-ratelimit-reset", "format": "SECONDS"}, {"name": "retry-after", "format": "SECONDS"}`),
			script{limited("retry-after", "1", "x-ratelimit-reset", "60"), ok}, performance{note: pause}},
		{"a rate limit by x-ratelimit-reset", "", rateLimited(`{"name": "x-ratelimit-reset", "format": "UNIX_TIMESTAMP"}, {"name": "X-RateLimit-Reset", "format": "SECONDS"}`),
			script{limited("x-ratelimit-limit", "5, 5;w=1", "x-ratelimit-remaining", "0", "x-ratelimit-reset", "1"), ok}, performance{note: pause}},
		{"a rate limit by two values", "http1", rateLimited(`{"name": "retry-after", "format": "SECONDS"}`), script{limited("retry-after", "1", "retry-after", "60"), ok}, performance{note: pause}},
		{"a rate limit of 429, in a retry", "http1 http2", `{"retry_policy": {"retry_on": "retriable-status-codes", "retriable_status_codes": [429], ` + fast + `, "rate_limited_retry_back_off": {"reset_headers": [{"name": "retry-after", "format": "SECONDS"}], "max_interval": "2s"}}}`,
			script{{Kind: answers, Status: 429, Header: []string{"retry-after", "1"}}, ok}, performance{note: pause}},
		{"a rate limit of no time", "http1", rateLimited(`{"name": "x-reset", "format": "SECONDS"}`), script{limited("x-reset", "0"), ok}, performance{note: pause}},
	}
	for _, protocol := range []string{"http1", "http2", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			l := newLanes(t, protocol == "grpc", 6, 2)
			var rules []laneRule
			var list []performance
			var names []string
			host := &routev3.VirtualHost{}
			if err := protojson.Unmarshal([]byte(`{"include_request_attempt_count": true, "per_request_buffer_limit_bytes": 4000}`), host); err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				if c.only != "" && !slices.Contains(strings.Fields(c.only), protocol) {
					continue
				}
				action := new(routev3.RouteAction)
				if err := protojson.Unmarshal([]byte(c.route), action); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				f := c.performance
				f.rule, f.script = len(rules), c.script
				f.timed = timed(action) || f.note != nil
				if f.request.method == "" {
					f.request.method = "GET"
				}
				rules = append(rules, laneRule{action, host})
				names = append(names, c.name)
				list = append(list, f)
			}
			l.applyRules(t, protocol != "http1", rules, nil)
			l.compareAll(t, list, func(f performance, diff string) {
				t.Errorf("%s: %v (-Envoy +Weft):\n%s", names[f.rule], f, diff)
			})
		})
	}
}

func rateLimited(headers string) string {
	return `{"retry_policy": {"retry_on": "5xx,unavailable", ` + fast + `, "rate_limited_retry_back_off": {"reset_headers": [` + headers + `], "max_interval": "2s"}}}`
}

func limited(header ...string) act {
	return act{Kind: answers, Status: 503, Code: codes.Unavailable, Header: header}
}

// pause says whether the second attempt came a second after the first.
func pause(list []attempt) string {
	if len(list) < 2 {
		return "no retry"
	}
	return fmt.Sprint("a pause: ", list[1].at.Sub(list[0].at) > 900*time.Millisecond)
}
