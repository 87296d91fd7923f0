package policy

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// TestRandomPolicies compiles policies that are valid by construction, and holds
// their resources to what clients demand of them.
func TestRandomPolicies(t *testing.T) {
	for seed := range uint64(150) {
		p := randomPolicy(rand.New(rand.NewPCG(seed, 1)))
		resources, err := p.Compile()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		again, err := randomPolicy(rand.New(rand.NewPCG(seed, 1))).Compile()
		if err != nil || again.Version() != resources.Version() {
			t.Fatalf("seed %d: compiled again, the version is %s, not %s: %v", seed, again.Version(), resources.Version(), err)
		}
		for _, problem := range incoherences(resources) {
			t.Errorf("seed %d: %s", seed, problem)
		}
		if t.Failed() {
			return
		}
	}
}

// incoherences lists what a client would refuse, or would ask for in vain.
func incoherences(resources *Resources) (list []string) {
	bad := func(res *Resource, format string, args ...any) {
		list = append(list, fmt.Sprintf("%s %q: ", shortType(res.TypeURL), res.Name)+fmt.Sprintf(format, args...))
	}
	for res := range resources.All() {
		m, err := res.Body.UnmarshalNew()
		if err != nil {
			bad(res, "%v", err)
			continue
		}
		if typeURL, name, _ := resourceName(m); typeURL != res.TypeURL || name != res.Name {
			bad(res, "it holds the %s %q", typeURL, name)
		}
		for _, problem := range problems(m) {
			bad(res, "%s", problem)
		}
		switch m := m.(type) {
		case *listenerv3.Listener:
			hcm := new(hcmv3.HttpConnectionManager)
			if chains := m.GetFilterChains(); len(chains) == 1 { // a server's
				if err := chains[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(hcm); err != nil || hcm.GetRouteConfig() == nil {
					bad(res, "%v, routes %v", err, hcm.GetRouteConfig())
				}
				continue
			}
			if err := m.GetApiListener().GetApiListener().UnmarshalTo(hcm); err != nil {
				bad(res, "%v", err)
			} else if name := hcm.GetRds().GetRouteConfigName(); resources.Get(RouteType, name) == nil {
				bad(res, "there is no route configuration %q", name)
			}
		case *routev3.RouteConfiguration:
			for _, route := range m.GetVirtualHosts()[0].GetRoutes() {
				if route.GetRoute() == nil {
					continue // it answers itself
				}
				names := []string{route.GetRoute().GetCluster()}
				if weighted := route.GetRoute().GetWeightedClusters(); weighted != nil {
					names = nil
					for _, c := range weighted.GetClusters() {
						names = append(names, c.GetName())
					}
				}
				if route.GetRoute().GetClusterHeader() != "" {
					names = nil // the calls say
				}
				for _, m := range route.GetRoute().GetRequestMirrorPolicies() {
					names = append(names, m.GetCluster())
				}
				for _, name := range names {
					if resources.Get(ClusterType, name) == nil {
						bad(res, "there is no cluster %q", name)
					}
				}
			}
		case *clusterv3.Cluster:
			if m.GetType() == clusterv3.Cluster_EDS && resources.Get(EndpointType, m.GetName()) == nil {
				bad(res, "there are no endpoints %q", m.GetName())
			}
		case *endpointv3.ClusterLoadAssignment:
			next := uint32(0)
			for _, l := range m.GetEndpoints() {
				if l.GetPriority() > next {
					bad(res, "there is no priority %d", next)
				}
				next = max(next, l.GetPriority()+1)
				if l.GetLocality() == nil || l.GetLoadBalancingWeight().GetValue() == 0 {
					bad(res, "a locality lacks its name or weight: %v", l)
				}
			}
		}
	}
	return list
}

// randomPolicy makes a policy that is valid.
func randomPolicy(r *rand.Rand) *Policy {
	p := &Policy{Services: make(map[string]*Service), Routes: make(map[string][]*Route)}
	for i := range 1 + r.IntN(5) {
		p.Services[fmt.Sprintf("s%d", i)] = randomService(r)
	}
	var names []string
	for _, service := range sortedKeys(p.Services) {
		names = append(names, service)
		for _, subset := range sortedKeys(p.Services[service].Subsets) {
			names = append(names, service+"/"+subset)
		}
	}
	for _, host := range append(sortedKeys(p.Services), "shop.example:8080") {
		if r.IntN(3) == 0 {
			continue
		}
		for range 1 + r.IntN(4) {
			p.Routes[host] = append(p.Routes[host], randomRoute(r, names))
		}
	}
	if r.IntN(2) == 0 {
		p.Resources = append(p.Resources, proto.Message(&clusterv3.Cluster{Name: "raw"}))
		p.Routes["raw"] = []*Route{{To: Destinations{"raw": 1}}}
	}
	return p
}

func randomService(r *rand.Rand) *Service {
	s := &Service{
		Protocol:       pick(r, "", HTTP, HTTP2, GRPC),
		ConnectTimeout: maybe(r, time.Duration(1+r.IntN(1e9))),
		Balance:        &Balance{Policy: pick(r, "", RoundRobin, Random, LeastRequest, PickFirst, RingHash, Maglev)},
	}
	if s.Balance.Policy == LeastRequest {
		s.Balance.ChoiceCount = maybe(r, 2+r.Uint32N(10))
	}
	if s.Balance.Policy == RingHash {
		s.Balance.MinimumRingSize = maybe(r, 1+r.Uint32N(1024))
	}
	if r.IntN(2) == 0 {
		s.Limits = &Limits{
			MaxConnections: maybe(r, r.Uint32()), MaxPendingRequests: maybe(r, r.Uint32()), MaxRequests: maybe(r, r.Uint32()),
			High:            maybe(r, HighLimits{MaxRequests: maybe(r, r.Uint32()), MaxRetries: maybe(r, r.Uint32())}),
			RetryThrottling: maybe(r, RetryThrottling{MaxTokens: 1 + r.Uint32N(1000), TokenRatio: 1000 + Fraction(r.Uint32N(999_000))}),
		}
		if r.IntN(2) == 0 {
			s.Limits.MaxRetries = maybe(r, r.Uint32())
		} else {
			s.Limits.RetryBudget = &RetryBudget{BudgetPercent: maybe(r, Fraction(r.Uint32N(1_000_001))), MinRetryConcurrency: maybe(r, r.Uint32())}
		}
	}
	if r.IntN(2) == 0 {
		s.OutlierDetection = &OutlierDetection{
			Consecutive5xx: maybe(r, r.Uint32N(3)), ConsecutiveGatewayFailure: maybe(r, r.Uint32N(3)),
			Interval: maybe(r, time.Second), BaseEjectionTime: maybe(r, time.Second),
			MaxEjectionPercent: maybe(r, r.Uint32N(101)), SuccessRate: maybe(r, r.IntN(2) == 0),
		}
	}
	s.Breaker = maybe(r, Breakers{Endpoint: maybe(r, Breaker{OpenTime: maybe(r, time.Second), Probes: maybe(r, 1+r.Uint32N(9))}),
		Cluster: &Breaker{ConsecutiveFailures: maybe(r, 1+r.Uint32N(9)), FailurePercent: new(1 + Fraction(r.Uint32N(1_000_000))), MinimumRequests: maybe(r, r.Uint32()), Interval: maybe(r, time.Minute)}})
	if r.IntN(4) == 0 {
		s.Discover = &Discover{DNS: "x.example:80", Mode: pick(r, "", DNSStrict, DNSLogical), Refresh: maybe(r, time.Minute)}
		return s
	}
	s.Endpoints = []*Endpoint{}
	priorities := 1 + r.Uint32N(3)
	for i := range r.IntN(8) {
		s.Endpoints = append(s.Endpoints, &Endpoint{
			Address:  fmt.Sprintf("192.0.2.%d:80", i+1),
			Region:   pick(r, "", "eu", "us"),
			Zone:     pick(r, "", "a", "b"),
			Priority: uint32(i) % priorities,
			Weight:   maybe(r, 1+r.Uint32N(1000)),
			Health:   pick(r, "", HealthHealthy, HealthUnhealthy, HealthDraining, HealthTimeout, HealthDegraded),
			Labels:   Labels{"version": pick(r, "v1", "v2"), "tier": pick(r, "x", "y")},
		})
	}
	if s.Balance.Policy != PickFirst && len(s.Endpoints) > 0 && r.IntN(3) == 0 {
		s.Balance.LocalityWeights = make(map[string]uint32)
		for _, e := range s.Endpoints {
			s.Balance.LocalityWeights[e.locality()] = 1 + r.Uint32N(100)
		}
	}
	s.Subsets = map[string]Labels{"v1": {"version": "v1"}, "v2x": {"version": "v2", "tier": "x"}}
	return s
}

func randomRoute(r *rand.Rand, names []string) *Route {
	route := &Route{
		Name: pick(r, "", "a", "b"), To: make(Destinations),
		Timeout: maybe(r, time.Duration(r.IntN(1e9))), MaxStreamDuration: maybe(r, time.Duration(r.IntN(1e9))),
	}
	if r.IntN(3) == 0 {
		route.Hash = []*Hash{{Header: "X-User", Terminal: true}, {Cookie: &HashCookie{Name: "s", TTL: new(time.Hour), Path: "/"}}, {Query: "q"}, {Channel: true}}
	}
	for range 1 + r.IntN(3) {
		route.To[names[r.IntN(len(names))]] = 1 + r.Uint32N(100)
	}
	if r.IntN(2) == 0 {
		randomRetry(r, route)
	}
	if r.IntN(3) == 0 {
		return route
	}
	route.Match = &Match{
		Method:   pick(r, "", "GET", "POST"),
		Fraction: maybe(r, Fraction(r.Uint32N(1_000_001))),
		Path: pick(r, nil, &PathMatch{Prefix: new("/a"), IgnoreCase: true}, &PathMatch{Exact: new("/a/b")},
			&PathMatch{Regex: new("/[a-z]+")}, &PathMatch{SeparatedPrefix: new("/a")}, &PathMatch{Template: new("/a/{b}/**")}),
		Headers: map[string]*HeaderMatch{
			"x-a": pick(r, &HeaderMatch{Exact: new("")}, &HeaderMatch{Prefix: new("p"), Invert: true}, &HeaderMatch{Suffix: new("s")},
				&HeaderMatch{Regex: new("a|b")}, &HeaderMatch{Present: new(false)}, &HeaderMatch{Range: &Range{-1, 1}}),
		},
		Query: map[string]*QueryMatch{
			"q": pick(r, &QueryMatch{Contains: new("x"), IgnoreCase: true}, &QueryMatch{Present: new(true)}, &QueryMatch{Regex: new("a|b")}),
		},
	}
	return route
}

func randomRetry(r *rand.Rand, route *Route) {
	route.Priority = pick(r, "", PriorityDefault, PriorityHigh)
	route.Timeout = nil
	route.Retry = &Retry{
		Attempts: maybe(r, 2+r.Uint32N(5)), On: pick(r, nil, []RetryOn{On5xx}, []RetryOn{OnUnavailable, OnReset}),
		StatusCodes: pick(r, nil, []uint32{409, 503}), Headers: pick(r, nil, map[string]*HeaderMatch{"x-a": {Present: new(true)}}),
		Methods: pick(r, nil, []string{"GET", "HEAD"}), PerTryTimeout: maybe(r, time.Second), PerTryIdleTimeout: maybe(r, time.Second),
		BackOff:       maybe(r, BackOff{BaseInterval: maybe(r, time.Millisecond), MaxInterval: maybe(r, time.Second)}),
		PreviousHosts: maybe(r, r.IntN(2) == 0), BufferLimit: maybe(r, r.Uint32()),
		OmitHosts:          pick(r, nil, []Labels{{"version": "v1"}}, []Labels{{"tier": "x"}, {"version": "v2", "tier": "y"}}),
		RateLimitedBackOff: maybe(r, RateLimitedBackOff{ResetHeaders: map[string]ResetFormat{"retry-after": ResetSeconds, "x-b": ResetUnixTimestamp}}),
	}
	if r.IntN(2) == 0 {
		route.Hedge = &Hedge{Delay: new(time.Second), Quantile: maybe(r, 1+Fraction(r.Uint32N(999_998))), OnPerTryTimeout: route.Retry.PerTryTimeout != nil}
	}
}

func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

func maybe[T any](r *rand.Rand, value T) *T {
	if r.IntN(2) == 0 {
		return nil
	}
	return &value
}
