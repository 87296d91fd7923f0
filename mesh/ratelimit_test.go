package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
)

// limited is what came of a call that may be over a limit.
type limited struct {
	Status int // HTTP's, or less than zero for gRPC's
	Header map[string]string
	Body   string
}

// limitHeaders are those that limits are told by.
var limitHeaders = []string{"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-envoy-ratelimited", "retry-after", "x-mark", "content-type"}

// limitedCaller calls with headers.
type limitedCaller func(ctx context.Context, path string, header map[string]string) (limited, error)

func overHTTP(client *http.Client, target string) limitedCaller {
	return func(ctx context.Context, path string, header map[string]string) (limited, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+path, nil)
		if err != nil {
			return limited{}, err
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := client.Do(req)
		if err != nil {
			return limited{}, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got := limited{Status: resp.StatusCode, Body: string(body), Header: map[string]string{}}
		for _, name := range limitHeaders {
			if v := resp.Header.Values(name); len(v) > 0 && !(name == "content-type" && resp.StatusCode == http.StatusOK) {
				got.Header[name] = anHour(strings.Join(v, ","))
			}
		}
		return got, err
	}
}

func overGRPC(conn *grpc.ClientConn) limitedCaller {
	return func(ctx context.Context, path string, header map[string]string) (limited, error) {
		ctx = metadata.NewOutgoingContext(ctx, metadata.New(header))
		var response metadata.MD
		reply := new(wrapperspb.StringValue)
		err := conn.Invoke(ctx, path, wrapperspb.String(""), reply, grpc.Header(&response))
		got := limited{Status: -int(status.Code(err)), Body: reply.GetValue(), Header: map[string]string{}}
		if err != nil {
			got.Body = status.Convert(err).Message()
		}
		for _, name := range limitHeaders[:6] {
			if v := response.Get(name); len(v) > 0 {
				got.Header[name] = anHour(strings.Join(v, ","))
			}
		}
		return got, err
	}
}

// anHour forgives a machine that stalls the seconds, of an hour that a bucket takes to
// fill, which have passed since it began.
func anHour(seconds string) string {
	if n, err := strconv.Atoi(seconds); err == nil && n > 3600-60 && n < 3600 {
		return "3600"
	}
	return seconds
}

func limitedClient(t *testing.T, p protocol, m *mesh.Mesh, target string) limitedCaller {
	if p.name == "grpc" {
		return overGRPC(dial(t, m, target))
	}
	client := m.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	return overHTTP(client, target)
}

// plainClient is one without a mesh.
func plainClient(t *testing.T, p protocol, addr string) limitedCaller {
	if p.name == "http" {
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		return overHTTP(&http.Client{Transport: transport}, addr)
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return overGRPC(conn)
}

// localLimit is the configuration of a local limit that is counted and enforced.
func localLimit(fields ...string) string {
	for _, field := range []string{"filterEnabled", "filterEnforced"} {
		if !slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, field) }) {
			fields = append(fields, field+": {defaultValue: {numerator: 100}}")
		}
	}
	return `{"@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, statPrefix: l, ` + strings.Join(fields, ", ") + `}`
}

// tokens is a bucket that does not fill while a test runs.
func tokens(n int) string {
	return fmt.Sprintf("tokenBucket: {maxTokens: %d, fillInterval: 3600s}", n)
}

const byUser = `rateLimits: [{actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}]}]`

// userBucket is the bucket of a user; of each one if it is empty.
func userBucket(user string, n int) string {
	return `{entries: [{key: user, value: "` + user + `"}], ` + tokens(n) + `}`
}

// localCase is a local limit, and how many of the calls of each user pass it.
type localCase struct {
	name         string
	filters      []string
	config, host string // of the route configuration and the virtual host
	route        string
	calls        []string // users, in turn
	passed       map[string]int
}

var anns = slices.Repeat([]string{"ann"}, 10)

