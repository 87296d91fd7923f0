package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh"
)

// stamp is a filter of the test's own: it leaves its mark wherever it can.
type stamp struct {
	Mark   string // goes into x-mark, of requests and responses
	Status int    // answers with it
	Fail   string // fails the call with it
	Wait   bool   // waits for the end of the call's context
	Refuse bool   // refuses the response
	Path   string // goes into the path
	Bad    bool   // is a bad configuration

	ends *ends
}

// ends are how calls ended, for the filters that followed them.
type ends struct {
	sync.Mutex
	list []string
}

func (e *ends) add(format string, args ...any) {
	e.Lock()
	defer e.Unlock()
	e.list = append(e.list, fmt.Sprintf(format, args...))
}

func (e *ends) take() []string {
	e.Lock()
	defer e.Unlock()
	list := e.list
	e.list = nil
	return list
}

var mark = filter.NewHeaderName("X-Mark")

func stamps(e *ends) filter.Kind {
	return filter.Of("example.com/weft.test.Stamp", func(s stamp) (filter.Filter, error) {
		if s.Bad {
			return nil, errors.New("bad: must not be true")
		}
		s.ends = e
		return &s, nil
	})
}

var errStamp = errors.New("the stamp's cause")

func (s *stamp) Request(ctx context.Context, r *filter.Request) (filter.Follower, error) {
	if s.Mark != "" {
		r.Header.Add(mark, s.Mark)
	}
	if s.Path != "" {
		r.Path, r.RawQuery = s.Path, ""
	}
	switch {
	case s.Status != 0:
		return s, &filter.Reply{Status: s.Status, Body: "stamped", Header: values{"x-reply": {"yes"}}, Err: errStamp}
	case s.Fail != "":
		return s, errors.New(s.Fail)
	case s.Wait:
		<-ctx.Done()
		return s, ctx.Err()
	}
	return s, nil
}

func (s *stamp) Response(_ context.Context, r *filter.Response) error {
	r.Header.Add(mark, s.Mark)
	if s.Refuse {
		return &filter.Reply{Status: http.StatusBadGateway, Body: "refused"}
	}
	return nil
}

func (s *stamp) Trailer(r *filter.Response) { r.Trailer.Add(mark, s.Mark) }

func (s *stamp) End(o filter.Outcome) {
	s.ends.add("%s %d %v %t", s.Mark, o.Status, o.Code, o.Err != nil)
}

// stampConfig is the JSON of a stamp's configuration.
func stampConfig(fields string) string {
	return `{"@type": type.googleapis.com/xds.type.v3.TypedStruct, typeUrl: example.com/weft.test.Stamp, value: {` + fields + `}}`
}

// mutationConfig is the JSON of a header mutation, or of an override with one.
func mutationConfig(kind, mutations string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.` + kind + `, mutations: {` + mutations + `}}`
}

func httpFilter(name, config string, more ...string) string {
	return `{name: ` + name + `, typedConfig: ` + config + strings.Join(append([]string{""}, more...), ", ") + `}`
}

// filtering is a policy whose listener "front" has filters, and sends calls to "back".
func filtering(service string, filters []string, routeConfig string) string {
	filters = append(slices.Clip(filters), httpFilter("router", `{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}`))
	return "services:\n" + service + `
resources:
  - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
    name: front
    apiListener:
      apiListener:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        statPrefix: front
        routeConfig: ` + routeConfig + `
        httpFilters: [` + strings.Join(filters, ", ") + `]
