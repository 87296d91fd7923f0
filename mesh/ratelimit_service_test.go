package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// limiter is a rate limit service that notes what it is asked, and answers as it is told.
type limiter struct {
	servicev3.UnimplementedRateLimitServiceServer
	answer func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error)

	mu    sync.Mutex
	more  sync.Cond // asked has grown
	asked []string
}

func newLimiter(answer func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error)) *limiter {
	l := &limiter{answer: answer}
	l.more.L = &l.mu
	return l
}

func (l *limiter) ShouldRateLimit(_ context.Context, in *servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
	l.mu.Lock()
	l.asked = append(l.asked, question(in))
	l.more.Broadcast()
	l.mu.Unlock()
	return l.answer(in)
}

// await returns the first n questions.
func (l *limiter) await(t *testing.T, n int) []string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !reached(&l.more, long, func() bool { return len(l.asked) >= n }) {
		t.Fatalf("the service was asked %q, %d times were awaited", l.asked, n)
	}
	return slices.Clone(l.asked)
}

// question is a request in short: "domain: a=1,b=2; c=3".
func question(in *servicev3.RateLimitRequest) string {
	var all []string
	for _, d := range in.GetDescriptors() {
		var entries []string
		for _, e := range d.GetEntries() {
			entries = append(entries, e.GetKey()+"="+e.GetValue())
		}
		one := strings.Join(entries, ",")
		if d.GetHitsAddend() != nil {
			one += fmt.Sprintf(" hits %d", d.GetHitsAddend().GetValue())
		}
		if d.GetIsNegativeHits() {
			one += " back"
		}
		if d.GetLimit() != nil {
			one += fmt.Sprintf(" limit %d/%s", d.GetLimit().GetRequestsPerUnit(), d.GetLimit().GetUnit())
		}
		all = append(all, one)
	}
	return in.GetDomain() + ": " + strings.Join(all, "; ")
}

func admits(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
	return &servicev3.RateLimitResponse{OverallCode: servicev3.RateLimitResponse_OK}, nil
}

// serve starts the service, and returns the fields of a filter that asks it.
func (l *limiter) serve(t *testing.T) (*meshtest.Backend, string) {
	b := meshtest.GRPC(t, func(r grpc.ServiceRegistrar) { servicev3.RegisterRateLimitServiceServer(r, l) })
	return b, limiterAt(b.Addr)
}

func limiterAt(target string) string {
	return `rateLimitService: {transportApiVersion: V3, ` + processorAt(target) + `}`
}

