package envoy

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	insecurev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/insecure/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/interop/internal/seeded"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

const localLimitFilter = "envoy.filters.http.local_ratelimit"

// limitedRoutes is a policy with one limited route for all requests, by limits of the
// route and the virtual host, and an override.
func (g *generator) limitedRoutes(cluster, filter string, override proto.Message, local bool) *routev3.RouteConfiguration {
	r := &routev3.Route{
		Name: "r", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Metadata: limitMetadata(),
		Action:   &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, RateLimits: g.rateLimits(false, local)}},
	}
	if g.inbound { // where routes have no action to say it in
		r.GetRoute().RateLimits = nil
	}
	if override != nil {
		r.TypedPerFilterConfig = map[string]*anypb.Any{filter: pack(g.t, override)}
	}
	// Whoever waits for the next policy has no part in this one.
	notYet := &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/oracle."}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 404, Body: inline("not yet")}},
	}
	return &routev3.RouteConfiguration{Name: routesName, VirtualHosts: []*routev3.VirtualHost{{
		Name: "h", Domains: []string{"*"}, RateLimits: g.rateLimits(false, local), Routes: []*routev3.Route{notYet, r},
	}}}
}

// limitedPair is one of clients or of servers.
func (s setup) limitedPair(t *testing.T, g *generator) *pair {
	if g.inbound {
		return s.inboundPair(t, g.grpc)
	}
	return s.pair(t, g.grpc, "shop")
}

// TestLocalLimits has requests in the same order take from buckets that do not fill, and
// expects the same ones to pass, with the same told of the buckets.
func TestLocalLimits(t *testing.T) {
	const policies, requests = 40, 25
	for _, where := range []string{"http1", "grpc", "http1 server", "grpc server"} {
		t.Run(where, func(t *testing.T) {
			g := newGenerator(t, seeded.Seed(t), strings.HasPrefix(where, "grpc"), "a")
			g.inbound = strings.HasSuffix(where, "server")
			p := setup{filters: []*hcmv3.HttpFilter{{
				Name:       localLimitFilter,
				ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &localratelimitv3.LocalRateLimit{StatPrefix: "l"})},
			}}}.limitedPair(t, g)
			backend := newBackend(t, "a")
			passed, refused := 0, 0
			enough := func() bool { return passed > requests && refused > requests }
			for n := 0; n < policies || !enough() && n < unlucky*policies; n++ {
				config := g.localLimit()
				rules := &policy{routes: g.limitedRoutes("a", localLimitFilter, config, true)}
				rules.cluster(t, "a", g.grpc, endpoint(t, backend))
				if !p.apply(t, rules) {
					t.Logf("both refuse it: %v", p.rejections())
					continue
				}
				for n := range requests {
					a := p.compare(t, g.limitedRequest(), func() string { return fmt.Sprint("request ", n, "\n", describe(rules.routes)) })
					if a.Seen != nil {
						passed++
					} else {
						refused++
					}
					if t.Failed() {
						return
					}
				}
			}
			t.Logf("%d requests passed, %d were refused", passed, refused)
			if !enough() {
				t.Error("too few: the generator is no good")
			}
		})
	}
}

// limitService is a rate limit service: what it answers follows from what it is asked.
type limitService struct {
	servicev3.UnimplementedRateLimitServiceServer

	mu    sync.Mutex
	asked map[string]int
}

func (s *limitService) ShouldRateLimit(_ context.Context, in *servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
	question, err := protojson.MarshalOptions{}.Marshal(in)
	if err != nil {
		return nil, err
	}
	text, err := canonical(question)
	s.mu.Lock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[text]++
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return limitAnswer(text)
}

// count counts what it was asked, by question.
func (s *limitService) count() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}

// sameQuestions waits until two services were asked the same, since they began: about calls
// that have ended they are asked late. It returns the difference if they never are.
func sameQuestions(a, b *limitService) (diff string) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(long / 4); ; <-tick.C {
		if diff = gocmp.Diff(a.count(), b.count()); diff == "" || time.Now().After(deadline) {
			return diff
		}
	}
}

