package policy

import (
	"strings"
	"testing"
)

// TestBadChanges has each mistake in what a route changes or answers be an error that
// says so, at its own place.
func TestBadChanges(t *testing.T) {
	for route, want := range map[string]string{
		`{to: a, redirect: {host: b}}`:                  `"redirect" cannot stand beside "to"`,
		`{redirect: {host: b}, respond: {status: 200}}`: `"respond" cannot stand beside "redirect"`,
		`{name: x}`:                `say one of to, toHeader, redirect and respond`,
		`{respond: {body: x}}`:     `field "status" is missing`,
		`{respond: {status: 100}}`: `100 is not from 200 to 599`,
		`{respond: {status: 200, body: ` + strings.Repeat("x", 5000) + `}}`:                   `5000 bytes long`,
		`{respond: {status: 200}, timeout: 1s}`:                                               `"timeout" is for routes that send calls somewhere`,
		`{redirect: {host: b}, rewrite: {host: c}}`:                                           `"rewrite" is for routes that send calls somewhere`,
		`{to: a, rewrite: {template: "/{x}"}}`:                                                `the route's match is not by a template`,
		`{to: a, match: {path: {template: "/{x}"}}, rewrite: {template: "/{y}"}}`:             `the template has {y}`,
		`{to: a, match: {path: {template: "/{x}"}}, rewrite: {template: "/{x"}}`:              `has no other`,
		`{to: a, match: {path: {template: "/{x}"}}, rewrite: {template: "/{x}", prefix: /b}}`: `all change the path`,
		`{toHeader: "a b"}`:    `"a b" is not the name of a header`,
		`{toHeader: x, to: a}`: `"toHeader" cannot stand beside "to"`,
		`{to: a, mirror: [{to: a, host: b, keepHost: true}]}`:                  `both say the host`,
		`{to: a, mirror: [b]}`:                                                 `"b" is not defined`,
		`{to: a, mirror: [{to: a, host: "b/c"}]}`:                              `"b/c" is not a host`,
		`{respond: {status: 200}, mirror: [a]}`:                                `"mirror" is for routes that send calls somewhere`,
		`{redirect: {}}`:                                                       `the redirect is to the request's own URL`,
		`{redirect: {status: 300, host: b}}`:                                   `300 is not one of 301`,
		`{redirect: {scheme: ftp}}`:                                            `"ftp" is not one of http, https`,
		`{redirect: {port: 70000}}`:                                            `70000 is not a port`,
		`{redirect: {path: x}}`:                                                `does not start with a slash`,
		`{redirect: {path: /x, prefix: /y}}`:                                   `"prefix" cannot stand beside "path"`,
		`{redirect: {host: "b/c"}}`:                                            `"b/c" is not a host`,
		`{to: a, rewrite: {}}`:                                                 `the rewrite is empty`,
		`{to: a, rewrite: {prefix: /x, regex: {pattern: x}}}`:                  `both change the path`,
		`{to: a, rewrite: {prefix: "/a%zz"}}`:                                  `the path "/a%zz" holds what does not belong`,
		`{to: a, rewrite: {prefix: "/a\x01"}}`:                                 `holds what does not belong`,
		`{to: a, rewrite: {host: "café"}}`:                                     `"café" is not a host`,
		`{to: a, rewrite: {host: x, endpointHost: true}}`:                      `both change the host`,
		`{to: a, rewrite: {regex: {pattern: "("}}}`:                            `bad regex`,
		`{to: a, rewrite: {regex: {pattern: x, substitution: '\1'}}}`:          `\1: the pattern has 0 groups`,
		`{to: a, rewrite: {regex: {pattern: x, substitution: 'a\'}}}`:          `a backslash stands before a digit`,
		`{to: a, headers: {request: {set: {host: x}}}}`:                        `"host" is not a header that can be changed`,
		`{to: a, headers: {request: {set: {":path": x}}}}`:                     `":path" is not a header that can be changed`,
		`{to: a, headers: {request: {remove: [Host]}}}`:                        `"Host" is not a header that can be changed`,
		`{to: a, headers: {request: {set: {x: 100%}}}}`:                        `a percent sign is written %%`,
		`{to: a, headers: {request: {add: {x: "%RESP(x)%"}}}}`:                 `%RESP(x)% is not known here`,
		`{to: a, headers: {response: {append: {x: "%DOWNSTREAM_PEER_SAN%"}}}}`: `%DOWNSTREAM_PEER_SAN% is not known here`,
		`{to: a, headers: {request: {add: {x: "%REQ%"}}}}`:                     `%REQ% is incomplete`,
		`{to: a, headers: {request: {add: {x: ""}}}}`:                          `the value is empty`,
	} {
		_, err := Parse("p.yaml", []byte("services: {a: {endpoints: [192.0.2.1:1]}}\nroutes:\n  a:\n  - "+route+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "p.yaml:4:") {
			t.Errorf("%s is %v, want %q", route, err, want)
		}
	}
}
