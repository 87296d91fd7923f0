package mesh_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/filter/cel"
	"github.com/weft-mesh/weft/mesh"
)

const headerInput = `{name: i, typedConfig: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, headerName: `

// executes is an on_match that has requests pass a chain of stamps.
func executes(marks ...string) string {
	var list []string
	for _, m := range marks {
		list = append(list, `{name: s, typedConfig: `+stampConfig(`mark: `+m)+`}`)
	}
	return action(`ExecuteFilterAction, filterChain: {typedConfig: [` + strings.Join(list, ", ") + `]}`)
}

func action(fields string) string {
	return `{action: {name: a, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.composite.v3.` + fields + `}}}`
}

const skips = `{action: {name: a, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter}}}`

// withMatcher is a composite filter with a match tree.
func withMatcher(tree string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher, xdsMatcher: {` + tree + `},
		extensionConfig: {name: c, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite}}}`
}

func perRoute(tree string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute, xdsMatcher: {` + tree + `}}`
}

func byHeader(kind, name string, entries ...string) string {
	return `matcherTree: {input: ` + headerInput + name + `}}, ` + kind + `: {map: {` + strings.Join(entries, ", ") + `}}}`
}

func when(predicate, then string) string {
	return `{predicate: {` + predicate + `}, onMatch: ` + then + `}`
}

func header(name, match string) string {
	return `singlePredicate: {input: ` + headerInput + name + `}}, valueMatch: {` + match + `}}`
}

