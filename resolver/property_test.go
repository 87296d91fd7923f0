package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weft-mesh/weft/resolver"
)

// TestCompiledMatchingIsAScan holds the compiled matcher against a scan of the
// policy as it was written, over random tables and requests. The alphabet is small,
// so that routes overlap and shadow one another in every way.
func TestCompiledMatchingIsAScan(t *testing.T) {
	seed := rand.Uint64()
	tables := 150
	if testing.Short() {
		tables = 30
	}
	for n := range tables {
		g := generator{rand.New(rand.NewPCG(seed, uint64(n)))}
		rc := g.routeConfig()
		table := routesTable(t, rc)
		for range 200 {
			compareWithScan(t, rc, table, g.request())
		}
		if t.Failed() {
			t.Fatalf("seed %d, table %d", seed, n)
		}
	}
}

func compareWithScan(t *testing.T, rc *routev3.RouteConfiguration, table *resolver.Table, r *resolver.Request) {
	t.Helper()
	escaped := *r
	if r.Unescaped {
		escaped.Path = (&url.URL{Path: r.Path}).EscapedPath()
	}
	want := scan(rc, &escaped)
	route, err := table.Route(r)
	switch {
	case err != nil && want != "":
		t.Errorf("%+v: %v; a scan finds %q in\n%s", r, err, want, rc)
	case err == nil && route.Name != want:
		t.Errorf("%+v is routed to %q; a scan finds %q in\n%s", r, route.Name, want, rc)
	}
}

// generator makes policy and requests.
type generator struct{ *rand.Rand }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

func (g generator) routeConfig() *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: "r", IgnorePortInHostMatching: g.IntN(2) == 0}
	domains := map[string]bool{}
	for h := range 1 + g.IntN(6) {
		vh := &routev3.VirtualHost{Name: fmt.Sprint("h", h)}
		for range 1 + g.IntN(3) {
			domain := g.text("ab.", 3)
			domain = pick(g, domain, "*"+domain, domain+"*", "*", strings.ToUpper(domain), domain+":1")
			if !domains[strings.ToLower(domain)] {
				domains[strings.ToLower(domain)] = true
				vh.Domains = append(vh.Domains, domain)
			}
		}
		if len(vh.Domains) == 0 {
			continue
		}
		for i := range pick(g, 1, 3, 10, 40) {
			vh.Routes = append(vh.Routes, &routev3.Route{
				Name:   fmt.Sprintf("%s/%d", vh.Name, i),
				Match:  g.match(),
				Action: routeTo("c"),
			})
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
	}
	return rc
}

// text is up to n characters of an alphabet.
func (g generator) text(alphabet string, n int) string {
	b := make([]byte, g.IntN(n+1))
	for i := range b {
		b[i] = alphabet[g.IntN(len(alphabet))]
	}
	return string(b)
}

// path is any, or one of a few that many routes and requests have.
func (g generator) path() string {
	return pick(g, "/"+g.text("abA/", 6), "/"+g.text("abA/", 6), "/"+g.text("ab", 1), "/a%20b")
}

func (g generator) match() *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	switch g.IntN(5) {
	case 0, 1:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: g.path()}
	case 2:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: pick(g, g.path(), "/", "")}
	case 3:
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimRight(g.path(), "/") + "a"}
	case 4:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: g.regex()}}
	}
	if g.IntN(3) == 0 {
		m.CaseSensitive = wrapperspb.Bool(g.IntN(2) == 0)
	}
	for range pick(g, 0, 0, 1, 1, 2) {
		m.Headers = append(m.Headers, g.header())
	}
	if g.IntN(8) == 0 {
		q := &routev3.QueryParameterMatcher{Name: pick(g, "q", "p")}
		if g.IntN(2) == 0 {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: g.IntN(2) == 0}
		} else {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: g.stringMatch()}
		}
		m.QueryParameters = append(m.QueryParameters, q)
	}
	if g.IntN(8) == 0 {
		m.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	}
	if g.IntN(10) == 0 { // all or none, or the outcome would be chance
		m.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: pick[uint32](g, 0, 100)}}
	}
	return m
}

func (g generator) regex() string {
	part := func() string { return pick(g, "a", "b", "A", "/", ".*", "[ab]", "a+", "(a|b)", "(?i:a)", "^/", "a|/b") }
	expr := "/"
	for range 1 + g.IntN(4) {
		expr += part()
	}
	return expr
}

