package mesh_test

import (
	"fmt"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestMatches has each kind of match of row R3 take its calls, and leave others, in
// both protocols.
func TestMatches(t *testing.T) {
	type header = map[string]string
	cases := []struct {
		name, match string
		takes       []request
		leaves      []request
	}{
		{"prefix", `path: {prefix: /a.B/}`, []request{{path: "/a.B/C"}}, []request{{path: "/a.b/C"}, {path: "/A.B/C"}}},
		{"prefix in any case", `path: {prefix: /a.B/, ignoreCase: true}`, []request{{path: "/A.b/C"}}, []request{{path: "/a.C/B"}}},
		{"exact", `path: {exact: /a.B/C}`, []request{{path: "/a.B/C"}}, []request{{path: "/a.B/CD"}}},
		{"exact in any case", `path: {exact: /a.B/C, ignoreCase: true}`, []request{{path: "/a.b/c"}}, []request{{path: "/a.b/d"}}},
		{"regex", `path: {regex: "/a\\.[BC]/.*"}`, []request{{path: "/a.C/D"}}, []request{{path: "/a.D/C"}, {path: "/x/a.C/D"}}},
		{"whole segments", `path: {separatedPrefix: /a.B}`, []request{{path: "/a.B/C"}}, []request{{path: "/a.BC/D"}}},
		{"template", `path: {template: "/a.B/{method}"}`, []request{{path: "/a.B/C"}}, []request{{path: "/a.C/C"}}},
		{"header exact", `headers: {x-a: {exact: "1"}}`, []request{{header: header{"x-a": "1"}}}, []request{{}, {header: header{"x-a": "11"}}}},
		{"header exact in any case", `headers: {x-a: {exact: "ab", ignoreCase: true}}`, []request{{header: header{"x-a": "AB"}}}, []request{{header: header{"x-a": "AC"}}}},
		{"header prefix", `headers: {x-a: {prefix: "1"}}`, []request{{header: header{"x-a": "12"}}}, []request{{header: header{"x-a": "21"}}}},
		{"header suffix", `headers: {x-a: {suffix: "1"}}`, []request{{header: header{"x-a": "21"}}}, []request{{header: header{"x-a": "12"}}}},
		{"header contains", `headers: {x-a: {contains: "1"}}`, []request{{header: header{"x-a": "213"}}}, []request{{header: header{"x-a": "23"}}}},
		{"header regex", `headers: {x-a: {regex: "[0-9]+"}}`, []request{{header: header{"x-a": "42"}}}, []request{{header: header{"x-a": "42x"}}, {}}},
		{"header range", `headers: {x-a: {range: {start: 10, end: 20}}}`, []request{{header: header{"x-a": "10"}}}, []request{{header: header{"x-a": "20"}}, {header: header{"x-a": "x"}}}},
		{"header present", `headers: {x-a: {present: true}}`, []request{{header: header{"x-a": "1"}}}, []request{{}}},
		{"header absent", `headers: {x-a: {present: false}}`, []request{{}}, []request{{header: header{"x-a": "1"}}}},
		{"header inverted", `headers: {x-a: {exact: "1", invert: true}}`, []request{{header: header{"x-a": "2"}}}, []request{{header: header{"x-a": "1"}}, {}}},
		{"header missing as empty", `headers: {x-a: {regex: "1?", treatMissingAsEmpty: true}}`, []request{{}, {header: header{"x-a": "1"}}}, []request{{header: header{"x-a": "2"}}}},
		{"all of several", `path: {prefix: /a}, headers: {x-a: {exact: "1"}, x-b: {exact: "2"}}`,
			[]request{{path: "/a/b", header: header{"x-a": "1", "x-b": "2"}}}, []request{{path: "/a/b", header: header{"x-a": "1"}}}},
		{"all calls", `fraction: 100%`, []request{{}}, nil},
		{"no calls", `fraction: 0%`, nil, []request{{}}},
	}
	eachProtocol(t, func(t *testing.T, p protocol) {
		taken, left := p.backend(t, "taken"), p.backend(t, "left")
		policy := "services:\n" + p.service("taken", taken) + p.service("left", left) + "routes:\n"
		for i, c := range cases {
			policy += fmt.Sprintf("  case-%d: [{match: {%s}, to: taken}, {to: left}]\n", i, c.match)
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(policy)))
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				call := p.client(t, m, fmt.Sprint("case-", i))
				for want, requests := range map[string][]request{"taken": c.takes, "left": c.leaves} {
					for _, r := range requests {
						if got, err := call(within(t, long), r); err != nil || got != want {
							t.Errorf("%+v is %q, %v; want %s", r, got, err, want)
						}
					}
				}
			})
		}
	})
}

// TestHTTPMatches has the matches that only HTTP knows take their calls.
func TestHTTPMatches(t *testing.T) {
	p := protocols[1]
	taken, left := p.backend(t, "taken"), p.backend(t, "left")
	m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("taken", taken)+p.service("left", left)+`
routes:
  method: [{match: {method: GET}, to: taken}, {to: left}]
  other: [{match: {method: POST}, to: taken}, {to: left}]
  query: [{match: {query: {a: {exact: "1"}}}, to: taken}, {to: left}]
  present: [{match: {query: {a: {present: true}}}, to: taken}, {to: left}]
`)))
	for _, c := range []struct{ host, path, want string }{
		{"method", "/", "taken"},
		{"other", "/", "left"},
		{"query", "/?a=1", "taken"},
		{"query", "/?b=2&a=1", "taken"},
		{"query", "/?a=2", "left"},
		{"query", "/", "left"},
		{"present", "/?a", "taken"},
		{"present", "/?b", "left"},
	} {
		if got, err := p.client(t, m, c.host)(within(t, long), request{path: c.path}); err != nil || got != c.want {
			t.Errorf("%s%s is %q, %v; want %s", c.host, c.path, got, err, c.want)
		}
	}
}

// TestVirtualHosts has the authority of a call choose among virtual hosts: exact
// before the longest suffix before the longest prefix before all (row R2).
func TestVirtualHosts(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		names := []string{"exact", "suffix", "longer-suffix", "prefix", "all"}
		policy := "services:\n"
		for _, name := range names {
			policy += p.service(name, p.backend(t, name))
		}
		hosts := ""
		for name, domain := range map[string]string{
			"exact": "orders.shop.example", "suffix": "*.example", "longer-suffix": "*.shop.example", "prefix": "orders.*", "all": "*",
		} {
			hosts += fmt.Sprintf(`{"name": %q, "domains": [%q], "routes": [{"match": {"prefix": ""}, "route": {"cluster": %q}}]},`, name, domain, name)
		}
		policy += "resources:\n"
		targets := map[string]string{
			"orders.shop.example": "exact", "ORDERS.Shop.Example": "exact", "cart.shop.example": "longer-suffix",
			"shop.example": "suffix", "orders.elsewhere": "prefix", "elsewhere": "all",
		}
		for target := range targets {
			policy += fmt.Sprintf(`
  - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
    name: %s
    api_listener:
      api_listener:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: weft
        route_config: {name: %s, virtual_hosts: [%s]}
        http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
`, target, target, hosts[:len(hosts)-1])
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(policy)))
		for target, want := range targets {
			if got, err := p.client(t, m, target)(within(t, long), request{}); err != nil || got != want {
				t.Errorf("a call to %s is answered by %q, %v; want %s", target, got, err, want)
			}
		}
	})
}