func serviceLimit(fields ...string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, domain: shop, ` + strings.Join(fields, ", ") + `}`
}

// slowly has calls wait for slow machines.
const slowly = "timeout: 60s"

// TestRateLimitService asks a service by the limits of routes, virtual hosts, the filter
// and its overrides, of clients and servers (row Z7).
func TestRateLimitService(t *testing.T) {
	const user = `{actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}]}`
	key := func(value string, more ...string) string {
		return `{actions: [{genericKey: {descriptorValue: ` + value + `}}]` + strings.Join(append([]string{""}, more...), ", ") + `}`
	}
	override := func(fields string) string {
		return override("l", `{"@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute, `+fields+`}`)
	}
	for _, test := range []struct {
		name        string
		filter      []string
		host, route string // of client's routes
		action      string
		want        string // empty if it is not asked
		server      string // what a server asks; "-" if it has no such thing
	}{
		{"nothing", nil, "", "", "", "", ""},
		{"the route's", nil, "", "", "rateLimits: [" + user + "]", "shop: user=ann", "-"},
		{"the virtual host's", nil, "rateLimits: [" + user + "], ", "", "", "shop: user=ann", "shop: user=ann"},
		{"the route's and not the virtual host's", nil, "rateLimits: [" + key("a") + "], ", "", "rateLimits: [" + key("b") + "]", "shop: generic_key=b", "-"},
		{"both", nil, "rateLimits: [" + key("a") + "], ", override("vhRateLimits: INCLUDE"), "rateLimits: [" + key("b") + "]", "shop: generic_key=b; generic_key=a", "-"},
		{"not the virtual host's", nil, "rateLimits: [" + key("a") + "], ", override("vhRateLimits: IGNORE"), "", "", ""},
		{"of another stage", nil, "rateLimits: [" + key("a", "stage: 1") + "], ", "", "", "", ""},
		{"of its stage", []string{"stage: 1"}, "rateLimits: [" + key("a", "stage: 1") + ", " + key("b") + "], ", "", "", "shop: generic_key=a", "shop: generic_key=a"},
		{"the filter's", []string{"rateLimits: [" + key("a") + "]"}, "rateLimits: [" + key("b") + "], ", "", "", "shop: generic_key=a", "shop: generic_key=a"},
		{"the override's", []string{"rateLimits: [" + key("a") + "]"}, "", override("domain: other, rateLimits: [" + key("b") + "]"), "", "other: generic_key=b", "other: generic_key=b"},
		{"internal", []string{"requestType: internal"}, "rateLimits: [" + user + "], ", "", "", "", ""},
		{"external", []string{"requestType: external"}, "rateLimits: [" + user + "], ", "", "", "shop: user=ann", "shop: user=ann"},
		{"not enabled", []string{"filterEnabled: {defaultValue: {numerator: 0}}"}, "rateLimits: [" + user + "], ", "", "", "", ""},
		{"more of a descriptor", []string{`rateLimits: [` + key("a", `hitsAddend: {number: 7, isNegativeHits: true}`, `limit: {rateLimit: {requestsPerUnit: 5, unit: HOUR}}`) + `]`}, "", "", "", "shop: generic_key=a hits 7 back limit 5/HOUR", "shop: generic_key=a hits 7 back limit 5/HOUR"},
		{"metadata of the route", nil, `rateLimits: [{actions: [{metadata: {descriptorKey: team, source: ROUTE_ENTRY, metadataKey: {key: org, path: [{key: team}]}}}]}], `, "metadata: {filterMetadata: {org: {team: blue}}}, ", "", "shop: team=blue", "shop: team=blue"},
		{"the cluster", []string{`rateLimits: [{actions: [{destinationCluster: {}}]}]`}, "", "", "", "shop: destination_cluster=back", "-"},
		{"who calls", []string{`rateLimits: [{actions: [{remoteAddress: {}}, {maskedRemoteAddress: {v4PrefixMaskLen: 8}}]}]`}, "", "", "", "", "shop: remote_address=127.0.0.1,masked_remote_address=127.0.0.0/8"},
		{"at the end", []string{"rateLimits: [" + key("late", "applyOnStreamDone: true") + "]"}, "", "", "", "shop: generic_key=late", "shop: generic_key=late"},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				check := func(side string, want string, call func(fields string) (limitedCaller, *mesh.Mesh)) {
					l := newLimiter(admits)
					service, at := l.serve(t)
					caller, m := call(at)
					got, err := caller(within(t, long), "/shop.Orders/Get", map[string]string{"x-user": "ann"})
					if err != nil || got.Status != 200 && got.Status != 0 {
						t.Fatalf("%s: %+v, %v", side, got, err)
					}
					var asked []string
					if want != "" {
						asked = l.await(t, 1)
					} else {
						_ = m.Close(within(t, long))
						service.Stop()
						asked = l.await(t, 0)
					}
					if got := strings.Join(asked, " | "); got != want {
						t.Errorf("%s asks %q, want %q", side, got, want)
					}
				}
				filters := func(at string) []string {
					return []string{httpFilter("l", serviceLimit(append(slices.Clone(test.filter), at, slowly)...))}
				}
				check("a client", test.want, func(at string) (limitedCaller, *mesh.Mesh) {
					back := p.backend(t, "back")
					m := newMesh(t, filtering(p.service("back", back), filters(at), `{name: front, virtualHosts: [{name: all, domains: ["*"], `+test.host+`routes: [{name: r, match: {prefix: /}, `+test.route+`route: {cluster: back, `+test.action+`}}]}]}`))
					return limitedClient(t, p, m, "front"), m
				})
				if test.server == "-" {
					return
				}
				check("a server", test.server, func(at string) (limitedCaller, *mesh.Mesh) {
					m := newMesh(t, serving(`filterChains: [`+chain("", filters(at), inboundRoutes("", test.host, test.route))+`]`))
					return plainClient(t, p, server(t, p, m).Addr), m
				})
			})
		})
	}
}

