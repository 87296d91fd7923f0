package resolver_test

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/resolver"
)

// fuzzDecoder has a decoder read anything at all: it must not panic, nor give both a
// value and an error, and what it says of a resource must have a text.
func fuzzDecoder(f *testing.F, typeURL string, seeds ...[]byte) {
	for _, recording := range []string{"istio-echo-grpc", "istio-echo-envoy", "istio-echo-inbound"} {
		for _, r := range recorded(f, recording, allTypes)[typeURL] {
			f.Add(r.Raw)
		}
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	decode := decoderOf(f, resolver.Types(resolver.TypesConfig{Warnings: resolver.NewWarnings(nil)}), typeURL)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, value, err := decode(raw)
		if (err == nil) != (value != nil) {
			t.Errorf("value %v and error %v", value, err)
		}
		if err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}

func FuzzListener(f *testing.F) {
	fuzzDecoder(f, resolver.ListenerURL, marshal(inlineListener("l", simpleRoutes("r", "c"), 1)))
}

func FuzzRouteConfiguration(f *testing.F) { fuzzDecoder(f, resolver.RouteConfigURL) }

func FuzzCluster(f *testing.F) {
	for _, json := range healthClusters {
		f.Add(marshal(parse(f, &clusterv3.Cluster{}, json)))
	}
	fuzzDecoder(f, resolver.ClusterURL, marshal(staticCluster("c", "192.0.2.1")), marshal(parse(f, &clusterv3.Cluster{}, `{"name": "c", `+eds+`,
		"loadBalancingPolicy": {"policies": [{"typedExtensionConfig": {"name": "x", "typedConfig": {
		"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.maglev.v3.Maglev"}}}]}}`)))
}

func FuzzClusterLoadAssignment(f *testing.F) { fuzzDecoder(f, resolver.EndpointsURL) }

func FuzzSecret(f *testing.F) { fuzzDecoder(f, resolver.SecretURL, []byte("\n\x01a")) }

// FuzzTable routes a request by any route configuration that is accepted.
func FuzzTable(f *testing.F) {
	for _, recording := range []string{"istio-echo-grpc", "istio-echo-envoy"} {
		for _, r := range recorded(f, recording, allTypes)[resolver.RouteConfigURL] {
			f.Add(r.Raw, "echo.mesh.local:8080", "/proto.Echo/x?q=1", "x-canary", "1", true)
		}
	}
	for _, route := range changingRoutes {
		f.Add(marshal(parse(f, &routev3.RouteConfiguration{}, routeJSON(route))), "a:80", "/a/b?c", "x", "y", false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, authority, target, header, value string, grpc bool) {
		var rc routev3.RouteConfiguration
		if proto.Unmarshal(raw, &rc) != nil || rc.GetName() == "" {
			return
		}
		if _, err := decode(t, &rc); err != nil {
			return
		}
		path, query, _ := strings.Cut(target, "?")
		sent := headers{strings.ToLower(header): {value}}
		request := &resolver.Request{Authority: authority, Path: path, RawQuery: query, GRPC: grpc, Headers: sent}
		table := routesTable(t, &rc)
		route, err := table.Route(request)
		if again, _ := table.Route(request); again != route && !takesByChance(&rc) {
			t.Errorf("%+v is routed to %v, and then to %v", request, route, again)
		}
		if err != nil {
			return
		}
		if a := route.Answer(); a != nil {
			a.Location(request, "HTTP/2")
			a.Change().Response(request, sent, "HTTP/2", a.Status)
			return
		}
		to, err := route.Pick()
		if err != nil {
			return
		}
		if (to.Cluster == nil) != to.NamedByCall() {
			t.Errorf("cluster %v, named by the call: %t", to.Cluster, to.NamedByCall())
		}
		change := to.Change
		if change.ChangesRequest(grpc) {
			change.Request(request, sent, "HTTP/2")
		}
		if change.ChangesResponse() {
			change.Response(request, sent, "HTTP/2", 200)
		}
	})
}

// takesByChance reports whether a route takes a share of the requests.
func takesByChance(rc *routev3.RouteConfiguration) bool {
	return slices.ContainsFunc(rc.GetVirtualHosts(), func(h *routev3.VirtualHost) bool {
		return slices.ContainsFunc(h.GetRoutes(), func(r *routev3.Route) bool { return r.GetMatch().GetRuntimeFraction() != nil })
	})
}

// FuzzMatching holds the compiled matcher against a scan, for any seed of the
// property test's generator.
func FuzzMatching(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		g := generator{rand.New(rand.NewPCG(a, b))}
		rc := g.routeConfig()
		table := routesTable(t, rc)
		for range 20 {
			compareWithScan(t, rc, table, g.request())
		}
	})
}

// FuzzRegexRoute: routes with regular expressions are found by what their matches
// start with, which must not lose any.
func FuzzRegexRoute(f *testing.F) {
	for _, expr := range []string{"/a/.*", "^/a(b|c)+$", "(?i)/a", "(/a|/b)x", "/a*", "\xff", "\uFFFD", "/(?:ab){2}", `\Q/a.b\E`, "/a|", "(?s:/.)+", "/[a]b"} {
		f.Add(expr, "/ab")
	}
	f.Fuzz(func(t *testing.T, expr, path string) {
		re, err := regexp.Compile(`^(?:` + expr + `)$`)
		if err != nil || len(expr) > 100 || !utf8.ValidString(expr) {
			return
		}
		rc := simpleRoutes("r", "c")
		rc.VirtualHosts[0].Routes[0].Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: expr}}
		if _, err := decode(t, rc); err != nil {
			return // as for "a)|(b", which is good only between the parentheses
		}
		_, err = routesTable(t, rc).Route(&resolver.Request{Path: path})
		if want := re.MatchString(path); want != (err == nil) {
			t.Errorf("%q matches %q: %t, but Route says %v", expr, path, want, err)
		}
	})
}

// FuzzTemplate: a template that is accepted must work, and a path without anything
// special match the template that it is.
func FuzzTemplate(f *testing.F) {
	for _, template := range []string{"/a/*/b", "/{x}/y", "/**.mpd", "/v{a=b/*}c", "/{a=**}"} {
		f.Add(template)
	}
	f.Fuzz(func(t *testing.T, template string) {
		if !utf8.ValidString(template) {
			return
		}
		rc := simpleRoutes("r", "c")
		rc.VirtualHosts[0].Routes[0].Match = parse(t, &routev3.RouteMatch{}, `{"pathMatchPolicy": {"name": "t"}}`)
		rc.VirtualHosts[0].Routes[0].Match.GetPathMatchPolicy().TypedConfig = uriTemplate(template)
		if _, err := decode(t, rc); err != nil {
			return
		}
		table := routesTable(t, rc)
		// One that the template makes: every operator stands for a letter.
		path := regexp.MustCompile(`\{[^=}]*\}`).ReplaceAllString(template, "x")
		path = regexp.MustCompile(`\{[^=}]*=([^}]*)\}`).ReplaceAllString(path, "$1")
		path = strings.ReplaceAll(path, "*", "x")
		if _, err := table.Route(&resolver.Request{Path: path}); err != nil {
			t.Errorf("template %q does not match %q: %v", template, path, err)
		}
	})
}
