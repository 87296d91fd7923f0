package resolver_test

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/resolver"
)

// largeRoutes has n routes of one kind, of which the last matches the request.
func largeRoutes(t testing.TB, n int, match func(i int) string) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{Name: "h", Domains: []string{"orders.example"}}}}
	for i := range n {
		rc.VirtualHosts[0].Routes = append(rc.VirtualHosts[0].Routes,
			parse(t, &routev3.Route{}, `{"name": "x", "match": `+match(n-1-i)+`, "route": {"cluster": "c"}}`))
	}
	return rc
}

var benchRequest = resolver.Request{
	Authority: "orders.example",
	Path:      "/shop.v1.Orders0/Get",
	GRPC:      true,
	Headers:   headers{"x-user": {"u0"}},
}

var benchRoutes = map[string]func(i int) string{
	"exact":  func(i int) string { return fmt.Sprintf(`{"path": "/shop.v1.Orders%d/Get"}`, i) },
	"prefix": func(i int) string { return fmt.Sprintf(`{"prefix": "/shop.v1.Orders%d/"}`, i) },
	"regex": func(i int) string {
		return fmt.Sprintf(`{"safeRegex": {"regex": "/shop\\.v1\\.Orders%d/(Get|List)"}}`, i)
	},
	"header": func(i int) string {
		return fmt.Sprintf(`{"prefix": "/", "headers": [{"name": "x-user", "stringMatch": {"exact": "u%d"}}]}`, i)
	},
	"fold": func(i int) string { return fmt.Sprintf(`{"path": "/Shop.v1.Orders%d/Get", "caseSensitive": false}`, i) },
}

func BenchmarkRoute(b *testing.B) {
	for _, kind := range []string{"exact", "prefix", "regex", "header", "fold"} {
		for _, n := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				table := routesTable(b, largeRoutes(b, n, benchRoutes[kind]))
				b.ReportAllocs()
				for b.Loop() {
					r := benchRequest
					if _, err := table.Route(&r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func TestRouteDoesNotAllocate(t *testing.T) {
	for kind, match := range benchRoutes {
		table := routesTable(t, largeRoutes(t, 100, match))
		if n := testing.AllocsPerRun(100, func() {
			r := benchRequest // on the stack of the caller
			route, err := table.Route(&r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := route.Pick(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: Route allocates %v times", kind, n)
		}
	}
}

func BenchmarkDecodeRoutes(b *testing.B) {
	raw := marshal(largeRoutes(b, 1000, benchRoutes["exact"]))
	decode := decoderOf(b, allTypes, resolver.RouteConfigURL)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTable is what a new route configuration of a thousand routes costs, from
// the source to the table.
func BenchmarkTable(b *testing.B) {
	rc := largeRoutes(b, 1000, benchRoutes["exact"])
	s := newStatic(b, rc, staticCluster("c"))
	target := newResolver(b, s).Target(resolver.TargetName{RouteConfig: "r"})
	tables := make(chan *resolver.Table, 1)
	target.Subscribe(func(t *resolver.Table) { tables <- t })
	<-tables
	both := [2]map[string][]resolver.StaticResource{}
	for i := range both {
		rc.VirtualHosts[0].Name = fmt.Sprint(i)
		both[i] = resources(rc, staticCluster("c"))
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Set(both[i%2]); err != nil {
			b.Fatal(err)
		}
		i++
		<-tables
	}
}
