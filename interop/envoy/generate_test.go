package envoy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// generator makes up policies and requests. It draws from few words, so that routes
// and requests meet.
type generator struct {
	*rand.Rand
	t    *testing.T
	grpc bool

	clusters []string // to route to
	drains   bool     // sick endpoints are draining
	named    bool     // endpoints have hostnames, all of them
	forwards bool     // what is made up is of a route that sends calls to a cluster
	inbound  bool     // policy is of a server, to which calls come from addresses
}

func newGenerator(t *testing.T, seed uint64, grpc bool, clusters ...string) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0)), t: t, grpc: grpc, clusters: clusters}
}

// one in n.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// The words.

func (g *generator) host() string {
	return pick(g, "shop", "shop.example", "a.shop.example", "api.test", "api.test:8080", "SHOP.example", "x.org", "shopping")
}

func (g *generator) domain() string {
	return pick(g, "shop", "shop.example", "*.shop.example", "*.example", "api.*", "api.test", "api.test:8080", "shop*",
		"*g", "A.shop.Example", "x.org", "*.org", "api.test:*")
}

func (g *generator) segment() string {
	return pick(g, "a", "a", "b", "A", "ab", "a-b", "list", "v1", "x.y")
}

func (g *generator) path() string {
	path := ""
	for range 1 + g.IntN(3) {
		path += "/" + g.segment()
	}
	if g.one(8) {
		path += "/"
	}
	return path
}

func (g *generator) headerName() string { return pick(g, "x-a", "x-b", "X-C", "x-d") }

func (g *generator) value() string {
	return pick(g, "1", "2", "12", "21", "-3", "a", "A", "ab", "a,b", "b a", "")
}

func (g *generator) param() string { return pick(g, "q", "r", "Q") }

// request makes up a call.
func (g *generator) request() request {
	r := request{host: g.host(), path: g.path()}
	if g.grpc {
		r.path = "/" + g.segment() + "." + g.segment() + "/" + g.segment()
		if g.one(3) {
			r.path = "/" + g.segment() + "/" + g.segment()
		}
	} else {
		r.method = pick(g, "GET", "GET", "GET", "POST", "DELETE", "PUT")
		if r.method == "POST" {
			r.body = g.value()
		}
		if g.one(3) {
			r.path += "?" + g.param() + "=" + pick(g, "1", "2", "12", "a", "")
			if g.one(3) {
				r.path += "&" + g.param() + pick(g, "", "=b", "=%41")
			}
		}
		if g.one(16) {
			r.path = "/" // and nothing else
		}
		if g.one(3) {
			r.header = append(r.header, "cookie", pick(g, "c=1", "c=2; d=3", `d="1"; c="a"`, "c=; d"))
		}
		if g.one(5) {
			r.header = append(r.header, wantStatus, pick(g, "201", "404", "500", "503"))
		}
	}
	for range g.IntN(4) {
		name := g.headerName()
		if g.grpc && slices.Contains(r.header, name) {
			continue // gRPC matches several values as one (gRFC A28), Envoy each
		}
		r.header = append(r.header, name, g.value())
	}
	if g.one(2) { // of what may stand in a host and a path, where Envoy passes on whatever it is told
		r.header = append(r.header, "x-word", pick(g, "word", "w:80"))
	}
	if !g.grpc && g.one(8) {
		r.header = append(r.header, "x-forwarded-host", pick(g, "before", "a,shop", r.host))
	}
	for g.one(2) {
		r.header = append(r.header, wantHeader, pick(g, "x-r=1", "x-r=1&x-r=2", "x-s=a&x-r=b", "x-s="))
		break
	}
	return r
}

// routeConfig makes up virtual hosts and routes. A gRPC channel always finds a virtual
// host, by which it learns that the policy is in force.
func (g *generator) routeConfig() *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{
		Name:                               routesName,
		MostSpecificHeaderMutationsWins:    g.one(2),
		IgnorePortInHostMatching:           g.one(3),
		IgnorePathParametersInPathMatching: g.one(3),
	}
	rc.RequestHeadersToAdd, rc.RequestHeadersToRemove = g.headerChanges(false)
	rc.ResponseHeadersToAdd, rc.ResponseHeadersToRemove = g.headerChanges(true)
	taken := map[string]bool{}
	for i := range 1 + g.IntN(4) {
		h := &routev3.VirtualHost{Name: fmt.Sprintf("host-%d", i)}
		for range 1 + g.IntN(3) {
			if d := g.domain(); !taken[fold(d)] {
				taken[fold(d)] = true
				h.Domains = append(h.Domains, d)
			}
		}
		if i == 0 && (g.grpc || g.one(2)) {
			h.Domains = append(h.Domains, "*")
		}
		if len(h.Domains) == 0 {
			continue
		}
		h.RequestHeadersToAdd, h.RequestHeadersToRemove = g.headerChanges(false)
		h.ResponseHeadersToAdd, h.ResponseHeadersToRemove = g.headerChanges(true)
		for j := range g.IntN(8) {
			h.Routes = append(h.Routes, g.route(fmt.Sprintf("route-%d-%d", i, j)))
		}
		rc.VirtualHosts = append(rc.VirtualHosts, h)
	}
	return rc
}

func (g *generator) route(name string) *routev3.Route {
	r := &routev3.Route{Name: name, Match: g.match()}
	defer func() { g.forwards = false }()
	switch {
	case g.one(8):
		r.Action = &routev3.Route_DirectResponse{DirectResponse: g.directResponse()}
	case !g.grpc && g.one(6):
		r.Action = &routev3.Route_Redirect{Redirect: g.redirect(r.GetMatch())}
	default:
		g.forwards = true
		r.Action = &routev3.Route_Route{Route: g.routeAction(r.GetMatch())}
	}
	r.RequestHeadersToAdd, r.RequestHeadersToRemove = g.headerChanges(false)
	r.ResponseHeadersToAdd, r.ResponseHeadersToRemove = g.headerChanges(true)
	return r
}

func (g *generator) directResponse() *routev3.DirectResponseAction {
	d := &routev3.DirectResponseAction{Status: pick(g, uint32(200), 404, 403, 429, 503, 599, 204)}
	if g.grpc || d.GetStatus() != 204 && g.one(2) { // a 204 has none, though Envoy would send it
		d.Body = inline("direct")
	}
	return d
}

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

func (g *generator) routeAction(m *routev3.RouteMatch) *routev3.RouteAction {
	a := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: pick(g, g.clusters...)}}
	if g.one(3) {
		a.ClusterSpecifier = g.weightedClusters()
	}
	g.rewrites(a, m)
	return a
}

func (g *generator) weightedClusters() *routev3.RouteAction_WeightedClusters {
	w := &routev3.WeightedCluster{}
	for _, i := range g.Perm(len(g.clusters))[:2+g.IntN(2)] {
		c := &routev3.WeightedCluster_ClusterWeight{
			Name:   g.clusters[i],
			Weight: wrapperspb.UInt32(pick(g, uint32(1), 2, 3)),
		}
		c.RequestHeadersToAdd, c.RequestHeadersToRemove = g.headerChanges(false)
		c.ResponseHeadersToAdd, c.ResponseHeadersToRemove = g.headerChanges(true)
		if g.one(3) {
			c.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: "cluster.rewritten"}
		}
		w.Clusters = append(w.Clusters, c)
	}
	return &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
}