func localCases() []localCase {
	ann, both := slices.Repeat([]string{"ann"}, 10), slices.Repeat([]string{"ann", "bob"}, 10)
	one := func(fields ...string) []string { return []string{httpFilter("l", localLimit(fields...))} }
	return []localCase{
		{name: "one bucket", filters: one(tokens(3)), calls: ann, passed: map[string]int{"ann": 3}},
		{name: "none at all", filters: one(tokens(0)), calls: ann},
		{name: "no bucket", filters: one(), calls: ann, passed: map[string]int{"ann": 10}},
		{name: "not enabled", filters: one(tokens(3), "filterEnabled: {defaultValue: {numerator: 0}}"), calls: ann, passed: map[string]int{"ann": 10}},
		{name: "not enforced", filters: one(tokens(3), "filterEnforced: {defaultValue: {numerator: 0}}"), calls: ann, passed: map[string]int{"ann": 10}},
		{name: "by the route", filters: one(tokens(9)), route: override("l", localLimit(tokens(2))), calls: ann, passed: map[string]int{"ann": 2}},
		{name: "by the virtual host", filters: one(tokens(9)), host: override("l", localLimit(tokens(4))), calls: ann, passed: map[string]int{"ann": 4}},
		{name: "a descriptor", filters: one(tokens(12), byUser, "descriptors: ["+userBucket("ann", 2)+"]"), calls: both, passed: map[string]int{"ann": 2, "bob": 10}},
		{name: "a descriptor and the bucket for all", filters: one(tokens(5), byUser, "descriptors: ["+userBucket("ann", 2)+"]"), calls: both, passed: map[string]int{"ann": 2, "bob": 3}},
		{name: "a descriptor without the bucket for all", filters: one(tokens(3), byUser, "alwaysConsumeDefaultTokenBucket: false", "descriptors: ["+userBucket("ann", 2)+"]"), calls: both, passed: map[string]int{"ann": 2, "bob": 3}},
		{name: "each user", filters: one(tokens(100), byUser, "descriptors: ["+userBucket("", 3)+"]"), calls: both, passed: map[string]int{"ann": 3, "bob": 3}},
		{name: "each user, and one at a time", filters: one(tokens(100), byUser, "maxDynamicDescriptors: 1", "descriptors: ["+userBucket("", 3)+"]"), calls: both, passed: map[string]int{"ann": 10, "bob": 10}},
		{name: "a shadow", filters: one(tokens(100), byUser, `descriptors: [{entries: [{key: user, value: ann}], `+tokens(2)+`, shadowMode: true}]`), calls: ann, passed: map[string]int{"ann": 10}},
		{name: "three hits each", filters: one(tokens(100), `rateLimits: [{actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}], hitsAddend: {number: 3}}]`, "descriptors: ["+userBucket("ann", 10)+"]"), calls: ann, passed: map[string]int{"ann": 3}},
		{name: "hits of a header", filters: one(tokens(100), `rateLimits: [{actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}], hitsAddend: {format: "%REQ(x-cost)%"}}]`, "descriptors: ["+userBucket("ann", 10)+"]"), calls: ann, passed: map[string]int{"ann": 5}},
		{name: "tokens given back", filters: one(tokens(100), `rateLimits: [{actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}], hitsAddend: {number: 3, isNegativeHits: true}}]`, "descriptors: ["+userBucket("ann", 2)+"]"), calls: ann, passed: map[string]int{"ann": 10}},
		{name: "each user of something else", filters: one(tokens(100), `rateLimits: [{actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}, {genericKey: {descriptorKey: of, descriptorValue: this}}]}]`,
			`descriptors: [{entries: [{key: user}, {key: of, value: that}], `+tokens(3)+`}]`), calls: ann, passed: map[string]int{"ann": 10}},
		// The bucket that fills more slowly comes first: what it refuses takes nothing of the other.
		{name: "the slower first", filters: one(tokens(100), `rateLimits: [{actions: [{genericKey: {descriptorValue: all}}]}, {actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}]}]`,
			`descriptors: [{entries: [{key: generic_key, value: all}], `+tokens(5)+`}, {entries: [{key: user, value: ann}], tokenBucket: {maxTokens: 2, fillInterval: 7200s}}]`),
			calls: slices.Concat(ann, slices.Repeat([]string{"bob"}, 10)), passed: map[string]int{"ann": 2, "bob": 3}},
		{name: "two filters", filters: []string{httpFilter("l", localLimit(tokens(5))), httpFilter("k", localLimit(tokens(4)))}, calls: ann, passed: map[string]int{"ann": 4}},
	}
}

