package mesh_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// earlyAndLate are limits of which one counts when a call comes, and one when it has ended.
const earlyAndLate = `rateLimits: [{actions: [{genericKey: {descriptorValue: early}}]}, {actions: [{requestHeaders: {headerName: x-user, descriptorKey: late}}], applyOnStreamDone: true}]`

// TestRateLimitLate tells a service of a call when that has ended, and not before, however
// it ended, and whatever the service says to it (row Z7).
func TestRateLimitLate(t *testing.T) {
	const early = "shop: generic_key=early"
	eachProtocol(t, func(t *testing.T, p protocol) {
		var over atomic.Bool
		l := newLimiter(func(in *servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
			code := servicev3.RateLimitResponse_OK
			if over.Load() || question(in) != early {
				code = servicev3.RateLimitResponse_OVER_LIMIT
			}
			return &servicev3.RateLimitResponse{OverallCode: code}, nil
		})
		_, at := l.serve(t)
		back := p.scripted(t, "back", func(n int) act { return act{hang: n == 1} })
		m := newMesh(t, filtering(p.service("back", back.Backend), []string{httpFilter("l", serviceLimit(at, slowly, earlyAndLate))}, levels("", "", "", "")))
		call := limitedClient(t, p, m, "front")
		asked := func(n int, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, l.await(t, n)); diff != "" {
				t.Errorf("the service was asked (-want +got):\n%s", diff)
			}
		}

		ctx, cancel := context.WithCancel(within(t, long))
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = call(ctx, "/shop.Orders/Get", map[string]string{"x-user": "first"}) }()
		if err := back.AwaitCalls(within(t, long), 1); err != nil {
			t.Fatal(err)
		}
		if got, err := call(within(t, long), "/shop.Orders/Get", map[string]string{"x-user": "second"}); err != nil || got.Status != 200 && got.Status != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		asked(3, early, early, "shop: late=second")
		cancel()
		receive(t, "the end of the call", ended)
		asked(4, early, early, "shop: late=second", "shop: late=first")

		over.Store(true)
		if got, _ := call(within(t, long), "/shop.Orders/Get", map[string]string{"x-user": "third"}); got.Status == 200 || got.Status == 0 {
			t.Errorf("over the limit: %+v", got)
		}
		asked(6, early, early, "shop: late=second", "shop: late=first", early, "shop: late=third")
		if n := back.Calls(); n != 2 {
			t.Errorf("%d calls came through, want 2", n)
		}
	})
}

// TestRateLimitSource makes entries of the cluster that the bootstrap says the process is
// of, which none is where it does not say (row Z7).
func TestRateLimitSource(t *testing.T) {
	const limits = `rateLimits: [{actions: [{sourceCluster: {}}, {destinationCluster: {}}]}]`
	eachProtocol(t, func(t *testing.T, p protocol) {
		for _, test := range []struct{ node, want string }{
			{`, "cluster": "web"`, "shop: source_cluster=web,destination_cluster=back"},
			{``, "shop: source_cluster=,destination_cluster=back"},
		} {
			l := newLimiter(admits)
			service, at := l.serve(t)
			cp := meshtest.NewControlPlane(t)
			cp.Apply(filtering(p.service("back", p.backend(t, "back")), []string{httpFilter("l", serviceLimit(at, slowly, limits))}, levels("", "", "", "")))
			m := meshtest.New(t, mesh.WithBootstrap(fmt.Appendf(nil, `{"node": {"id": "test"%s}, "allowed_grpc_services": {%q: {"channel_creds": [{"type": "insecure"}]}},
				"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}]}]}`, test.node, service.Addr, cp.Addr)))
			if got, err := limitedClient(t, p, m, "front")(within(t, long), "/shop.Orders/Get", nil); err != nil || got.Status != 200 && got.Status != 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			if got := strings.Join(l.await(t, 1), " | "); got != test.want {
				t.Errorf("the service is asked %q, want %q", got, test.want)
			}
		}
	})
}