// limitAnswer makes up an answer, the same for the same question.
func limitAnswer(question string) (*servicev3.RateLimitResponse, error) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(question))
	n := h.Sum64()
	if n%8 == 0 {
		return nil, status.Error(codes.Unavailable, "made up")
	}
	m := &servicev3.RateLimitResponse{OverallCode: servicev3.RateLimitResponse_OK}
	if n%8 < 4 {
		m.OverallCode = servicev3.RateLimitResponse_OVER_LIMIT
	}
	for i := range n / 8 % 3 {
		code := servicev3.RateLimitResponse_OK
		if m.GetOverallCode() == servicev3.RateLimitResponse_OVER_LIMIT && i == 0 {
			code = servicev3.RateLimitResponse_OVER_LIMIT
		}
		one := &servicev3.RateLimitResponse_DescriptorStatus{Code: code, LimitRemaining: uint32(n / 64 % 3), DurationUntilReset: durationpb.New(time.Duration(n/16%100) * time.Second)}
		if n/128%4 > 0 {
			one.CurrentLimit = &servicev3.RateLimitResponse_RateLimit{RequestsPerUnit: uint32(n % 50), Unit: servicev3.RateLimitResponse_RateLimit_Unit((n/256 + i) % 8)}
			if n/512%2 == 0 {
				one.CurrentLimit.Name = "named"
			}
		}
		m.Statuses = append(m.Statuses, one)
	}
	if n/1024%2 == 0 {
		m.ResponseHeadersToAdd = []*corev3.HeaderValue{{Key: "X-R", Value: "service"}, {Key: "x-r", Value: "again"}}
		m.RequestHeadersToAdd = []*corev3.HeaderValue{{Key: "x-z", Value: "service"}}
	}
	if n/2048%2 == 0 {
		m.RawBody = []byte("raw")
	}
	return m, nil
}

// serve starts it.
func (s *limitService) serve(t *testing.T) *meshtest.Backend {
	return meshtest.GRPC(t, func(r grpc.ServiceRegistrar) { servicev3.RegisterRateLimitServiceServer(r, s) })
}

const serviceLimitFilter = "envoy.filters.http.ratelimit"

// TestServiceLimits has both ask a service each, and expects the same questions and, as
// the services give the same answers, the same to become of the requests.
func TestServiceLimits(t *testing.T) {
	const listeners, policies, requests = 4, 8, 25
	for _, where := range []string{"http1", "grpc", "http1 server", "grpc server"} {
		t.Run(where, func(t *testing.T) {
			g := newGenerator(t, seeded.Seed(t), strings.HasPrefix(where, "grpc"), "a")
			g.inbound = strings.HasSuffix(where, "server")
			backend := newBackend(t, "a")
			asked, refused := 0, 0
			enough := func() bool { return asked > requests && refused > 0 }
			for n := 0; n < listeners || !enough() && n < unlucky*listeners; n++ {
				services := [2]*limitService{{}, {}}
				config := g.serviceLimit()
				filter := func(s *limitService, credentials ...*anypb.Any) []*hcmv3.HttpFilter {
					one := proto.CloneOf(config)
					one.RateLimitService = limitServiceAt(s.serve(t).Addr, credentials...)
					return []*hcmv3.HttpFilter{{Name: serviceLimitFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, one)}}}
				}
				p := setup{filters: filter(services[0])}.limitedPair(t, g)
				p.filters = filter(services[1], pack(t, &insecurev3.InsecureCredentials{}))
				for range policies {
					rules := &policy{routes: g.limitedRoutes("a", serviceLimitFilter, g.serviceLimitOverride(), false)}
					rules.cluster(t, "a", g.grpc, endpoint(t, backend))
					if !p.apply(t, rules) {
						t.Logf("both refuse it: %v", p.rejections())
						continue
					}
					for range requests {
						why := func() string { return fmt.Sprint(config, "\n", describe(rules.routes)) }
						r := g.limitedRequest()
						a := p.compare(t, r, why)
						if diff := sameQuestions(services[0], services[1]); diff != "" {
							t.Errorf("%+v: the services were asked (-by Envoy +by Weft):\n%s\n%s", r, diff, why())
						}
						if a.Seen == nil {
							refused++
						}
						if t.Failed() {
							return
						}
					}
				}
				for _, n := range services[0].count() {
					asked += n
				}
			}
			t.Logf("%d requests were asked about, %d refused", asked, refused)
			if !enough() {
				t.Error("too few: the generator is no good")
			}
		})
	}
}