func (g generator) stringMatch() *matcherv3.StringMatcher {
	m := &matcherv3.StringMatcher{IgnoreCase: g.IntN(4) == 0}
	v := g.text("vw", 2)
	switch g.IntN(5) {
	case 0, 1:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: v}
	case 2:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: v}
	case 3:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: v}
	case 4:
		m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: v}
	}
	return m
}

func (g generator) header() *routev3.HeaderMatcher {
	m := &routev3.HeaderMatcher{
		Name:                      pick(g, "x-a", "X-B", "x-bin", "content-type", ":method", ":path", ":authority", "host"),
		InvertMatch:               g.IntN(4) == 0,
		TreatMissingHeaderAsEmpty: g.IntN(4) == 0,
	}
	switch g.IntN(8) {
	case 0, 1, 2, 3:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: g.stringMatch()}
	case 4:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: g.IntN(2) == 0}
	case 5:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: int64(g.IntN(3)), End: int64(g.IntN(5))}}
	case 6:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_ExactMatch{ExactMatch: pick(g, "v", "", "GET", "application/grpc")}
	}
	return m
}

func (g generator) request() *resolver.Request {
	r := &resolver.Request{
		Authority: pick(g, g.text("abA.", 4), g.text("ab", 2)+":1"),
		Path:      pick(g, g.path(), g.path(), g.path(), "/a b"),
		Method:    pick(g, "", "GET", "POST"),
		GRPC:      g.IntN(2) == 0,
	}
	if !r.GRPC {
		r.Unescaped = g.IntN(2) == 0
		r.RawQuery = pick(g, "", "q", "q=v", "p=w&q=v")
	}
	h := headers{}
	for _, name := range []string{"x-a", "x-b", "x-bin", "content-type"} {
		for range pick(g, 0, 1, 1, 2) {
			key := name
			if !r.GRPC {
				key = textproto.CanonicalMIMEHeaderKey(name)
			}
			h[key] = append(h[key], pick(g, g.text("vwV", 2), strconv.Itoa(g.IntN(5)), "application/grpc"))
		}
	}
	if g.IntN(5) > 0 {
		r.Headers = h
	}
	return r
}

// scan finds the route by reading the policy from top to bottom, with no regard to
// speed.
func scan(rc *routev3.RouteConfiguration, r *resolver.Request) string {
	host := strings.ToLower(r.Authority)
	if rc.IgnorePortInHostMatching {
		host, _, _ = strings.Cut(host, ":")
	}
	var best *routev3.VirtualHost
	bestRank := 0 // the kind of the domain, then its length
	for _, vh := range rc.VirtualHosts {
		for _, domain := range vh.Domains {
			domain = strings.ToLower(domain)
			rank := 0
			switch {
			case domain == "*":
				rank = 1
			case strings.HasPrefix(domain, "*"):
				if len(host) >= len(domain) && strings.HasSuffix(host, domain[1:]) {
					rank = 2000 + len(domain)
				}
			case strings.HasSuffix(domain, "*"):
				if len(host) >= len(domain) && strings.HasPrefix(host, domain[:len(domain)-1]) {
					rank = 1000 + len(domain)
				}
			case domain == host:
				rank = 3000
			}
			if rank > bestRank {
				best, bestRank = vh, rank
			}
		}
	}
	for _, route := range best.GetRoutes() {
		if scanMatch(route.GetMatch(), r) {
			return route.GetName()
		}
	}
	return ""
}

func scanMatch(m *routev3.RouteMatch, r *resolver.Request) bool {
	path, fold := r.Path, m.CaseSensitive != nil && !m.CaseSensitive.Value
	norm := func(s string) string {
		if fold {
			return strings.ToLower(s)
		}
		return s
	}
	matches := false
	switch s := m.PathSpecifier.(type) {
	case *routev3.RouteMatch_Path:
		matches = norm(path) == norm(s.Path)
	case *routev3.RouteMatch_Prefix:
		matches = strings.HasPrefix(norm(path), norm(s.Prefix))
	case *routev3.RouteMatch_PathSeparatedPrefix:
		matches = strings.HasPrefix(norm(path)+"/", norm(s.PathSeparatedPrefix)+"/")
	case *routev3.RouteMatch_SafeRegex:
		matches = regexp.MustCompile("^(" + s.SafeRegex.Regex + ")$").MatchString(path)
	}
	for _, h := range m.Headers {
		matches = matches && scanHeader(h, r)
	}
	for _, q := range m.QueryParameters {
		matches = matches && !r.GRPC && scanQuery(q, r)
	}
	if m.Grpc != nil && !r.GRPC {
		ct := strings.Join(scanValues("content-type", r), ",")
		matches = matches && ct == "application/grpc"
	}
	if f := m.RuntimeFraction; f != nil && f.DefaultValue.Numerator == 0 {
		matches = false
	}
	return matches
}

