package policy

import (
	"strings"
	"testing"
)

// TestBadFilters has each mistake in filters be an error that says so, at its place.
func TestBadFilters(t *testing.T) {
	const mutation = `"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`
	for text, want := range map[string]string{
		`filters: {b: []}`:                                   `p.yaml:2:11: "b" is neither a service nor has routes`,
		`filters: {a: [{name: x}]}`:                          `p.yaml:2:15: say one of config, adaptiveConcurrency`,
		`filters: {a: [{config: {"@type": x/Y}}]}`:           `p.yaml:2:15: field "name" is missing`,
		`filters: {a: [{name: "", config: {"@type": x/Y}}]}`: `the filter has no name`,
		`filters: {a: [{name: x, config: {"@type": x/Y}}, {name: x, config: {"@type": x/Y}}]}`:       `p.yaml:2:57: "x" is the name of another filter`,
		`filters: {a: [{name: envoy.filters.http.router, config: {"@type": x/Y}}]}`:                  `p.yaml:2:22: the router is there already`,
		`filters: {a: [{name: x, config: {}}]}`:                                                      `field "@type" is missing, such as type.googleapis.com/envoy.`,
		`filters: {a: [{name: x, config: 7}]}`:                                                       `want a mapping with "@type"`,
		`filters: {a: [{name: x, config: {"@type": 7}}]}`:                                            `want text`,
		`filters: {a: [{name: x, config: {"@type": type.googleapis.com/envoy.No}}]}`:                 `p.yaml:2:43: "type.googleapis.com/envoy.No": this program has no such type built in`,
		`filters: {a: [{name: x, config: {` + mutation + `, mutation: {}}}]}`:                        `HeaderMutation: unknown field "mutation"`,
		`filters: {a: [{name: x, config: {` + mutation + `, mutations: {requestMutations: [{}]}}}]}`: `invalid HeaderMutation.Action`,
		`routes: {a: [{to: a, filters: {x: {disabled: true}}}]}`:                                     `p.yaml:2:32: "x" is not a filter of "a"`,
		`filters: {inbound/: []}`:                                                                    `p.yaml:2:11: "" cannot name a server`,
		`filters: {inbound/a b: []}`:                                                                 `p.yaml:2:11: "a b" cannot name a server`,
		`routes: {inbound/a: []}`:                                                                    `p.yaml:2:10: the routes of "inbound/a" are empty`,
		`routes: {inbound/a: [{to: a}]}`:                                                             `p.yaml:2:23: "to" is for the routes of clients`,
		`routes: {inbound/a: [{filters: {x: {disabled: true}}}]}`:                                    `p.yaml:2:33: "x" is not a filter of "inbound/a"`,
		`routes: {inbound/a: [{match: {path: {prefix: x}}}]}`:                                        `p.yaml:2:46: the path`,
		`filters: {a: [{name: x, config: {"@type": x/Y}}]}
routes: {a: [{to: a, filters: {y: {disabled: true}}}]}`: `p.yaml:3:32: "y" is not a filter of "a"`,
		`filters: {a: [{name: x, config: {"@type": x/Y}}]}
routes: {a: [{to: a, filters: {x: {}}}]}`: `say one of config, share and disabled`,
		`filters: {a: [{name: x, config: {"@type": x/Y}}]}
routes: {a: [{to: a, filters: {x: {disabled: true, config: {"@type": x/Y}}}}]}`: `"disabled" cannot stand beside "config"`,
	} {
		_, err := Parse("p.yaml", []byte("services: {a: {endpoints: [192.0.2.1:1]}}\n"+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %v, want %q", text, err, want)
		}
	}
}