// TestComposite has match trees find the filters of calls, in both protocols (row R12,
// gRFCs A103 and A106).
func TestComposite(t *testing.T) {
	const none = "none"
	user := values{"x-user": {"ann"}, "x-kind": {"ab"}}
	for _, test := range []struct {
		name     string
		config   string
		override string
		header   values
		want     []string // marks; {none} for a tree that finds nothing
	}{
		{"exact", withMatcher(byHeader("exactMatchMap", "x-user", `ann: `+executes("a"), `bob: `+executes("b"))), "", user, []string{"a"}},
		{"exact, of the path", withMatcher(byHeader("exactMatchMap", `":path"`, `/shop.Orders/Get: `+executes("a"))), "", user, []string{"a"}},
		{"exact, not found", withMatcher(byHeader("exactMatchMap", "x-user", `bob: `+executes("b"))), "", user, []string{none}},
		{"no header", withMatcher(byHeader("exactMatchMap", "x-user", `"": `+executes("b"))), "", nil, []string{none}},
		{"otherwise", withMatcher(byHeader("exactMatchMap", "x-user", `bob: `+executes("b")) + `, onNoMatch: ` + executes("o")), "", user, []string{"o"}},
		{"longest prefix", withMatcher(byHeader("prefixMatchMap", "x-kind", `a: `+executes("a"), `ab: `+executes("l"), `abc: `+executes("b"))), "", user, []string{"l"}},
		{"prefix whose tree finds nothing", withMatcher(byHeader("prefixMatchMap", "x-kind", `a: `+executes("a"),
			`ab: {matcher: {`+byHeader("exactMatchMap", "x-user", `bob: `+executes("b"))+`}}`)), "", user, []string{"a"}},
		{"a chain", withMatcher(byHeader("exactMatchMap", "x-user", `ann: `+executes("a", "b", "c"))), "", user, []string{"a", "b", "c"}},
		{"skip", withMatcher(byHeader("exactMatchMap", "x-user", `ann: `+skips)), "", user, nil},
		{"never sampled", withMatcher(byHeader("exactMatchMap", "x-user", `ann: `+action(`ExecuteFilterAction, typedConfig: {name: s, typedConfig: `+stampConfig(`mark: a`)+`}, samplePercent: {defaultValue: {numerator: 0}}`))), "", user, nil},
		{"always sampled", withMatcher(byHeader("exactMatchMap", "x-user", `ann: `+action(`ExecuteFilterAction, typedConfig: {name: s, typedConfig: `+stampConfig(`mark: a`)+`}, samplePercent: {defaultValue: {numerator: 200}}`))), "", user, []string{"a"}},
		{"list, the first", withMatcher(`matcherList: {matchers: [` + when(header("x-user", "prefix: a"), executes("a")) + `, ` + when(header("x-user", "exact: ann"), executes("b")) + `]}`), "", user, []string{"a"}},
		{"list, the second", withMatcher(`matcherList: {matchers: [` + when(header("x-user", "suffix: a"), executes("a")) + `, ` + when(header("x-user", "exact: ANN, ignoreCase: true"), executes("b")) + `]}`), "", user, []string{"b"}},
		{"and", withMatcher(`matcherList: {matchers: [` + when(`andMatcher: {predicate: [{`+header("x-user", "contains: nn")+`}, {`+header("x-kind", `safeRegex: {googleRe2: {}, regex: "a."}`)+`}]}`, executes("a")) + `]}`), "", user, []string{"a"}},
		{"and, one not", withMatcher(`matcherList: {matchers: [` + when(`andMatcher: {predicate: [{`+header("x-user", "contains: nn")+`}, {`+header("x-kind", `safeRegex: {googleRe2: {}, regex: "a"}`)+`}]}`, executes("a")) + `]}`), "", user, []string{none}},
		{"or", withMatcher(`matcherList: {matchers: [` + when(`orMatcher: {predicate: [{`+header("x-none", "exact: a")+`}, {`+header("x-kind", "exact: ab")+`}]}`, executes("a")) + `]}`), "", user, []string{"a"}},
		{"not", withMatcher(`matcherList: {matchers: [` + when(`notMatcher: {`+header("x-none", "exact: a")+`}`, executes("a")) + `]}`), "", user, []string{"a"}},
		{"own matcher", withMatcher(`matcherList: {matchers: [` + when(`singlePredicate: {input: {name: i, typedConfig: {"@type": type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput}},
			customMatch: {name: m, typedConfig: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, typeUrl: example.com/weft.test.User, value: {name: ann}}}}`, executes("a")) + `]}`), "", user, []string{"a"}},
		{"override", withMatcher(byHeader("exactMatchMap", "x-user", `ann: `+executes("a"))), perRoute(byHeader("exactMatchMap", "x-user", `ann: `+executes("r"))), user, []string{"r"}},
		{"composite with a matcher", `{"@type": type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite,
			namedFilterChains: {n: {typedConfig: [{name: s, typedConfig: ` + stampConfig(`mark: n`) + `}]}},
			matcher: {` + byHeader("exactMatchMap", "x-user", `ann: `+action(`ExecuteFilterAction, filterChainName: n`)) + `}}`, "", user, []string{"n"}},
		{"a name that is not there", `{"@type": type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite,
			matcher: {` + byHeader("exactMatchMap", "x-user", `ann: `+action(`ExecuteFilterAction, filterChainName: n`)) + `}}`, "", user, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				route := ""
				if test.override != "" {
					route = override("c", test.override)
				}
				type user struct{ Name string }
				m := newMesh(t, filtering(p.service("back", echoBackend(t, p)), []string{httpFilter("c", test.config)}, levels("", "", route, "")),
					mesh.WithFilter(stamps(&ends{}), filter.MatcherOf("example.com/weft.test.User", func(u user) (filter.Matcher, error) {
						return userMatcher(u.Name), nil
					})))
				got, err := echo(t, m, p, "front", "/shop.Orders/Get", test.header)
				want := test.want
				if slices.Equal(want, []string{none}) {
					if p.name == "grpc" {
						if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "composite") {
							t.Errorf("the call ended with %v", err)
						}
						return
					}
					want = nil
				}
				if err != nil || !slices.Equal(got.Header["x-mark"], want) {
					t.Errorf("marks %v, %v; want %v", got.Header["x-mark"], err, want)
				}
			})
		})
	}
}

// userMatcher is a matcher of the program's own.
type userMatcher string

var userHeader = filter.NewHeaderName("x-user")

func (m userMatcher) Matches(r *filter.Request) bool { return r.Header.Get(userHeader) == string(m) }