// TestRateLimitServiceAnswers does what a service answers.
func TestRateLimitServiceAnswers(t *testing.T) {
	over := &servicev3.RateLimitResponse{
		OverallCode:          servicev3.RateLimitResponse_OVER_LIMIT,
		ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "x-mark", Value: "s"}, {Key: "content-type", Value: "text/x"}, {Key: "transfer-encoding", Value: "bad"}},
		RawBody:              []byte("too much"),
		Statuses: []*servicev3.RateLimitResponse_DescriptorStatus{
			{Code: servicev3.RateLimitResponse_OVER_LIMIT, CurrentLimit: &servicev3.RateLimitResponse_RateLimit{RequestsPerUnit: 5, Unit: servicev3.RateLimitResponse_RateLimit_MINUTE, Name: "five"}, DurationUntilReset: durationpb.New(17e9)},
			{Code: servicev3.RateLimitResponse_OK, CurrentLimit: &servicev3.RateLimitResponse_RateLimit{RequestsPerUnit: 9, Unit: servicev3.RateLimitResponse_RateLimit_DAY}, LimitRemaining: 3},
		},
	}
	told := map[string]string{"x-ratelimit-limit": `5, 5;w=60;name="five", 9;w=86400`, "x-ratelimit-remaining": "0", "x-ratelimit-reset": "17"}
	with := func(more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range told {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	plain := &servicev3.RateLimitResponse{OverallCode: servicev3.RateLimitResponse_OVER_LIMIT}
	failed := func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
		return nil, status.Error(codes.Internal, "broken")
	}
	says := func(r *servicev3.RateLimitResponse) func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
		return func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) { return r, nil }
	}
	passed := limited{Status: 200, Body: "/shop.Orders/Get", Header: map[string]string{}}
	for _, test := range []struct {
		name   string
		answer func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error)
		fields []string
		want   limited // of HTTP
		code   codes.Code
	}{
		{"within", admits, nil, passed, codes.OK},
		{"over", says(plain), nil, limited{429, map[string]string{"x-envoy-ratelimited": "true"}, ""}, codes.Unavailable},
		{"over, told", says(over), []string{"enableXRatelimitHeaders: DRAFT_VERSION_03", "enableRetryAfterHeader: true", "responseHeadersToAdd: [{header: {key: x-mark, value: f}}]"},
			limited{429, with("x-envoy-ratelimited", "true", "x-mark", "s,f", "content-type", "text/x", "retry-after", "17"), "too much"}, codes.Unavailable},
		{"over, otherwise", says(plain), []string{"disableXEnvoyRatelimitedHeader: true", "rateLimitedStatus: {code: 503}", "rateLimitedAsResourceExhausted: true"}, limited{503, map[string]string{}, ""}, codes.ResourceExhausted},
		{"over and not enforced", says(plain), []string{"filterEnforced: {defaultValue: {numerator: 0}}"}, limited{200, map[string]string{"x-envoy-ratelimited": "true"}, "/shop.Orders/Get"}, codes.OK},
		{"failed", failed, nil, passed, codes.OK},
		{"failed, denied", failed, []string{"failureModeDeny: true"}, limited{500, map[string]string{}, ""}, codes.Unknown},
		{"failed, denied otherwise", failed, []string{"failureModeDenyPercent: {defaultValue: {numerator: 100}}", "statusOnError: {code: 503}"}, limited{503, map[string]string{}, ""}, codes.Unavailable},
		{"failed, not denied", failed, []string{"failureModeDeny: true", "failureModeDenyPercent: {defaultValue: {numerator: 0}}"}, passed, codes.OK},
		{"no code", says(&servicev3.RateLimitResponse{}), []string{"failureModeDeny: true"}, limited{500, map[string]string{}, ""}, codes.Unknown},
		{"metadata", says(&servicev3.RateLimitResponse{OverallCode: servicev3.RateLimitResponse_OK, DynamicMetadata: &structpb.Struct{}}), nil, passed, codes.OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				_, at := newLimiter(test.answer).serve(t)
				fields := append([]string{at, slowly, `rateLimits: [{actions: [{genericKey: {descriptorValue: a}}]}]`}, test.fields...)
				m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", serviceLimit(fields...))}, inboundRoutes("", "", ""))+`]`))
				got, err := plainClient(t, p, server(t, p, m).Addr)(within(t, long), "/shop.Orders/Get", nil)
				want := test.want
				if p.name == "grpc" {
					if want.Status, want.Body = -int(test.code), got.Body; test.code != codes.OK {
						want.Header = got.Header
					}
					err = nil
				}
				if want.Body == "" || p.name == "grpc" {
					delete(got.Header, "content-type")
				}
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		})
	}
}

// TestRateLimitServiceGone has calls wait for a service only as long as policy says.
func TestRateLimitServiceGone(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		stuck := make(chan struct{})
		_, at := newLimiter(func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
			<-stuck
			return nil, errors.New("late")
		}).serve(t)
		t.Cleanup(func() { close(stuck) })
		for _, deny := range []bool{false, true} {
			back := p.backend(t, "back")
			m := newMesh(t, filtering(p.service("back", back), []string{httpFilter("l", serviceLimit(at, fmt.Sprintf("failureModeDeny: %v", deny), `rateLimits: [{actions: [{genericKey: {descriptorValue: a}}]}]`))}, levels("", "", "", "")))
			got, _ := limitedClient(t, p, m, "front")(within(t, long), "/shop.Orders/Get", nil)
			if ok := got.Status == 200 || got.Status == 0; ok == deny {
				t.Errorf("denied %v: %+v", deny, got)
			}
		}
	})
}

// TestRateLimitServiceHeaders has a service add headers to requests.
func TestRateLimitServiceHeaders(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		_, at := newLimiter(func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
			return &servicev3.RateLimitResponse{OverallCode: servicev3.RateLimitResponse_OK, RequestHeadersToAdd: []*corev3.HeaderValue{
				{Key: "x-mark", Value: "one"}, {Key: "x-mark", Value: "two"}, {Key: "content-length", Value: "7"}, {Key: "x mark", Value: "bad"},
			}}, nil
		}).serve(t)
		m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", serviceLimit(at, slowly, `rateLimits: [{actions: [{genericKey: {descriptorValue: a}}]}]`))}, inboundRoutes("", "", ""))+`]`))
		if got := ask(within(t, long), t, p, server(t, p, m).Addr, "/shop.Orders/Get"); got.Seen != "one,two" || got.Error != "" {
			t.Errorf("served %+v", got)
		}
	})
}