// pass makes a case's calls, and returns how many of each user passed. isError says of
// the errors of others, under gRPC, that they are as they should be.
func (c *localCase) pass(t *testing.T, call limitedCaller, isError func(error) bool) map[string]int {
	t.Helper()
	passed := map[string]int{}
	for _, user := range c.calls {
		got, err := call(within(t, long), "/shop.Orders/Get", map[string]string{"x-user": user, "x-cost": "2"})
		switch {
		case got.Status == http.StatusOK, got.Status == 0 && err == nil:
			passed[user]++
		case got.Status == http.StatusTooManyRequests && got.Body == "local_rate_limited":
		case got.Status == -int(codes.Unavailable) && got.Body == "local_rate_limited" && isError(err):
		default:
			t.Fatalf("%s: %+v, %v", user, got, err)
		}
	}
	return passed
}

func isOverloaded(err error) bool { return errors.Is(err, mesh.ErrOverloaded) }

func isStatus(err error) bool { _, ok := status.FromError(err); return ok }

// TestLocalRateLimit has calls of clients and servers pass local limits (row Z7).
func TestLocalRateLimit(t *testing.T) {
	for _, test := range localCases() {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				back := p.backend(t, "back")
				m := newMesh(t, filtering(p.service("back", back), test.filters, levels(test.config, test.host, test.route, "")))
				if diff := cmp.Diff(test.passed, test.pass(t, limitedClient(t, p, m, "front"), isOverloaded), cmpEmpty); diff != "" {
					t.Errorf("of a client, passed (-want +got):\n%s", diff)
				}
				m = newMesh(t, serving(`filterChains: [`+chain("", test.filters, inboundRoutes(test.config, test.host, test.route))+`]`))
				if diff := cmp.Diff(test.passed, test.pass(t, plainClient(t, p, server(t, p, m).Addr), isStatus), cmpEmpty); diff != "" {
					t.Errorf("of a server, passed (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// cmpEmpty has maps without entries be equal.
var cmpEmpty = cmp.Transformer("entries", func(m map[string]int) string { return fmt.Sprint(slices.Sorted(maps.Keys(m)), m) })

// TestLocalRateLimitRoutes goes by the limits that routes and virtual hosts have.
func TestLocalRateLimitRoutes(t *testing.T) {
	key := func(value string, more ...string) string {
		return `{actions: [{genericKey: {descriptorValue: ` + value + `}}]` + strings.Join(append([]string{""}, more...), ", ") + `}`
	}
	bucket := func(value string, n int) string {
		return `{entries: [{key: generic_key, value: ` + value + `}], ` + tokens(n) + `}`
	}
	for _, test := range []struct {
		name        string
		filter      string
		host, route string
		want        int
	}{
		{"the route's", "", "", "rateLimits: [" + key("a") + "]", 2},
		{"the virtual host's", "", "rateLimits: [" + key("a") + "]", "", 2},
		{"the route's and not the virtual host's", "", "rateLimits: [" + key("a") + "]", "rateLimits: [" + key("b") + "]", 3},
		{"both", "vhRateLimits: INCLUDE", "rateLimits: [" + key("a") + "]", "rateLimits: [" + key("b") + "]", 2},
		{"both, by the route", "", "rateLimits: [" + key("a") + "]", "includeVhRateLimits: true, rateLimits: [" + key("b") + "]", 2},
		{"neither", "vhRateLimits: IGNORE", "rateLimits: [" + key("a") + "]", "", 9},
		{"of another stage", "", "", "rateLimits: [" + key("a", "stage: 1") + "]", 9},
		{"with a key that disables it", "", "", "rateLimits: [" + key("a", "disableKey: x") + "]", 9},
		{"at the end", "", "", "rateLimits: [" + key("a", "applyOnStreamDone: true") + "]", 9},
		{"of the filter's stage", "stage: 1", "", "rateLimits: [" + key("a", "stage: 1") + "]", 2},
		{"the filter's own", "rateLimits: [" + key("b") + "]", "", "rateLimits: [" + key("a") + "]", 3},
	} {
		eachProtocol(t, func(t *testing.T, p protocol) {
			back := p.backend(t, "back")
			config := localLimit(slices.DeleteFunc([]string{tokens(9), `descriptors: [` + bucket("a", 2) + `, ` + bucket("b", 3) + `]`, test.filter}, func(s string) bool { return s == "" })...)
			host := test.host
			if host != "" {
				host += ", "
			}
			routes := `{name: front, virtualHosts: [{name: all, domains: ["*"], ` + host + `routes: [{name: r, match: {prefix: /}, route: {cluster: back, ` + test.route + `}}]}]}`
			m := newMesh(t, filtering(p.service("back", back), []string{httpFilter("l", config)}, routes))
			c := localCase{calls: anns}
			if got := c.pass(t, limitedClient(t, p, m, "front"), isOverloaded)["ann"]; got != test.want {
				t.Errorf("%s: %d passed, want %d", test.name, got, test.want)
			}
		})
	}
}

// TestLocalRateLimitShared has clients, targets and tables share a limit.
func TestLocalRateLimitShared(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		back := p.backend(t, "back")
		m := newMesh(t, filtering(p.service("back", back), []string{httpFilter("l", localLimit(tokens(40)))}, levels("", "", "", "")))
		var mu sync.Mutex
		var callers sync.WaitGroup
		passed := 0
		for range 4 {
			call := limitedClient(t, p, m, "front")
			callers.Go(func() {
				for range 25 {
					got, _ := call(within(t, long), "/shop.Orders/Get", nil)
					if got.Status == http.StatusOK || got.Status == 0 {
						mu.Lock()
						passed++
						mu.Unlock()
					}
				}
			})
		}
		callers.Wait()
		if passed != 40 {
			t.Errorf("%d calls passed, want 40", passed)
		}
	})
}

// TestLocalRateLimitTold has responses tell of the limit, and calls over it be answered as
// policy says.
func TestLocalRateLimitTold(t *testing.T) {
	config := localLimit(tokens(2), "enableXRatelimitHeaders: DRAFT_VERSION_03", "enableRetryAfterHeader: true", "rateLimitedAsResourceExhausted: true",
		`responseHeadersToAdd: [{header: {key: x-mark, value: limited}}]`)
	told := func(status int, remaining, reset string) limited {
		return limited{Status: status, Header: map[string]string{"x-ratelimit-limit": "2", "x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}}
	}
	over := told(429, "0", "3600")
	over.Body = "local_rate_limited"
	maps.Copy(over.Header, map[string]string{"x-mark": "limited", "retry-after": "3600", "content-type": "text/plain"})
	eachProtocol(t, func(t *testing.T, p protocol) {
		back := p.backend(t, "back")
		m := newMesh(t, filtering(p.service("back", back), []string{httpFilter("l", config)}, levels("", "", "", "")))
		call := limitedClient(t, p, m, "front")
		want := []limited{told(200, "1", "0"), told(200, "0", "3600"), over}
		if p.name == "grpc" {
			want[0].Status, want[1].Status = 0, 0
			want[2] = limited{Status: -int(codes.ResourceExhausted), Body: "local_rate_limited", Header: map[string]string{}}
		}
		want[0].Body, want[1].Body = "back", "back"
		var got []limited
		for range want {
			one, _ := call(within(t, long), "/shop.Orders/Get", nil)
			got = append(got, one)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answered (-want +got):\n%s", diff)
		}
	})
}

// TestLocalRateLimitNotEnforced marks the requests that would have been refused.
func TestLocalRateLimitNotEnforced(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", localLimit(tokens(1), "filterEnforced: {defaultValue: {numerator: 0}}",
			`requestHeadersToAddWhenNotEnforced: [{header: {key: x-mark, value: over}}]`))}, inboundRoutes("", "", ""))+`]`))
		s := server(t, p, m)
		for i, want := range []string{"", "over"} {
			if got := ask(within(t, long), t, p, s.Addr, "/shop.Orders/Get"); got.Seen != want || got.Error != "" {
				t.Errorf("call %d: %+v", i, got)
			}
		}
	})
}