// TestRateLimitServiceTells has responses tell of the limit of which the least is left, if
// that is one to tell of: by the filter's option, or the limit's own (row Z7).
func TestRateLimitServiceTells(t *testing.T) {
	limit := func(code servicev3.RateLimitResponse_Code, requests, left uint32, unit servicev3.RateLimitResponse_RateLimit_Unit, reset time.Duration) *servicev3.RateLimitResponse_DescriptorStatus {
		return &servicev3.RateLimitResponse_DescriptorStatus{Code: code, CurrentLimit: &servicev3.RateLimitResponse_RateLimit{RequestsPerUnit: requests, Unit: unit},
			LimitRemaining: left, DurationUntilReset: durationpb.New(reset)}
	}
	const ok, over = servicev3.RateLimitResponse_OK, servicev3.RateLimitResponse_OVER_LIMIT
	// Of the limits that the call is over, the second lasts longest; of the third more is left.
	statuses := []*servicev3.RateLimitResponse_DescriptorStatus{
		limit(over, 5, 0, servicev3.RateLimitResponse_RateLimit_SECOND, 300*time.Millisecond),
		limit(over, 6, 0, servicev3.RateLimitResponse_RateLimit_MINUTE, 41500*time.Millisecond),
		limit(ok, 7, 3, servicev3.RateLimitResponse_RateLimit_HOUR, time.Hour),
	}
	told := func(limit, retryAfter string) map[string]string {
		all := map[string]string{"x-envoy-ratelimited": "true"}
		if limit != "" {
			all["x-ratelimit-limit"], all["x-ratelimit-remaining"], all["x-ratelimit-reset"] = limit, "0", "0"
		}
		if retryAfter != "" {
			all["retry-after"] = retryAfter
		}
		return all
	}
	const tells, silent = "xRatelimitOption: DRAFT_VERSION_03", "xRatelimitOption: OFF"
	for _, test := range []struct {
		name     string
		filter   string
		options  [3]string
		statuses []*servicev3.RateLimitResponse_DescriptorStatus
		want     map[string]string
	}{
		{"the filter tells", "enableXRatelimitHeaders: DRAFT_VERSION_03", [3]string{}, statuses, told("5, 5;w=1, 6;w=60, 7;w=3600", "")},
		{"it does not", "enableXRatelimitHeaders: OFF", [3]string{}, statuses, told("", "")},
		{"but of the second limit", "enableXRatelimitHeaders: DRAFT_VERSION_03", [3]string{"", silent}, statuses, told("5, 5;w=1, 7;w=3600", "")},
		{"not of the one that counts", "enableXRatelimitHeaders: DRAFT_VERSION_03", [3]string{silent}, statuses, told("", "")},
		{"just of the one that counts", "enableXRatelimitHeaders: OFF", [3]string{tells}, statuses, told("5, 5;w=1", "")},
		{"just of another", "enableXRatelimitHeaders: OFF", [3]string{"", "", tells}, statuses, told("", "")},
		{"when to come back", "enableRetryAfterHeader: true", [3]string{}, statuses, told("", "42")},
		{"when at the soonest", "enableRetryAfterHeader: true", [3]string{}, statuses[:1], told("", "1")},
		{"at once", "enableRetryAfterHeader: true", [3]string{}, []*servicev3.RateLimitResponse_DescriptorStatus{{Code: over}}, told("", "1")},
		{"over none that it names", "enableRetryAfterHeader: true", [3]string{}, statuses[2:], told("", "")},
		{"of another status", "enableRetryAfterHeader: true, rateLimitedStatus: {code: 503}", [3]string{}, statuses, told("", "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				_, at := newLimiter(func(*servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
					return &servicev3.RateLimitResponse{OverallCode: over, Statuses: test.statuses}, nil
				}).serve(t)
				var limits []string
				for i, option := range test.options {
					limits = append(limits, fmt.Sprintf(`{actions: [{genericKey: {descriptorValue: "%d"}}], %s}`, i, option))
				}
				// A gRPC call that is refused has no headers to tell by.
				enforced := ""
				if p.name == "grpc" {
					enforced = ", filterEnforced: {defaultValue: {numerator: 0}}"
				}
				config := serviceLimit(at, slowly, test.filter+enforced, "rateLimits: ["+strings.Join(limits, ", ")+"]")
				m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", config)}, inboundRoutes("", "", ""))+`]`))
				got, err := plainClient(t, p, server(t, p, m).Addr)(within(t, long), "/shop.Orders/Get", nil)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got.Header); diff != "" {
					t.Errorf("answered with the headers (-want +got):\n%s", diff)
				}
			})
		})
	}
}
