package envoy

import (
	"fmt"
	"strings"
	"testing"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// TestMutations gives the listener header mutation filters, one of which may be
// disabled, and overrides them at all four levels. What the routes change is made up too,
// so that both meet.
func TestMutations(t *testing.T) {
	for _, protocol := range []string{"http1", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			changed, reached := 0, 0
			filtered{
				policies: 8, requests: 40,
				filters: (*generator).mutationFilters, routes: (*generator).mutatedRoutes, request: (*generator).mutatedRequest,
				note: func(r request, a answer) {
					if a.Seen != nil {
						reached++
						if a.Seen.Header.Get("X-M") != "" || a.Seen.Path != r.path {
							changed++
						}
					}
				},
				enough: func() bool { return reached > 320 && changed > 40 },
			}.compare(t, protocol == "grpc")
			t.Logf("%d requests, of which %d were changed plainly", reached, changed)
		})
	}
}

// TestQueryMutations has values, of policy and of a header, that hold what means something
// in a query.
func TestQueryMutations(t *testing.T) {
	set := func(name, value string, action corev3.KeyValueAppend_KeyValueAppendAction) *corev3.KeyValueMutation {
		return &corev3.KeyValueMutation{Append: &corev3.KeyValueAppend{
			Action: action, Record: &corev3.KeyValuePair{Key: name, Value: structpb.NewStringValue(value)},
		}}
	}
	p := setup{filters: []*hcmv3.HttpFilter{{
		Name: "mutations",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &headermutationv3.HeaderMutation{
			Mutations: &headermutationv3.Mutations{QueryParameterMutations: []*corev3.KeyValueMutation{
				set("from-header", "<%REQ(x-v)%>", corev3.KeyValueAppend_APPEND_IF_EXISTS_OR_ADD),
				set("from-policy", "a,&=+ %%41/?:@~!$'();ü", corev3.KeyValueAppend_ADD_IF_ABSENT),
				set("x", "2", corev3.KeyValueAppend_APPEND_IF_EXISTS_OR_ADD),
				set("a+b", "", corev3.KeyValueAppend_OVERWRITE_IF_EXISTS),
				set("a,b/c?:@~!$'();", "", corev3.KeyValueAppend_OVERWRITE_IF_EXISTS_OR_ADD),
			}},
		})},
	}}}.pair(t, false)
	rules := &policy{routes: toCluster("a", nil)}
	rules.cluster(t, "a", false, endpoint(t, newBackend(t, "a")))
	if !p.apply(t, rules) {
		t.Fatalf("both refuse it: %v", p.rejections())
	}
	for _, query := range []string{
		"", "?", "?x=1", "?x", "?%%=1", "?x=1&w&x=3", "?w=a,b;c&&x", "?a+b=1", "?a%2bb=1", "?w=a/b:c@d?e!$'()*~+", "?z=%zz&%z=1", "?from-policy",
	} {
		p.compare(t, request{host: "shop", path: "/p" + query, header: []string{"x-v", `a,&=+%41/?:@~!$'()*;"<>|^{}[]#\`}}, func() string { return "" })
	}
}

// The names of the two filters of a listener.
var mutationNames = []string{"first", "second"}

func (g *generator) mutationFilters() (list []*hcmv3.HttpFilter) {
	for _, name := range mutationNames {
		list = append(list, &hcmv3.HttpFilter{
			Name:     name,
			Disabled: g.one(4),
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(g.t, &headermutationv3.HeaderMutation{
				Mutations: g.mutations(), MostSpecificHeaderMutationsWins: g.one(2),
			})},
		})
	}
	return list
}

// mutatedRoutes makes up a virtual host whose routes differ in what overrides filters.
func (g *generator) mutatedRoutes() *routev3.RouteConfiguration {
	h := &routev3.VirtualHost{Name: "h", Domains: []string{"*"}, TypedPerFilterConfig: g.overrides()}
	rc := &routev3.RouteConfiguration{Name: routesName, TypedPerFilterConfig: g.overrides(), VirtualHosts: []*routev3.VirtualHost{h}}
	rc.RequestHeadersToAdd, rc.RequestHeadersToRemove = g.headerChanges(false)
	rc.ResponseHeadersToAdd, rc.ResponseHeadersToRemove = g.headerChanges(true)
	for i := range 6 {
		r := &routev3.Route{
			Name:                 fmt.Sprint("route-", i),
			Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/" + pick(g, "a", "b", "list", "v1", "A")}},
			TypedPerFilterConfig: g.overrides(),
		}
		if i == 5 {
			r.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
		}
		switch {
		case g.one(6):
			r.Action = &routev3.Route_DirectResponse{DirectResponse: g.directResponse()}
		case !g.grpc && g.one(8):
			r.Action = &routev3.Route_Redirect{Redirect: g.redirect(r.GetMatch())}
		default:
			g.forwards = true
			a := g.routeAction(r.GetMatch())
			for _, c := range a.GetWeightedClusters().GetClusters() {
				c.TypedPerFilterConfig = g.overrides()
			}
			r.Action = &routev3.Route_Route{Route: a}
			r.RequestHeadersToAdd, r.RequestHeadersToRemove = g.headerChanges(false)
			r.ResponseHeadersToAdd, r.ResponseHeadersToRemove = g.headerChanges(true)
			g.forwards = false
		}
		h.Routes = append(h.Routes, r)
	}
	return rc
}

// overrides makes up what one level says of the filters.
func (g *generator) overrides() map[string]*anypb.Any {
	list := map[string]*anypb.Any{}
	for _, name := range mutationNames {
		if !g.one(3) {
			continue
		}
		var config proto.Message = &headermutationv3.HeaderMutationPerRoute{Mutations: g.mutations()}
		switch g.IntN(6) {
		case 0:
			config = &routev3.FilterConfig{Disabled: true}
		case 1:
			config = &routev3.FilterConfig{Config: pack(g.t, config)}
		}
		list[name] = pack(g.t, config)
	}
	return list
}

func (g *generator) mutations() *headermutationv3.Mutations {
	m := &headermutationv3.Mutations{
		RequestMutations:  g.mutationList(false),
		ResponseMutations: g.mutationList(true),
	}
	if g.grpc {
		m.ResponseTrailersMutations = g.mutationList(true)
		return m
	}
	for g.one(2) {
		name := g.param()
		if g.one(4) {
			m.QueryParameterMutations = append(m.QueryParameterMutations, &corev3.KeyValueMutation{Remove: name})
			continue
		}
		m.QueryParameterMutations = append(m.QueryParameterMutations, &corev3.KeyValueMutation{Append: &corev3.KeyValueAppend{
			Action: corev3.KeyValueAppend_KeyValueAppendAction(g.IntN(4)),
			Record: &corev3.KeyValuePair{Key: name, Value: structpb.NewStringValue(g.queryValue())},
		}})
	}
	return m
}

func (g *generator) queryValue() string {
	return pick(g, "v", "", "%REQ(x-none)%", "%REQ(:method)%", "%ROUTE_NAME%", "a.b", "a_b*", "-")
}

func (g *generator) mutationList(response bool) (list []*mutationv3.HeaderMutation) {
	for range g.IntN(4) {
		m := &mutationv3.HeaderMutation{}
		switch g.IntN(6) {
		case 0:
			m.Action = &mutationv3.HeaderMutation_Remove{Remove: g.mutatedHeader(response)}
		case 1:
			m.Action = &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
				KeyMatcher: g.nameMatcher(response),
			}}
		default:
			m.Action = &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
				Header:         &corev3.HeaderValue{Key: g.mutatedHeader(response), Value: g.format(response)},
				AppendAction:   corev3.HeaderValueOption_HeaderAppendAction(g.IntN(4)),
				KeepEmptyValue: g.one(4),
			}}
		}
		list = append(list, m)
	}
	return list
}

func (g *generator) mutatedHeader(response bool) string {
	if g.one(3) {
		return pick(g, "x-m", "X-M")
	}
	return g.changedHeader(response)
}

func (g *generator) nameMatcher(response bool) *matcherv3.StringMatcher {
	name := fold(g.mutatedHeader(response))
	switch g.IntN(4) {
	case 0:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}}
	case 1:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: name[1:]}}
	case 2:
		return &matcherv3.StringMatcher{IgnoreCase: true, MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "X" + name[1:]}}
	default:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "x-[abm]"}}}
	}
}

func (g *generator) mutatedRequest() request {
	r := g.request()
	r.host = "shop"
	if g.grpc {
		for g.one(2) {
			r.header = append(r.header, wantTrailer, pick(g, "x-r=1", "x-m=2&x-s=3", "x-t=", "x-r=1&x-r=2"))
			break
		}
	} else if g.one(3) {
		r.path = g.path() + pick(g, "?q=1&r=2&q=3", "?q", "?q=a+b", "?r=1&&q=2", "?=x", "?q=%zz&r=", "?a;b=c", "?s=1&r=1=2&q=2")
	}
	r.path = strings.ReplaceAll(r.path, "%41", "A") // which Envoy would decode, and not escape again
	return r
}