func scanQuery(q *routev3.QueryParameterMatcher, r *resolver.Request) bool {
	value, present := "", false
	for _, param := range strings.Split(r.RawQuery, "&") {
		if key, v, _ := strings.Cut(param, "="); key == q.Name && r.RawQuery != "" && !present {
			value, present = v, true
		}
	}
	switch s := q.QueryParameterMatchSpecifier.(type) {
	case *routev3.QueryParameterMatcher_PresentMatch:
		return present == s.PresentMatch
	case *routev3.QueryParameterMatcher_StringMatch:
		return present && scanString(s.StringMatch, value)
	}
	return present
}

func scanString(m *matcherv3.StringMatcher, v string) bool {
	norm := func(s string) string {
		if m.IgnoreCase {
			return strings.ToLower(s)
		}
		return s
	}
	switch s := m.MatchPattern.(type) {
	case *matcherv3.StringMatcher_Exact:
		return norm(v) == norm(s.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(norm(v), norm(s.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(norm(v), norm(s.Suffix))
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(norm(v), norm(s.Contains))
	}
	panic("unreachable")
}

// scanValues are a header's values as a matcher sees them; none is none.
func scanValues(name string, r *resolver.Request) []string {
	name = strings.ToLower(name)
	switch name {
	case ":method":
		if r.GRPC {
			return []string{"POST"}
		}
		if r.Method == "" {
			return []string{"GET"}
		}
		return []string{r.Method}
	case ":path":
		if r.RawQuery == "" {
			return []string{r.Path}
		}
		return []string{r.Path + "?" + r.RawQuery}
	case ":authority", "host":
		return []string{r.Authority}
	}
	if r.GRPC && name == "content-type" {
		return []string{"application/grpc"}
	}
	if r.Headers == nil || r.GRPC && strings.HasSuffix(name, "-bin") {
		return nil
	}
	h := r.Headers.(headers)
	values := h[textproto.CanonicalMIMEHeaderKey(name)]
	if r.GRPC {
		values = h[name]
	}
	if r.GRPC && len(values) > 1 {
		return []string{strings.Join(values, ",")}
	}
	return values
}

func scanHeader(m *routev3.HeaderMatcher, r *resolver.Request) bool {
	values := scanValues(m.Name, r)
	ok := len(values) > 0
	if p, isPresent := m.HeaderMatchSpecifier.(*routev3.HeaderMatcher_PresentMatch); isPresent || m.HeaderMatchSpecifier == nil {
		want := p == nil || p.PresentMatch
		if !ok && m.TreatMissingHeaderAsEmpty {
			return want != m.InvertMatch // an empty header is there
		}
		return (ok == want) != m.InvertMatch
	}
	if !ok && !m.TreatMissingHeaderAsEmpty {
		return false
	}
	if !ok {
		values = []string{""}
	}
	return slices.ContainsFunc(values, func(v string) bool { return scanHeaderValue(m, v) }) != m.InvertMatch
}

func scanHeaderValue(m *routev3.HeaderMatcher, v string) (matches bool) {
	switch s := m.HeaderMatchSpecifier.(type) {
	case *routev3.HeaderMatcher_StringMatch:
		matches = scanString(s.StringMatch, v)
	case *routev3.HeaderMatcher_RangeMatch:
		n, err := strconv.ParseInt(v, 10, 64)
		matches = err == nil && s.RangeMatch.Start <= n && n < s.RangeMatch.End
	case *routev3.HeaderMatcher_ExactMatch:
		matches = s.ExactMatch == "" || v == s.ExactMatch
	}
	return matches
}