// TestCompositeRefused has bad trees refuse the resource.
func TestCompositeRefused(t *testing.T) {
	deep := byHeader("exactMatchMap", "x", `a: `+skips)
	for range 16 {
		deep = byHeader("exactMatchMap", "x", `a: {matcher: {`+deep+`}}`)
	}
	nested := withMatcher(byHeader("exactMatchMap", "x", `a: `+skips))
	for range 8 {
		nested = withMatcher(byHeader("exactMatchMap", "x", `a: `+action(`ExecuteFilterAction, typedConfig: {name: n, typedConfig: `+nested+`}`)))
	}
	for _, test := range []struct{ name, config, want string }{
		{"keep_matching", withMatcher(byHeader("exactMatchMap", "x", `a: `+strings.Replace(skips, "{action", "{keepMatching: true, action", 1))), "matcher_tree.exact_match_map[a].keep_matching"},
		{"unknown filter", withMatcher(byHeader("exactMatchMap", "x", `a: `+action(`ExecuteFilterAction, typedConfig: {name: n, typedConfig: {"@type": type.googleapis.com/google.protobuf.Empty}}`))),
			"exact_match_map[a].action.typed_config.typed_config.typed_config: filter of unknown type type.googleapis.com/google.protobuf.Empty"},
		{"the router", withMatcher(byHeader("exactMatchMap", "x", `a: `+action(`ExecuteFilterAction, typedConfig: {name: n, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`))), "filter of unknown type"},
		{"bad filter", withMatcher(byHeader("exactMatchMap", "x", `a: `+action(`ExecuteFilterAction, typedConfig: {name: n, typedConfig: `+stampConfig(`bad: true`)+`}`))), "bad: must not be true"},
		{"no filter", withMatcher(byHeader("exactMatchMap", "x", `a: `+action(`ExecuteFilterAction`))), "must have typed_config, filter_chain or filter_chain_name"},
		{"unknown action", withMatcher(byHeader("exactMatchMap", "x", `a: {action: {name: a, typedConfig: {"@type": type.googleapis.com/google.protobuf.Empty}}}`)), `action of type "type.googleapis.com/google.protobuf.Empty"`},
		{"unknown input", withMatcher(`matcherTree: {input: {name: i, typedConfig: {"@type": type.googleapis.com/google.protobuf.Empty}}, exactMatchMap: {map: {a: ` + skips + `}}}`), "matcher_tree.input.typed_config: input of type"},
		{"unknown matcher", withMatcher(`matcherList: {matchers: [` + when(`singlePredicate: {input: `+headerInput+`x}}, customMatch: {name: m, typedConfig: {"@type": type.googleapis.com/google.protobuf.Empty}}}`, skips) + `]}`),
			"matchers[0].predicate.single_predicate.custom_match.typed_config: filter of unknown type"},
		{"a filter for a matcher", withMatcher(`matcherList: {matchers: [` + when(`singlePredicate: {input: `+headerInput+`x}}, customMatch: {name: m, typedConfig: `+stampConfig("")+`}}`, skips) + `]}`), "is not a matcher"},
		{"too deep", withMatcher(deep), "is more than 16 deep"},
		{"too deep in others", nested, "filters stand within others more than 8 deep"},
		{"not a composite", strings.Replace(withMatcher(byHeader("exactMatchMap", "x", `a: `+skips)), "envoy.extensions.filters.http.composite.v3.Composite}", "google.protobuf.Empty}", 1), "must be a composite filter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := mesh.New(mesh.WithFilter(stamps(&ends{})),
				mesh.WithPolicy([]byte(filtering("  back: {endpoints: [127.0.0.1:1]}\n", []string{httpFilter("c", test.config)}, levels("", "", "", "")))))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// TestCompositeCEL has match trees look at calls by expressions (gRFC A106).
func TestCompositeCEL(t *testing.T) {
	config := withMatcher(`matcherList: {matchers: [` + when(`singlePredicate: {input: {name: i, typedConfig: {"@type": type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput}},
		customMatch: {name: m, typedConfig: {"@type": type.googleapis.com/xds.type.matcher.v3.CelMatcher,
			exprMatch: {celExprString: "request.headers['x-user'] == 'ann' && request.path.endsWith('Get') && request.host == 'front'"}}}}`, executes("a")) + `]}, onNoMatch: ` + skips)
	eachProtocol(t, func(t *testing.T, p protocol) {
		matcher, err := cel.Matcher()
		if err != nil {
			t.Fatal(err)
		}
		m := newMesh(t, filtering(p.service("back", echoBackend(t, p)), []string{httpFilter("c", config)}, levels("", "", "", "")), mesh.WithFilter(stamps(&ends{}), matcher))
		for user, want := range map[string][]string{"ann": {"a"}, "bob": nil} {
			got, err := echo(t, m, p, "front", "/shop.Orders/Get", values{"x-user": {user}})
			if err != nil || !slices.Equal(got.Header["x-mark"], want) {
				t.Errorf("marks of %s: %v, %v; want %v", user, got.Header["x-mark"], err, want)
			}
		}
	})
}