// TestLocalRateLimitConnections has each connection to a server have a bucket.
func TestLocalRateLimitConnections(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", localLimit(tokens(3), "localRateLimitPerDownstreamConnection: true"))}, inboundRoutes("", "", ""))+`]`))
		s := server(t, p, m)
		for range 3 {
			c := localCase{calls: anns}
			if got := c.pass(t, plainClient(t, p, s.Addr), isStatus)["ann"]; got != 3 {
				t.Errorf("%d calls of a connection passed, want 3", got)
			}
		}
	})
}

// TestRateLimitShortForm says limits in the words of the policy file.
func TestRateLimitShortForm(t *testing.T) {
	const hour = "fillInterval: 1h"
	eachProtocol(t, func(t *testing.T, p protocol) {
		passed := func(policy string, users ...string) string {
			back := p.backend(t, "back")
			m := newMesh(t, strings.ReplaceAll(policy, "BACK", fmt.Sprintf("protocol: %s, connectTimeout: 60s, endpoints: [%q]", p.name, back.Addr)))
			c := localCase{calls: users}
			return fmt.Sprint(c.pass(t, limitedClient(t, p, m, "back"), isOverloaded))
		}
		for _, test := range []struct{ policy, want string }{
			{`services: {back: {BACK, rateLimit: {tokenBucket: {maxTokens: 3, ` + hour + `}}}}`, "map[ann:2 bob:1]"},
			{`services: {back: {BACK, rateLimit: {descriptors: [{entries: [{header: X-User}], tokenBucket: {maxTokens: 2, ` + hour + `}}]}}}`, "map[ann:2 bob:2]"},
			{`services: {back: {BACK, rateLimit: {descriptors: [{entries: [{header: x-user, value: bob}], tokenBucket: {maxTokens: 2, ` + hour + `}}]}}}`, "map[ann:10 bob:2]"},
			{`{services: {back: {BACK, rateLimit: {tokenBucket: {maxTokens: 3, ` + hour + `}}}}, routes: {back: [{to: back, rateLimit: {disabled: true}}]}}`, "map[ann:10 bob:10]"},
			{`{services: {back: {BACK}}, routes: {back: [{to: back, rateLimit: {descriptors: [{entries: [{header: x-user}], tokenBucket: {maxTokens: 2, ` + hour + `}}]}}]}}`, "map[ann:2 bob:2]"},
		} {
			if got := passed(test.policy, slices.Repeat([]string{"ann", "bob"}, 10)...); got != test.want {
				t.Errorf("%s: %s passed, want %s", test.policy, got, test.want)
			}
		}
		l := newLimiter(admits)
		service, _ := l.serve(t)
		if got := passed(`services: {back: {BACK, rateLimit: {service: {target: "`+service.Addr+`", domain: shop, timeout: 60s, failureMode: deny, descriptors: [{entries: [{genericKey: orders}, {header: x-user, key: user}]}]}}}}`, "ann"); got != "map[ann:1]" {
			t.Errorf("%s passed", got)
		}
		if got := strings.Join(l.await(t, 1), " "); got != "shop: generic_key=orders,user=ann" {
			t.Errorf("the service was asked %q", got)
		}
		m := newMesh(t, `routes: {inbound/orders: [{rateLimit: {descriptors: [{entries: [{remoteAddress: true}], tokenBucket: {maxTokens: 4, `+hour+`}}]}}]}`)
		c := localCase{calls: anns}
		if got := c.pass(t, plainClient(t, p, server(t, p, m).Addr), isStatus)["ann"]; got != 4 {
			t.Errorf("a server let %d pass, want 4", got)
		}
	})
}

// TestRateLimitComposite has limits that a composite filter finds go by the route's
// descriptors.
func TestRateLimitComposite(t *testing.T) {
	limit := localLimit(tokens(100), "descriptors: ["+userBucket("", 2)+"]")
	composite := withMatcher(byHeader("exactMatchMap", "x-user", `ann: `+action(`ExecuteFilterAction, typedConfig: {name: l, typedConfig: `+limit+`}`)) + `, onNoMatch: ` + skips)
	eachProtocol(t, func(t *testing.T, p protocol) {
		back := p.backend(t, "back")
		m := newMesh(t, filtering(p.service("back", back), []string{httpFilter("c", composite)}, `{name: front, virtualHosts: [{name: all, domains: ["*"], `+byUser+`, routes: [{name: r, match: {prefix: /}, route: {cluster: back}}]}]}`))
		c := localCase{calls: slices.Repeat([]string{"ann", "bob"}, 5)}
		if got := fmt.Sprint(c.pass(t, limitedClient(t, p, m, "front"), isOverloaded)); got != "map[ann:2 bob:5]" {
			t.Errorf("%s passed", got)
		}
	})
}