`
}

// levels is a route configuration with one weighted cluster, and something at each level.
func levels(config, host, route, cluster string) string {
	return `{name: front, ` + config + `virtualHosts: [{name: all, domains: ["*"], ` + host + `routes: [{name: r, match: {prefix: /}, ` + route + `
		route: {weightedClusters: {clusters: [{name: back, weight: 1, ` + cluster + `}]}}}]}]}`
}

func override(name, config string) string {
	return `typedPerFilterConfig: {` + name + `: ` + config + `}, `
}

func disabled(name string) string {
	return override(name, `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}`)
}

func enabled(name, config string) string {
	return override(name, `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: `+config+`}`)
}

// TestFilters has calls pass filters of policy, those of the program and those that
// come with Weft, in both protocols (rows R1, R10 and R12).
func TestFilters(t *testing.T) {
	a, b := httpFilter("a", stampConfig(`mark: a`)), httpFilter("b", stampConfig(`mark: b`))
	plain := levels("", "", "", "")
	for _, test := range []struct {
		name    string
		filters []string
		routes  string
		want    []string // marks of the request
		back    []string // marks of the response; those of the request reversed if nil
	}{
		{"order", []string{a, b}, plain, []string{"a", "b"}, nil},
		{"one", []string{b}, plain, []string{"b"}, nil},
		{"none", nil, plain, nil, nil},
		{"unknown and optional", []string{a, httpFilter("x", `{"@type": type.googleapis.com/google.protobuf.Empty}`, "isOptional: true")}, plain, []string{"a"}, nil},
		{"disabled in the listener", []string{httpFilter("a", stampConfig(`mark: a`), "disabled: true"), b}, plain, []string{"b"}, nil},
		{"disabled in the listener, enabled by a route", []string{httpFilter("a", stampConfig(`mark: a`), "disabled: true"), b},
			levels("", "", override("a", stampConfig(`mark: r`)), ""), []string{"r", "b"}, nil},
		{"unknown and disabled in the listener", []string{httpFilter("x", `{"@type": type.googleapis.com/google.protobuf.Empty}`, "disabled: true"), b}, plain, []string{"b"}, nil},
		{"overridden by the configuration", []string{a, b}, levels(override("a", stampConfig(`mark: c`)), "", "", ""), []string{"c", "b"}, nil},
		{"overridden by the virtual host", []string{a, b}, levels(override("a", stampConfig(`mark: c`)), override("a", stampConfig(`mark: h`)), "", ""), []string{"h", "b"}, nil},
		{"overridden by the route", []string{a, b}, levels("", override("a", stampConfig(`mark: h`)), enabled("a", stampConfig(`mark: r`)), ""), []string{"r", "b"}, nil},
		{"overridden by the weighted cluster", []string{a, b}, levels("", "", override("a", stampConfig(`mark: r`)), override("a", stampConfig(`mark: w`))), []string{"w", "b"}, nil},
		{"disabled by the configuration", []string{a, b}, levels(disabled("a"), "", "", ""), []string{"b"}, nil},
		{"disabled by the virtual host", []string{a, b}, levels("", disabled("a"), "", ""), []string{"b"}, nil},
		{"disabled by the route", []string{a, b}, levels("", "", disabled("b"), ""), []string{"a"}, nil},
		{"disabled by the weighted cluster", []string{a, b}, levels("", "", "", disabled("b")), []string{"a"}, nil},
		{"disabled, and enabled below", []string{a, b}, levels("", disabled("a"), override("a", stampConfig(`mark: r`)), ""), []string{"r", "b"}, nil},
		{"an override of a filter that is not there", []string{a}, levels("", override("z", stampConfig(`mark: z`)), "", ""), []string{"a"}, nil},
		{"an unknown override that is optional", []string{a}, levels("", override("a",
			`{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, isOptional: true, config: {"@type": type.googleapis.com/google.protobuf.Empty}}`), "", ""), []string{"a"}, nil},
		{"header mutation", []string{httpFilter("m", mutationConfig("HeaderMutation", `requestMutations: [{append: {header: {key: x-mark, value: "m%REQ(x-user)%"}}}, {append: {header: {key: x-mark, value: n}}}, {remove: x-list}],
			responseMutations: [{append: {header: {key: x-mark, value: "m%RESPONSE_CODE%"}}}]`)), a}, plain, []string{"mann", "n", "a"}, []string{"a", "m200"}},
		{"header mutation of a response, by what the route sent", []string{httpFilter("m", mutationConfig("HeaderMutation",
			`requestMutations: [{append: {header: {key: x-mark, value: "%REQ(x-user)%"}}}], responseMutations: [{append: {header: {key: x-mark, value: "%REQ(x-user)%"}}}]`))},
			levels("", "", `requestHeadersToAdd: [{header: {key: x-user, value: bob}, appendAction: OVERWRITE_IF_EXISTS_OR_ADD}], `, ""), []string{"ann"}, []string{"bob"}},
		{"header mutation at all levels", []string{httpFilter("m", mutationConfig("HeaderMutation", `requestMutations: [{append: {header: {key: x-mark, value: l}}}]`))},
			levels(override("m", mutationConfig("HeaderMutationPerRoute", `requestMutations: [{append: {header: {key: x-mark, value: c}}}]`)), "",
				override("m", mutationConfig("HeaderMutationPerRoute", `requestMutations: [{removeOnMatch: {keyMatcher: {prefix: x-u}}}, {append: {header: {key: x-mark, value: "r%REQ(x-user)%"}}}]`)), ""),
			[]string{"l", "r", "c"}, []string{}},
		{"header mutation, the most specific last", []string{httpFilter("m", strings.Replace(mutationConfig("HeaderMutation", `requestMutations: [{append: {header: {key: x-mark, value: l}}}]`), ", mutations:", ", mostSpecificHeaderMutationsWins: true, mutations:", 1))},
			levels(override("m", mutationConfig("HeaderMutationPerRoute", `requestMutations: [{append: {header: {key: x-mark, value: c}}}]`)), "",
				override("m", mutationConfig("HeaderMutationPerRoute", `requestMutations: [{append: {header: {key: x-mark, value: r}}}]`)), ""),
			[]string{"l", "c", "r"}, []string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				backend := echoBackend(t, p)
				e := &ends{}
				m := newMesh(t, filtering(p.service("back", backend), test.filters, test.routes), mesh.WithFilter(stamps(e)))
				got, err := echo(t, m, p, "front", "/shop.Orders/Get", values{"x-user": {"ann"}, "x-list": {"a", "b"}})
				if err != nil {
					t.Fatal(err)
				}
				back := test.back
				if back == nil {
					back = slices.Clone(test.want)
					slices.Reverse(back)
				}
				if diff := cmp.Diff(test.want, got.Header["x-mark"]); diff != "" {
					t.Errorf("marks of the request (-want +got):\n%s", diff)
				}
				if got := got.Response["x-mark"]; !slices.Equal(back, got) {
					t.Errorf("marks of the response: %v, want %v", got, back)
				}
			})
		})
	}
}

// newMesh is a mesh that goes by a policy.
func newMesh(t *testing.T, policy string, opts ...mesh.Option) *mesh.Mesh {
	t.Helper()
	m, err := mesh.New(append(opts, mesh.WithPolicy([]byte(policy)))...)
	if err != nil {
		t.Fatalf("%v in policy\n%s", err, policy)
	}
	t.Cleanup(func() { closing(t, m) })
	return m
}

// TestFilterEndsCall has filters answer calls, fail them and hold them up.
func TestFilterEndsCall(t *testing.T) {
	outer := httpFilter("a", stampConfig(`mark: a`))
	for _, test := range []struct {
		name   string
		config string
		http   string // the status, or part of the error
		grpc   codes.Code
		ends   map[string][]string
	}{
		{"reply", `mark: b, status: 403`, "status 403: stamped", codes.PermissionDenied,
			map[string][]string{"grpc": {"b 0 PermissionDenied false", "a 0 PermissionDenied false"}, "http": {"b 403 OK false", "a 403 OK false"}}},
		{"failure", `mark: b, fail: "no way"`, "front: no way", codes.Unavailable,
			map[string][]string{"grpc": {"b 0 Unavailable false", "a 0 Unavailable false"}, "http": {"b 0 OK true", "a 0 OK true"}}},
		{"response refused", `mark: b, refuse: true`, "status 502: refused", codes.Unavailable,
			map[string][]string{"grpc": {"b 0 Unavailable false", "a 0 Unavailable false"}, "http": {"b 502 OK false", "a 502 OK false"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				e := &ends{}
				m := newMesh(t, filtering(p.service("back", echoBackend(t, p)), []string{outer, httpFilter("b", stampConfig(test.config))}, levels("", "", "", "")),
					mesh.WithFilter(stamps(e)))
				got, err := echo(t, m, p, "front", "/shop.Orders/Get", nil)
				switch {
				case err == nil:
					t.Fatal("the call did not fail")
				case p.name == "grpc" && status.Code(err) != test.grpc:
					t.Errorf("the call ended with %v, want %v", err, test.grpc)
				case p.name == "http" && !strings.Contains(err.Error(), test.http):
					t.Errorf("the call ended with %v, want %s", err, test.http)
				}
				if test.name == "reply" {
					if p.name == "grpc" && !errors.Is(err, errStamp) {
						t.Errorf("%v does not wrap its cause", err)
					}
					if p.name == "http" && (!slices.Equal(got.Response["X-Reply"], []string{"yes"}) || !slices.Equal(got.Response["X-Mark"], []string{"b", "a"})) {
						t.Errorf("the response's header is %v", got.Response)
					}
				}
				if diff := cmp.Diff(test.ends[p.name], e.take()); diff != "" {
					t.Errorf("ends (-want +got):\n%s", diff)
				}
			})
		})
	}
	t.Run("wait", func(t *testing.T) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			m := newMesh(t, filtering(p.service("back", echoBackend(t, p)), []string{outer, httpFilter("b", stampConfig(`wait: true`))}, levels("", "", "", "")),
				mesh.WithFilter(stamps(&ends{})))
			ctx, cancel := context.WithCancel(context.Background())
			call := p.client(t, m, "front")
			failed := make(chan error)
			go func() {
				_, err := call(ctx, request{})
				failed <- err
			}()
			cancel()
			err := receive(t, "the call's end", failed)
			if !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
				t.Errorf("the call ended with %v", err)
			}
		})
	})
}

// TestFilterChangesPath has a filter send calls to another path, which the route then
// rewrites.
func TestFilterChangesPath(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, filtering(p.service("back", echoBackend(t, p)), []string{httpFilter("a", stampConfig(`path: /shop.Orders/Put`))},
			`{name: front, virtualHosts: [{name: all, domains: ["*"], routes: [
				{match: {path: /shop.Orders/Get}, route: {cluster: back}},
				{match: {prefix: /shop.}, route: {cluster: back, prefixRewrite: /mall.}}]}]}`),
			mesh.WithFilter(stamps(&ends{})))
		for from, want := range map[string]string{"/shop.Orders/Get": "/shop.Orders/Put", "/shop.Orders/List": "/mall.Orders/Put"} {
			got, err := echo(t, m, p, "front", from, nil)
			if err != nil || got.Path != want {
				t.Errorf("the backend got %s for %s, %v", got.Path, from, err)
			}
			if original := got.Header["x-envoy-original-path"]; want == "/mall.Orders/Put" && !slices.Equal(original, []string{"/shop.Orders/Put"}) {
				t.Errorf("the original path is %v", original)
			}
		}
	})
}

// TestFilterQuery has policy change query parameters.
func TestFilterQuery(t *testing.T) {
	p := protocols[1]
	m := newMesh(t, filtering(p.service("back", echoBackend(t, p)), []string{httpFilter("m", mutationConfig("HeaderMutation", `queryParameterMutations: [
		{remove: a}, {append: {record: {key: b, value: "%REQ(x-user)%"}}}, {append: {record: {key: c, value: "3 4"}, action: OVERWRITE_IF_EXISTS_OR_ADD}},
		{append: {record: {key: d, value: no}, action: OVERWRITE_IF_EXISTS}}, {append: {record: {key: b, value: no}, action: ADD_IF_ABSENT}}]`))}, levels("", "", "", "")))
	got, err := echo(t, m, p, "front", "/x?a=1&b=2&c=3", values{"x-user": {"ann"}})
	if want := "/x?b=2&b=ann&c=3%204"; err != nil || got.Path != want {
		t.Errorf("the backend got %s, %v; want %s", got.Path, err, want)
	}
}

// TestFilterStreams has filters see a stream's header, trailer and end.
func TestFilterStreams(t *testing.T) {
	p := protocols[0]
	for _, config := range []string{`mark: a`, `mark: a, refuse: true`} {
		e := &ends{}
		m := newMesh(t, filtering(p.service("back", p.backend(t, "v1")), []string{httpFilter("a", stampConfig(config))}, levels("", "", "", "")),
			mesh.WithFilter(stamps(e)))
		ctx := metadata.AppendToOutgoingContext(within(t, long), "want-header", "yes")
		var header, trailer metadata.MD
		s, err := dial(t, m, "front").NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/shop.Orders/Watch", grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil {
			t.Fatal(err)
		}
		in := new(wrapperspb.StringValue)
		if err := errors.Join(s.SendMsg(wrapperspb.String("")), s.CloseSend()); err != nil {
			t.Fatal(err)
		}
		err = s.RecvMsg(in)
		if strings.Contains(config, "refuse") {
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "refused") {
				t.Errorf("the stream ended with %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen, err := s.Header()
		if err != nil || !slices.Equal(seen.Get("x-mark"), []string{"a"}) {
			t.Errorf("header %v, %v", seen, err)
		}
		if err := s.RecvMsg(in); err == nil {
			t.Fatal("the stream goes on")
		}
		if seen := s.Trailer(); !slices.Equal(seen.Get("x-mark"), []string{"a"}) || !slices.Equal(seen.Get("end"), []string{"v1"}) {
			t.Errorf("trailer %v", seen)
		}
		if !slices.Equal(header.Get("x-mark"), []string{"a"}) || !slices.Equal(trailer.Get("x-mark"), []string{"a"}) {
			t.Errorf("the options got header %v, trailer %v", header, trailer)
		}
		if diff := cmp.Diff([]string{"a 0 OK false"}, e.take()); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
	}
}

// TestFilterTrailer has a filter change the trailer of an HTTP response.
func TestFilterTrailer(t *testing.T) {
	p := protocols[1]
	m := newMesh(t, filtering(p.service("back", p.backend(t, "v1")), []string{httpFilter("a", mutationConfig("HeaderMutation",
		`responseTrailersMutations: [{append: {header: {key: x-mark, value: "%RESP(proto)%"}}}, {append: {header: {key: end, value: b}}}]`))}, levels("", "", "", "")))
	resp, err := m.HTTPClient().Get("http://front/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(http.Header{"X-Mark": {"HTTP/1.1"}, "End": {"v1", "b"}}, resp.Trailer); diff != "" {
		t.Errorf("trailer (-want +got):\n%s", diff)
	}
}

// TestFilterRefused has bad filters refuse the resource, with an error that names the
// field.
func TestFilterRefused(t *testing.T) {
	good := httpFilter("a", stampConfig(`mark: a`))
	empty := `{"@type": type.googleapis.com/google.protobuf.Empty}`
	for _, test := range []struct {
		name    string
		filters []string
		routes  string
		want    string
	}{
		{"bad configuration", []string{good, httpFilter("b", stampConfig(`bad: true`))}, levels("", "", "", ""), "http_filters[1].typed_config: bad: must not be true"},
		{"unknown field", []string{httpFilter("b", stampConfig(`marc: true`))}, levels("", "", "", ""), `http_filters[0].typed_config: json: unknown field "marc"`},
		{"unknown type", []string{httpFilter("b", empty)}, levels("", "", "", ""), `http_filters[0]: filter "b" of type type.googleapis.com/google.protobuf.Empty`},
		{"bad override", []string{good}, levels("", "", override("a", stampConfig(`bad: true`)), ""), "routes[0].typed_per_filter_config[a]: bad: must not be true"},
		{"unknown override", []string{good}, levels("", override("a", empty), "", ""), "virtual_hosts[0].typed_per_filter_config[a]: filter of type type.googleapis.com/google.protobuf.Empty"},
		{"empty override", []string{good}, levels("", override("a", `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig}`), "", ""), "typed_per_filter_config[a].config: must be set"},
		{"bad mutation", []string{httpFilter("m", mutationConfig("HeaderMutation", `responseMutations: [{remove: x}, {append: {header: {key: "a b"}}}]`))}, levels("", "", "", ""),
			"http_filters[0].typed_config: mutations.response_mutations[1].append.header.key:"},
		{"bad query", []string{httpFilter("m", mutationConfig("HeaderMutation", `queryParameterMutations: [{append: {record: {key: b, value: 7}}}]`))}, levels("", "", "", ""),
			"mutations.query_parameter_mutations[0].append.record.value: must be a string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := mesh.New(mesh.WithFilter(stamps(&ends{})),
				mesh.WithPolicy([]byte(filtering("  back: {endpoints: [127.0.0.1:1]}\n", test.filters, test.routes))))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	t.Run("an override of another kind", func(t *testing.T) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			m := newMesh(t, filtering(p.service("back", p.backend(t, "v1")), []string{good}, levels("", "", "", override("a", mutationConfig("HeaderMutationPerRoute", "")))),
				mesh.WithFilter(stamps(&ends{})))
			_, err := p.client(t, m, "front")(within(t, long), request{})
			if err == nil || !errors.Is(err, mesh.ErrNoRoute) && status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `filter "a"`) {
				t.Errorf("the call ended with %v", err)
			}
		})
	})
	t.Run("two kinds of one type", func(t *testing.T) {
		_, err := mesh.New(mesh.WithPolicy(nil), mesh.WithFilter(stamps(nil), stamps(nil)))
		if err == nil || !strings.Contains(err.Error(), "two kinds of type weft.test.Stamp") {
			t.Errorf("got %v", err)
		}
	})
}
