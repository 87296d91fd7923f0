package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	p, err := Parse("p.yaml", []byte(`
services:
  orders: &orders
    protocol: grpc
    endpoints:
      - 127.0.0.1:9001
      - {address: "[::1]:9002", region: r, zone: z, subZone: s, weight: 2, priority: 1, labels: {version: v2}, health: draining}
    subsets: {v2: {version: v2}}
    balance: {policy: least_request, choiceCount: 3, localityWeights: {"": 1, r/z/s: 3}}
    limits: {maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 4}
    outlierDetection: {consecutive5xx: 1, consecutiveGatewayFailure: 2, interval: 1s, baseEjectionTime: 2s, maxEjectionTime: 3s, maxEjectionPercent: 4, successRate: false}
    connectTimeout: 250ms
---
services:
  dns:
    discover: {dns: "orders.internal:9000", mode: logical, refresh: 1m30s}
routes:
  orders:
    - name: all
      match:
        path: {prefix: /a, ignoreCase: true}
        headers: {x-a: {range: {start: -1, end: 2}, invert: true, treatMissingAsEmpty: true}}
        method: GET
        query: {q: {contains: x, ignoreCase: true}}
        fraction: 2.5%
      to: {v2: 1, dns: 0}
      timeout: 2s
      maxStreamDuration: 0s
    - to: orders
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		Services: map[string]*Service{
			"orders": {
				Protocol: GRPC,
				Endpoints: []*Endpoint{
					{Address: "127.0.0.1:9001"},
					{
						Address: "[::1]:9002", Region: "r", Zone: "z", SubZone: "s", Priority: 1,
						Weight: new(uint32(2)), Labels: Labels{"version": "v2"}, Health: HealthDraining,
					},
				},
				Subsets: map[string]Labels{"v2": {"version": "v2"}},
				Balance: &Balance{
					Policy: LeastRequest, ChoiceCount: new(uint32(3)),
					LocalityWeights: map[string]uint32{"": 1, "r/z/s": 3},
				},
				Limits: &Limits{
					MaxConnections: new(uint32(1)), MaxPendingRequests: new(uint32(2)),
					MaxRequests: new(uint32(3)), MaxRetries: new(uint32(4)),
				},
				OutlierDetection: &OutlierDetection{
					Consecutive5xx: new(uint32(1)), ConsecutiveGatewayFailure: new(uint32(2)),
					Interval: new(time.Second), BaseEjectionTime: new(2 * time.Second), MaxEjectionTime: new(3 * time.Second),
					MaxEjectionPercent: new(uint32(4)), SuccessRate: new(false),
				},
				ConnectTimeout: new(250 * time.Millisecond),
			},
			"dns": {Discover: &Discover{DNS: "orders.internal:9000", Mode: DNSLogical, Refresh: new(90 * time.Second)}},
		},
		Routes: map[string][]*Route{"orders": {
			{
				Name: "all",
				Match: &Match{
					Path:     &PathMatch{Prefix: new("/a"), IgnoreCase: true},
					Headers:  map[string]*HeaderMatch{"x-a": {Range: &Range{-1, 2}, Invert: true, TreatMissingAsEmpty: true}},
					Method:   "GET",
					Query:    map[string]*QueryMatch{"q": {Contains: new("x"), IgnoreCase: true}},
					Fraction: new(Fraction(25_000)),
				},
				To:                Destinations{"v2": 1, "dns": 0},
				Timeout:           new(2 * time.Second),
				MaxStreamDuration: new(time.Duration(0)),
			},
			{To: Destinations{"orders": 1}},
		}},
	}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Policy{})); diff != "" {
		t.Errorf("the model (-want +got):\n%s", diff)
	}
}

// TestParseJSON reads a policy as programs write it, indented by tabs.
func TestParseJSON(t *testing.T) {
	p, err := Parse("p.json", []byte("{\n\t\"services\": {\n\t\t\"a\": {\"endpoints\": [\"127.0.0.1:1\"]}\n\t}\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Services["a"].Endpoints[0].Address; got != "127.0.0.1:1" {
		t.Errorf("the address is %q", got)
	}
}

func TestParseAlias(t *testing.T) {
	p, err := Parse("p.yaml", []byte(`
services:
  a: {endpoints: ["127.0.0.1:1"], balance: &b {policy: random}}
  b: {endpoints: ["127.0.0.1:1"], balance: *b}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Services["b"].Balance.Policy; got != Random {
		t.Errorf("the policy behind the alias is %q", got)
	}
}

// service is a policy with a service a, to which the cases add.
const service = "services: {a: {protocol: http, endpoints: ['127.0.0.1:1'], subsets: {v1: {v: '1'}}}}\n"

func TestParseErrors(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		// The document.
		{"empty", "", []string{`1:1: the policy says nothing: write "services: {}" if there are no services`}},
		{"comments only", "# nothing\n", []string{`1:1: the policy says nothing: write "services: {}" if there are no services`}},
		{"a list", "- a\n", []string{`1:1: want a mapping, not a list`}},
		{"not text", "services: {}\na\xff: 1\n", []string{`2:2: the file is not UTF-8 text`}},
		{"control character", "services: {}\n#\x01\n", []string{`2:1: not valid YAML: control characters are not allowed`}},
		{"indentation", "services:\n  a:\n    protocol: grpc\n   endpoints: []\n  b: {}\n", []string{`4:4: not valid YAML: did not find expected key`}},
		{"open bracket", "services:\n  a:\n    endpoints: [x\n  b: {}\n  c: {}\n", []string{`3:5: not valid YAML: did not find expected ',' or ']'`}},
		{"open quote", "services:\n  a:\n    protocol: \"grpc\n  b: {}\n  c: {}\n", []string{`3:5: not valid YAML: found unexpected end of stream`}},
		{"extra bracket", "routes: {}\nservices: {}}\nresources: []\n", []string{`2:1: not valid YAML: did not find expected key`}},
		{"tab", "services:\n\ta: {}\n", []string{`2:2: not valid YAML: found character that cannot start any token`}},
		{"two colons", "services:\n  a: b: c\n", []string{`2:3: not valid YAML: mapping values are not allowed in this context`}},
		{"unknown anchor", "services:\n  a: *x\n  b: {}\n", []string{`2:3: not valid YAML: unknown anchor 'x' referenced`}},
		{"errors before a syntax error", "service: {}\n---\nroutes: {a: [{to: b}]}\n---\n{\n", []string{
			`1:1: unknown field "service" (did you mean "services"?)`,
			`5:1: not valid YAML: did not find expected node content`,
		}},
		{"alias within itself", "resources:\n- &a\n  \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  metadata: *a\n", []string{`4:13: alias *a stands within the value that it names`}},
		{"merge key", "services:\n  a: &a {endpoints: []}\n  b: {<<: *a}\n", []string{
			`3:7: merge keys ("<<") are not supported: repeat the fields, or use an alias for a whole value`,
		}},
		{"nested", "resources:\n- " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "\n", []string{`2:3: want a mapping with "@type", not a list`}},

		// Fields and types.
		{"unknown sections", "servces: {}\nroute: {}\n", []string{
			`1:1: unknown field "servces" (did you mean "services"?)`,
			`2:1: unknown field "route" (did you mean "routes"?)`,
		}},
		{"nothing near", service + "zzz: 1\n", []string{`2:1: unknown field "zzz": there are services, routes, filters, unknownHosts, resources`}},
		{"failover", "services:\n  a: {endpoints: []}\n  b: {failover: [a, c, a, d], balance: {policy: random}}\n  c: {failover: [b]}\n  e: {failover: []}\n", []string{
			`3:21: "c" leads back to "b"`,
			`3:24: "a" stands in the failover twice`,
			`3:27: "d" is not defined: it is neither a subset of "b" nor a service`,
			`3:31: "balance" cannot stand beside "failover": it is for the services that this one is made of`,
			`4:18: "b" leads back to "c"`,
			`5:7: the failover is empty: name a service or a subset`,
		}},
		{"unknown hosts", "unknownHosts: alow\n", []string{`1:15: "alow" is not one of deny, passthrough`}},
		{"unknown hosts twice", "unknownHosts: deny\n---\nunknownHosts: passthrough\n", []string{
			`3:1: field "unknownHosts" is given twice, first at p.yaml:1:1`,
		}},
		{"section twice", "services: {}\nservices: {}\n", []string{`2:1: field "services" is given twice, first at p.yaml:1:1`}},
		{"not yet", service + "identity: {}\nauthorization: {}\n", []string{
			`2:1: "identity" is not supported yet`,
			`3:1: "authorization" is not supported yet`,
		}},
		{"discovery not yet", "services: {a: {discover: {srv: x}}}", []string{
			`1:26: field "dns" is missing`,
			`1:27: "srv" is not supported yet`,
		}},
		{"wrong types", "services:\n  a:\n    protocol: 1\n    endpoints: x\n    subsets: []\n    connectTimeout: 5\n    balance: {choiceCount: two}\n    outlierDetection: {successRate: 'yes'}\n", []string{
			`3:15: want text, not the number 1; put it in quotes if it is meant as text`,
			`4:16: want a list, not the text "x"`,
			`5:14: want a mapping, not a list`,
			`6:21: want a duration with its unit, such as 250ms, 10s or 1m30s, not the number 5`,
			`7:15: "choiceCount" is for the policy least_request only`,
			`7:28: want a whole number from 0 to 4294967295, not the text "two"`,
			`8:37: want true or false, not the text "yes"`,
		}},
		{"nothing", "services:\n  a:\n    endpoints:\n    protocol:\n", []string{
			`3:15: want a list, not nothing`,
			`4:14: want text, not nothing`,
		}},
		{"shorthand of the wrong type", service + "routes: {a: [{to: [v1]}, {to: 5}]}\n", []string{
			`2:19: want text or a mapping, not a list`,
			`2:31: want text, not the number 5; put it in quotes if it is meant as text`,
		}},
		{"tag", "services: {a: {protocol: !x grpc, endpoints: !!set {}}}", []string{
			`1:26: want text, not a value with the tag !x`,
			`1:46: want a list, not a mapping`,
		}},
		{"a list as name", "services: {[a]: {}}", []string{`1:12: a name must be plain text, not a list`}},
		{"durations", service + "routes: {a: [{to: v1, timeout: 2x}, {to: v1, maxStreamDuration: -1s}]}\n", []string{
			`2:32: bad duration "2x": want a duration with its unit, such as 250ms, 10s or 1m30s`,
			`2:65: bad duration "-1s": it is negative`,
		}},
		{"date", "services: {a: {endpoints: [], subsets: {v: {d: 2020-01-01}}}}", []string{
			`1:48: want text, not the date 2020-01-01; put it in quotes if it is meant as text`,
		}},

		// Services.
		{"service twice", service + "---\nservices:\n  a: {endpoints: []}\n", []string{`4:3: service "a" is defined twice, first at p.yaml:1:12`}},
		{"names", "services: {'a b': {endpoints: []}, a|b: {endpoints: []}, " + strings.Repeat("x", 254) + ": {endpoints: []}}", []string{
			`1:12: "a b" cannot name a service: use letters, digits, and between them . _ : and -`,
			`1:36: "a|b" cannot name a service: use letters, digits, and between them . _ : and -`,
			`1:58: the name of the service is longer than 253 characters`,
		}},
		{"no endpoints", "services: {a: {}}", []string{`1:12: service "a" has neither endpoints nor discover`}},
		{"both", "services: {a: {endpoints: [], discover: {dns: 'a:1'}}}", []string{`1:31: "discover" cannot stand beside "endpoints"`}},
		{"protocol", "services: {a: {endpoints: [], protocol: gprc}}", []string{`1:41: "gprc" is not one of grpc, http, http2 (did you mean "grpc"?)`}},
		{"addresses", "services:\n  a:\n    endpoints:\n    - 127.0.0.1\n    - localhost:1\n    - 1.2.3.256:1\n    - 127.0.0.1:0\n    - 127.0.0.1:65536\n    - '[fe80::1%eth0]:1'\n    - ':1'\n    - {address: a b:1}\n", []string{
			`4:7: bad address "127.0.0.1": want host:port, such as 127.0.0.1:9001 or [::1]:9001`,
			`5:7: bad address "localhost:1": the host of an endpoint is an IP address; a name to look up belongs in discover: {dns: localhost:1}`,
			`6:7: bad address "1.2.3.256:1": the host is not an IP address`,
			`7:7: bad address "127.0.0.1:0": want host:port, such as 127.0.0.1:9001 or [::1]:9001`,
			`8:7: bad address "127.0.0.1:65536": want host:port, such as 127.0.0.1:9001 or [::1]:9001`,
			`9:7: bad address "[fe80::1%eth0]:1": the host is not an IP address`,
			`10:7: bad address ":1": the host is not an IP address`,
			`11:17: bad address "a b:1": the host is not an IP address`,
		}},
		{"address twice", "services: {a: {endpoints: ['[::1]:1', {address: '[0:0::1]:1'}]}}", []string{`1:49: the address [0:0::1]:1 is listed twice, first at p.yaml:1:28`}},
		{"address missing", "services: {a: {endpoints: [{zone: b}]}}", []string{`1:28: field "address" is missing`}},
		{"endpoint numbers", "services:\n  a:\n    endpoints:\n    - {address: '127.0.0.1:1', weight: 0}\n    - {address: '127.0.0.1:2', weight: -1}\n    - {address: '127.0.0.1:3', priority: 2}\n    - {address: '127.0.0.1:4', priority: 129}\n", []string{
			`4:40: the weight of an endpoint is at least 1: take an endpoint out of service with {health: draining}`,
			`5:40: want a whole number from 0 to 4294967295, not the number -1`,
			`6:42: no endpoint has the priority 1: priorities count from 0 without a gap`,
			`7:42: the priority of an endpoint is at most 128`,
		}},
		{"weights overflow", "services:\n  a:\n    endpoints:\n    - {address: '127.0.0.1:1', weight: 4294967295}\n    - {address: '127.0.0.1:2'}\n", []string{
			`4:5: the weights of the endpoints add up to 4294967296: at most 4294967295`,
		}},
		{"health", "services: {a: {endpoints: [{address: '127.0.0.1:1', health: helthy}]}}", []string{
			`1:61: "helthy" is not one of unknown, healthy, unhealthy, draining, timeout, degraded (did you mean "healthy"?)`,
		}},
		{"dns", "services: {a: {discover: {dns: 'x'}}, b: {discover: {dns: 'a_b..c:1', mode: strct, refresh: 1ms}}, c: {discover: {dns: '1.2.3:4'}}}", []string{
			`1:32: bad address "x": want host:port, such as orders.internal:9000`,
			`1:59: bad address "a_b..c:1": "a_b..c" is not a host name`,
			`1:77: "strct" is not one of strict, logical (did you mean "strict"?)`,
			`1:93: refresh is 1ms: it must be more than 1ms`,
			`1:120: bad address "1.2.3:4": "1.2.3" is not a host name`,
		}},
		{"subsets", "services: {a: {endpoints: [], subsets: {a/b: {v: '1'}, v2: {}}}, d: {discover: {dns: 'a:1'}, subsets: {v: {v: '1'}}}}", []string{
			`1:41: "a/b" cannot name a subset: use letters, digits, and between them . _ : and -`,
			`1:56: subset "v2" has no labels: it would be the whole service`,
			`1:104: endpoints that DNS finds have no labels to make a subset of`,
		}},
		{"connections", "services:\n  a:\n    endpoints: []\n    connections:\n      maxConcurrentStreams: 5\n      maxConnections: 0\n      idleTimeout: -1s\n      tcpKeepalive: {keepaliveTime: 1500ms}\n      connectionKeepalive: {interval: 1us}\n      sourceAddress: here\n      maxConnection: 5\n", []string{
			`5:7: "maxConcurrentStreams" is for the protocols grpc and http2: a connection of HTTP/1.1 carries one call at a time`,
			`6:23: 0: it must be 1 to 4294967295`,
			`7:20: bad duration "-1s": it is negative`,
			`8:37: 1.5s: it must be whole seconds, at least 1s`,
			`9:7: "connectionKeepalive" is for the protocols grpc and http2; see "tcpKeepalive"`,
			`9:28: field "timeout" is missing`,
			`9:39: 1µs: it must be at least 1ms`,
			`10:22: "here" is not an IP address`,
			`11:7: unknown field "maxConnection" (did you mean "maxConnections"?)`,
		}},
		{"balance", "services:\n  a: {endpoints: [], balance: {policy: random, choiceCount: 2}}\n  b: {endpoints: [], balance: {policy: least_request, choiceCount: 1}}\n  c: {endpoints: [], balance: {policy: pick_first, localityWeights: {a: 1}}}\n  d: {discover: {dns: 'a:1'}, balance: {localityWeights: {a: 1}}}\n", []string{
			`2:48: "choiceCount" is for the policy least_request only`,
			`3:68: choiceCount is 1: at least 2 endpoints are to be compared`,
			`4:52: pick_first takes the first endpoint of all: localities cannot be weighed`,
			`5:41: endpoints that DNS finds have no localities to weigh`,
		}},
		{"zones", "services:\n  a: {endpoints: [], balance: {policy: maglev, zoneAware: {}}}\n  b: {endpoints: [{address: '192.0.2.1:1', zone: z}], balance: {localityWeights: {/z: 1}, zoneAware: {}}}\n  c: {discover: {dns: 'a:1'}, balance: {zoneAware: {forceLocalZone: {minSize: 0}}}}\n  d: {endpoints: [], balance: {zoneAware: {forceLocal: {}}}}\n", []string{
			`2:48: "zoneAware" is for the policies round_robin, least_request and random only`,
			`3:91: "zoneAware" cannot stand beside "localityWeights": either zones have weights or calls stay in theirs`,
			`4:41: endpoints that DNS finds have no zones to stay in`,
			`4:79: minSize is 0: at least 1`,
			`5:44: unknown field "forceLocal" (did you mean "forceLocalZone"?)`,
		}},
		{"sessions", "services:\n  a: {endpoints: [], session: {}}\n  b: {endpoints: [], session: {cookie: 'x y', header: 'x y'}}\n  c: {endpoints: [], session: {cookie: {name: c, path: 'a;', ttl: -1s}, disabled: true}}\nfilters:\n  a: [{name: envoy.filters.http.stateful_session, config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession}}]\nroutes:\n  a:\n    - {to: a, session: {disabled: true, header: x}}\n    - {to: a, session: {header: x, keepDraining: true}}\n", []string{
			`2:22: say one of cookie and header`,
			`3:40: "x y" is not the name of a cookie`,
			`3:47: "header" cannot stand beside "cookie": say one of cookie and header`,
			`3:55: "x y" is not the name of a header`,
			`4:56: "a;" is not a path of cookies`,
			`4:67: bad duration "-1s": it is negative`,
			`4:73: "disabled" is for the sessions of routes: leave the session out`,
			`6:8: "envoy.filters.http.stateful_session" is the name of the filter that the sessions of "a" are made of: name this one otherwise`,
			`9:25: "disabled" cannot stand beside "header": say one of cookie, header and disabled`,
			`10:36: "keepDraining" is for the sessions of services: it holds for their endpoints`,
		}},
		{"hash balance factor", "services:\n  a: {endpoints: [], balance: {policy: maglev, hashBalanceFactor: 99}}\n  b: {endpoints: [], balance: {hashBalanceFactor: 150}}\n", []string{
			`2:67: hashBalanceFactor is 99: at least 100 percent`,
			`3:32: "hashBalanceFactor" is for the policies ring_hash and maglev only`,
		}},
		{"hash balance", "services:\n  a: {endpoints: [], balance: {policy: maglev, minimumRingSize: 5}}\n  b: {endpoints: [], balance: {policy: maglev, tableSize: 65536}}\n  c: {endpoints: [], balance: {policy: ring_hash, minimumRingSize: 0}}\n  d: {endpoints: [], balance: {policy: ring_hash, maximumRingSize: 1000}}\n  e: {endpoints: [], balance: {policy: ring_hash, maximumRingSize: 8388609}}\n", []string{
			`2:48: "minimumRingSize" is for the policy ring_hash only`,
			`3:59: tableSize is 65536: it must be a prime, and at most 5000011`,
			`4:68: minimumRingSize is 0: it must be from 1 to 8388608`,
			`5:68: maximumRingSize is 1000, less than minimumRingSize, 1024`,
			`6:68: maximumRingSize is 8388609: it must be from 1 to 8388608`,
		}},
		{"hash", "services: {a: {endpoints: []}}\nroutes:\n  a:\n    - to: a\n      hash:\n        - {terminal: true}\n        - {header: 'x y'}\n        - {header: x, query: q}\n        - {cookie: ''}\n        - {cookie: {name: c, ttl: -1s}}\n        - {cookie: {name: c, path: /}}\n        - {cookie: {name: c, ttl: 0s, path: '/;'}}\n", []string{
			`6:11: say one of header, cookie, query and channel`,
			`7:20: "x y" is not the name of a header`,
			`8:23: "query" cannot stand beside "header": say one of header, cookie, query and channel`,
			`9:20: "" is not the name of a cookie`,
			`10:35: bad duration "-1s": it is negative`,
			`11:30: "path" is for a cookie that is generated: give a ttl`,
			`12:45: "/;" is not a path of cookies`,
		}},
		{"locality weights", "services:\n  a:\n    endpoints: [{address: '127.0.0.1:1', region: eu, zone: a}, {address: '127.0.0.1:2', region: us}]\n    balance: {localityWeights: {eu/b: 1, us: 0}}\n", []string{
			`4:15: the locality "eu/a" has endpoints and no weight: it would get no calls`,
			`4:33: no endpoint is in the locality "eu/b" (did you mean "eu/a"?)`,
			`4:46: the weight of a locality is at least 1`,
		}},
		{"outlier detection", "services: {a: {endpoints: [], connectTimeout: 0s, outlierDetection: {interval: 0s, maxEjectionPercent: 101}}}", []string{
			`1:47: 0s: it must be greater than zero`,
			`1:80: 0s: it must be greater than zero`,
			`1:104: maxEjectionPercent is 101: at most 100`,
		}},

		// Routes.
		{"empty routes", service + "routes: {a: []}\n", []string{`2:10: the routes of "a" are empty: every call would fail`}},
		{"routes twice", service + "routes: {a: [{to: v1}], a: [{to: v1}]}\n", []string{`2:25: the route list "a" is defined twice, first at p.yaml:2:10`}},
		{"to nothing", service + "routes:\n  a: [{to: {v2: 1}}, {to: b}, {to: a/v2}, {to: x/v1}, {}, {to: {}}]\n  host:1: [{to: v1}]\n", []string{
			`3:13: "v2" is not defined: it is neither a subset of "a" nor a service (did you mean "v1"?)`,
			`3:27: "b" is not defined: it is neither a subset of "a" nor a service`,
			`3:36: service "a" has no subset "v2" (did you mean "a/v1"?)`,
			`3:48: service "x" is not defined (did you mean "a/v1"?)`,
			`3:55: say one of to, toHeader, redirect and respond`,
			`3:60: the route goes nowhere: name a service or a subset`,
			`4:17: service "v1" is not defined`,
		}},
		{"ambiguous", "services: {a: {endpoints: [], subsets: {b: {v: '1'}}}, b: {endpoints: []}}\nroutes: {a: [{to: b}]}\n", []string{
			`2:19: "b" means the subset "b" of "a" and the service "b": write subset "a/b" in full, or rename one`,
		}},
		{"the same twice", service + "routes: {a: [{to: {v1: 1, a/v1: 1}}]}\n", []string{`2:20: "a/v1" and "v1" are both the subset "v1" of "a": add their weights`}},
		{"weights", service + "routes: {a: [{to: {v1: 0}}, {to: {v1: 0, a: 0}}, {to: {v1: 4294967295, a: 1}}, {to: {v1: -1}}]}\n", []string{
			`2:19: the weights are all zero: nothing would get the calls`,
			`2:34: the weights are all zero: nothing would get the calls`,
			`2:55: the weights add up to 4294967296: at most 4294967295`,
			`2:90: want a whole number from 0 to 4294967295, not the number -1`,
		}},
		{"path", service + "routes:\n  a:\n  - {to: a, match: {path: {}}}\n  - {to: a, match: {path: {prefix: /, exact: /}}}\n  - {to: a, match: {path: {prefix: a}}}\n  - {to: a, match: {path: {exact: '/a?b'}}}\n  - {to: a, match: {path: {regex: '('}}}\n  - {to: a, match: {path: {separatedPrefix: /a/}}}\n  - {to: a, match: {path: {template: '/{a'}}}\n  - {to: a, match: {path: {regex: a, ignoreCase: true}}}\n", []string{
			`4:21: say one of prefix, exact, regex, separatedPrefix and template`,
			`5:39: "exact" cannot stand beside "prefix": say one of prefix, exact, regex, separatedPrefix and template`,
			`6:36: the path "a" does not start with a slash`,
			`7:35: the path "/a?b" holds a query: match that with query`,
			"8:35: bad regex: missing closing ): `(`",
			`9:45: the separatedPrefix "/a/" ends with a slash: leave the slash out, or use prefix`,
			`10:38: bad template "/{a": a { is not closed`,
			`11:38: "ignoreCase" is not for regex, where (?i) says it, nor for template`,
		}},
		{"headers", service + "routes:\n  a:\n  - {to: a, match: {headers: {a b: {exact: a}}}}\n  - {to: a, match: {headers: {':path': {exact: /}, ':x': {exact: a}}}}\n  - {to: a, match: {headers: {x: {}}}}\n  - {to: a, match: {headers: {x: {prefix: ''}}}}\n  - {to: a, match: {headers: {x: {regex: '['}}}}\n  - {to: a, match: {headers: {x: {range: {start: 1, end: 1}}}}}\n  - {to: a, match: {headers: {x: {range: {start: 1}}}}}\n  - {to: a, match: {headers: {x: {present: true, ignoreCase: true}}}}\n  - {to: a, match: {headers: {x: {exact: ''}, X: {exact: a}}}}\n  - {to: a, match: {headers: {x: {present: true, range: {start: 1, end: 2}}}}}\n", []string{
			`4:31: "a b" is not the name of a header`,
			`5:52: ":x" is not the name of a header`,
			`6:31: say one of exact, prefix, suffix, contains, regex, present and range`,
			`7:43: an empty prefix matches every value: say {present: true}`,
			"8:42: bad regex: missing closing ]: `[`",
			`9:42: the range from 1 up to, but not with, 1 is empty`,
			`10:42: field "end" is missing`,
			`11:50: "ignoreCase" is for exact, prefix, suffix and contains only`,
			`12:31: the header "x" is given already, as "X": the case of names does not count`,
			`13:50: "range" cannot stand beside "present": say one of exact, prefix, suffix, contains, regex, present and range`,
		}},
		{"query and method", service + "routes:\n  a:\n  - {to: a, match: {query: {'': {exact: a}}}}\n  - {to: a, match: {query: {x: {}}}}\n  - {to: a, match: {query: {x: {range: {}}}}}\n  - {to: a, match: {method: get}}\n  - {to: a, match: {method: 'G T'}}\n", []string{
			`4:29: the name of a query parameter is empty`,
			`5:29: say one of exact, prefix, suffix, contains, regex and present`,
			`6:33: unknown field "range": there are exact, prefix, suffix, contains, regex, present, ignoreCase`,
			`7:29: "get" is not an HTTP method: methods are upper case (did you mean "GET"?)`,
			`8:29: "G T" is not an HTTP method`,
		}},
		{"fraction", service + "routes: {a: [{to: a, match: {fraction: 0.5}}, {to: a, match: {fraction: 101%}}]}\n", []string{
			`2:40: want a percentage such as 2.5%, not the number 0.5`,
			`2:73: bad percentage "101%": want a number from 0% to 100% with up to four decimals, such as 2.5%`,
		}},

		// Raw resources.
		{"raw", service + `resources:
- {}
- {"@type": 1}
- {"@type": type.googleapis.com/envoy.config.route.v3.RouteConfig}
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster}
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: x, nam: y}
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: y
  connectTimeout:
    2x
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: z, name: z}
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: w
  transportSocket:
    name: x
    typedConfig:
      "@type": type.googleapis.com/no.such.Type
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: v, lbPolicy: !x a, n: .inf}
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: u}
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: u}
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: t, connectTimeout: 0s}
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: s
  apiListener:
    apiListener:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
`, []string{
			`3:3: field "@type" is missing, such as type.googleapis.com/envoy.config.cluster.v3.Cluster`,
			`4:13: want text, not the number 1; put it in quotes if it is meant as text`,
			`5:13: "type.googleapis.com/envoy.config.route.v3.RouteConfig" is not the type of a resource (did you mean "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"?)`,
			`6:3: the Cluster has no name`,
			`7:75: Cluster: unknown field "nam"`,
			`11:5: Cluster: invalid google.protobuf.Duration value "2x"`,
			`12:75: field "name" is given twice, first at p.yaml:12:66`,
			`18:16: Cluster: unable to resolve "type.googleapis.com/no.such.Type": "not found"; this program has no such type built in`,
			`19:85: want a value that JSON knows, not a value with the tag !x`,
			`19:94: want a value that JSON knows, not the number .inf`,
			`20:3: the Cluster "a" is defined already: see p.yaml:1:12`,
			`22:3: the Cluster "u" is defined already: see p.yaml:21:3`,
			`23:3: Cluster "t": invalid Cluster.ConnectTimeout: value must be greater than 0s`,
			`24:3: Listener "s": invalid HttpConnectionManager.StatPrefix: value length must be at least 1 runes`,
			`24:3: Listener "s": invalid HttpConnectionManager.RouteSpecifier: value is required`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse("p.yaml", []byte(test.text))
			if p != nil || err == nil {
				t.Fatalf("Parse = %v, %v; want errors", p, err)
			}
			if _, ok := errors.AsType[Errors](err); !ok {
				t.Errorf("the error is a %T", err)
			}
			if one, ok := errors.AsType[*Error](err); !ok || one.File != "p.yaml" {
				t.Errorf("the first error is %#v", one)
			}
			want := "p.yaml:" + strings.Join(test.want, "\np.yaml:")
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseBounds gives inputs that are small to write and large to follow.
func TestParseBounds(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("resources:\n- &a0 {x: 1}\n")
	for i := range 30 {
		level := string(rune('a'+i/10)) + string(rune('0'+i%10))
		next := string(rune('a'+(i+1)/10)) + string(rune('0'+(i+1)%10))
		bomb.WriteString("- &" + next + " {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, a: *" + level + ", b: *" + level + "}\n")
	}
	for name, test := range map[string]struct{ text, want string }{
		"aliases": {bomb.String(), "aliases stand for more than 250000 values"},
		"depth": {
			"resources:\n- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, a: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}\n",
			"p.yaml:2:165: nested more than 100 deep",
		},
		// Too large to find the line by trial: the parser's own is near.
		"open quote": {
			"services:\n  a: 'x\n" + strings.Repeat("  b: {endpoints: []}\n", 60_000),
			"p.yaml:2:3: not valid YAML: found unexpected end of stream",
		},
		"long value": {
			"services: {a: {endpoints: [" + strings.Repeat("x", 1000) + "]}}",
			"p.yaml:1:28: bad address \"" + strings.Repeat("x", 80) + "…\": want host:port",
		},
		"size": {strings.Repeat("\n", maxFileSize+1), "p.yaml:1:1: the file is larger than 64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("p.yaml", []byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %.300q, want %q", err, test.want)
			} else if n := strings.Count(err.Error(), test.want); n != 1 {
				t.Errorf("it is said %d times", n)
			}
		})
	}
}
