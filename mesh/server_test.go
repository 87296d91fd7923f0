package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// chain is a filter chain of a server's listener.
func chain(more string, filters []string, routeConfig string) string {
	filters = append(slices.Clip(filters), httpFilter("router", `{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}`))
	return `{` + more + `filters: [{name: hcm, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
		statPrefix: in, ` + routeConfig + `, httpFilters: [` + strings.Join(filters, ", ") + `]}}]}`
}

// serving is a policy with the listener of server "orders".
func serving(chains string) string {
	return `
resources:
  - {"@type": type.googleapis.com/envoy.config.listener.v3.Listener, name: inbound/orders,
     address: {socketAddress: {address: 0.0.0.0, portValue: 8080}}, ` + chains + `}
`
}

// inboundRoutes are two routes of a server, with something at each level.
func inboundRoutes(config, host, route string) string {
	return `routeConfig: {name: in, ` + config + ` virtualHosts: [{name: all, domains: ["*"], ` + host + ` routes: [
		{name: r, match: {path: /shop.Orders/Get}, ` + route + ` nonForwardingAction: {}},
		{name: rest, match: {prefix: /shop.}, nonForwardingAction: {}},
		{name: forward, match: {prefix: /forward.}, route: {cluster: back}}]}]}`
}

// server starts a server that goes by the policy of "orders" in m, and tells what reached
// it as echoBackend does.
func server(t testing.TB, p protocol, m *mesh.Mesh) *meshtest.Backend {
	if p.name == "http" {
		return meshtest.HTTP(t, m.Handler("orders", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Seen", strings.Join(r.Header.Values("X-Mark"), ","))
			w.Header().Set("Trailer", "End")
			_ = http.NewResponseController(w).Flush()
			fmt.Fprint(w, r.URL.Path)
			w.Header().Set("End", "e")
		})))
	}
	return meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, append(m.ServerOptions("orders"),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			in := new(wrapperspb.StringValue)
			if err := s.RecvMsg(in); err != nil {
				return err
			}
			md, _ := metadata.FromIncomingContext(s.Context())
			if err := grpc.SetHeader(s.Context(), metadata.Pairs("seen", strings.Join(md.Get("x-mark"), ","))); err != nil {
				return err
			}
			s.SetTrailer(metadata.Pairs("end", "e"))
			method, _ := grpc.Method(s.Context())
			return s.SendMsg(wrapperspb.String(method))
		}))...)
}

// came is what a caller without a mesh got.
type came struct {
	Body, Seen        string
	Header, Trailer   []string // x-mark
	End, Reply, Error string
}

// ask calls a server, without a mesh.
func ask(ctx context.Context, t testing.TB, p protocol, addr, path string) came {
	t.Helper()
	if p.name == "http" {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return came{Error: err.Error()}
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return came{Error: err.Error()}
		}
		got := came{Body: string(body), Seen: resp.Header.Get("Seen"), Header: resp.Header["X-Mark"], Trailer: resp.Trailer["X-Mark"],
			End: resp.Trailer.Get("End"), Reply: resp.Header.Get("X-Reply")}
		if resp.StatusCode != http.StatusOK {
			got.Body, got.Error = "", fmt.Sprintf("%d: %s", resp.StatusCode, body)
		}
		return got
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var header, trailer metadata.MD
	reply := new(wrapperspb.StringValue)
	err = conn.Invoke(ctx, path, wrapperspb.String(""), reply, grpc.Header(&header), grpc.Trailer(&trailer))
	got := came{Body: reply.GetValue(), Seen: strings.Join(header.Get("seen"), ","), Header: header.Get("x-mark"), Trailer: trailer.Get("x-mark"),
		End: strings.Join(trailer.Get("end"), ",")}
	if err != nil {
		got.Error = err.Error()
	}
	return got
}

// TestServerFilters has filters act on the calls that come in, as they do on those that
// go out.
func TestServerFilters(t *testing.T) {
	a, b := httpFilter("a", stampConfig(`mark: a`)), httpFilter("b", stampConfig(`mark: b`))
	plain := inboundRoutes("", "", "")
	override := func(config string) string { return `typedPerFilterConfig: {a: ` + config + `},` }
	disabled := override(`{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}`)
	for _, test := range []struct {
		name    string
		filters []string
		routes  string
		path    string
		want    came
		ends    []string // of gRPC
	}{
		{"none", nil, plain, "", came{Body: "/shop.Orders/Get", End: "e"}, nil},
		{"in order", []string{a, b}, plain, "", came{"/shop.Orders/Get", "a,b", []string{"b", "a"}, []string{"b", "a"}, "e", "", ""}, []string{"b 0 OK false", "a 0 OK false"}},
		{"overridden by the configuration", []string{a}, inboundRoutes(override(stampConfig(`mark: c`)), "", ""), "", came{"/shop.Orders/Get", "c", []string{"c"}, []string{"c"}, "e", "", ""}, []string{"c 0 OK false"}},
		{"overridden by the virtual host", []string{a}, inboundRoutes(override(stampConfig(`mark: c`)), override(stampConfig(`mark: h`)), ""), "", came{"/shop.Orders/Get", "h", []string{"h"}, []string{"h"}, "e", "", ""}, []string{"h 0 OK false"}},
		{"overridden by the route", []string{a, b}, inboundRoutes("", override(stampConfig(`mark: h`)), override(stampConfig(`mark: r`))), "", came{"/shop.Orders/Get", "r,b", []string{"b", "r"}, []string{"b", "r"}, "e", "", ""}, []string{"b 0 OK false", "r 0 OK false"}},
		{"overridden by another route", []string{a}, inboundRoutes("", "", disabled), "/shop.Orders/Put", came{"/shop.Orders/Put", "a", []string{"a"}, []string{"a"}, "e", "", ""}, []string{"a 0 OK false"}},
		{"disabled by the route", []string{a, b}, inboundRoutes("", "", disabled), "", came{"/shop.Orders/Get", "b", []string{"b"}, []string{"b"}, "e", "", ""}, []string{"b 0 OK false"}},
		{"header mutation", []string{httpFilter("m", mutationConfig("HeaderMutation", `requestMutations: [{append: {header: {key: x-mark, value: "m%REQ(:path)%"}}}],
			responseMutations: [{append: {header: {key: x-mark, value: "m%RESPONSE_CODE%"}}}], responseTrailersMutations: [{append: {header: {key: x-mark, value: t}}}]`))}, plain, "",
			came{"/shop.Orders/Get", "m/shop.Orders/Get", []string{"m200"}, []string{"t"}, "e", "", ""}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				e := &ends{}
				m := newMesh(t, serving(`filterChains: [`+chain("", test.filters, test.routes)+`]`), mesh.WithFilter(stamps(e)))
				s := server(t, p, m)
				path := test.path
				if path == "" {
					path = "/shop.Orders/Get"
				}
				if diff := cmp.Diff(test.want, ask(within(t, long), t, p, s.Addr, path)); diff != "" {
					t.Errorf("served (-want +got):\n%s", diff)
				}
				s.Stop() // filters may hear of the end after the caller does
				if got := e.take(); p.name == "grpc" && !slices.Equal(got, test.ends) {
					t.Errorf("ends: %q, want %q", got, test.ends)
				}
			})
		})
	}
}

// TestServerReply has filters end calls, and responses.
func TestServerReply(t *testing.T) {
	for _, test := range []struct {
		config     string
		http, grpc string
		status     codes.Code
	}{
		{`mark: b, status: 403`, "403: stamped", "stamped", codes.PermissionDenied},
		{`mark: b, fail: "a secret of the policy"`, "503: weft: orders: the call is refused by policy", "refused by policy", codes.Unavailable},
		{`mark: b, refuse: true`, "502: refused", "refused", codes.Unavailable},
	} {
		eachProtocol(t, func(t *testing.T, p protocol) {
			e := &ends{}
			m := newMesh(t, serving(`defaultFilterChain: `+chain("", []string{httpFilter("a", stampConfig(`mark: a`)), httpFilter("b", stampConfig(test.config))}, inboundRoutes("", "", ""))),
				mesh.WithFilter(stamps(e)))
			s := server(t, p, m)
			got := ask(within(t, long), t, p, s.Addr, "/shop.Orders/Get")
			switch {
			case p.name == "http" && got.Error != test.http:
				t.Errorf("%s: answered with %+v", test.config, got)
			case p.name == "grpc" && (!strings.Contains(got.Error, test.grpc) || !strings.Contains(got.Error, test.status.String()) || strings.Contains(got.Error, "secret")):
				t.Errorf("%s: ended with %+v", test.config, got)
			}
			if strings.Contains(test.config, "status") && p.name == "http" && (got.Reply != "yes" || !slices.Equal(got.Header, []string{"b", "a"})) {
				t.Errorf("%s: answered with %+v", test.config, got)
			}
			s.Stop()
			if got := e.take(); len(got) != 2 || !strings.HasPrefix(got[0], "b ") || !strings.HasPrefix(got[1], "a ") {
				t.Errorf("%s: ends %q", test.config, got)
			}
		})
	}
}

// TestServerRefuses has policy that is not there, or asks for more than can be done,
// refuse the calls.
func TestServerRefuses(t *testing.T) {
	routes := inboundRoutes("", "", "")
	tls := `transportSocket: {name: tls, typedConfig: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}},`
	match := `filterChainMatch: {sourcePorts: [7]},`
	refused := came{Error: "503: weft: orders: the call is refused by policy"}
	for _, test := range []struct {
		name, policy, path string
		want               came
	}{
		{"missing", "resources: []", "", refused},
		{"API listener", strings.Replace(filtering("", nil, levels("", "", "", "")), "name: front", "name: inbound/orders", 1), "", refused},
		{"TLS", serving(`filterChains: [` + chain(tls, nil, routes) + `]`), "", refused},
		{"TLS by default", serving(`defaultFilterChain: ` + chain(tls, nil, routes)), "", refused},
		{"TLS in one of two chains", serving(`filterChains: [` + chain("", nil, routes) + `], defaultFilterChain: ` + chain(tls, nil, routes)), "", refused},
		{"match", serving(`filterChains: [` + chain(match, nil, routes) + `], defaultFilterChain: ` + chain("", nil, routes)), "", refused},
		{"several chains", serving(`filterChains: [` + chain("name: a, ", nil, routes) + `, ` + chain("name: b,", nil, routes) + `]`), "", refused},
		{"discovered filter that is not supported", serving(`filterChains: [`+chain("", []string{`{name: x, configDiscovery: {configSource: {ads: {}}, typeUrls: [envoy.extensions.filters.http.buffer.v3.Buffer]}}`}, routes)+`]`) +
			`  - {"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: x, typedConfig: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, typeUrl: type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer}}
`, "", refused},
		{"no route", serving(`filterChains: [` + chain("", nil, routes) + `]`), "/mall.Orders/Get", came{Error: "404: weft: orders: no route"}},
		{"route that forwards", serving(`filterChains: [` + chain("", nil, routes) + `]`), "/forward.Orders/Get", refused},
		{"header change of the configuration", serving(`filterChains: [` + chain("", nil, inboundRoutes("requestHeadersToRemove: [x-user],", "", "")) + `]`), "", refused},
		{"header change of the virtual host", serving(`filterChains: [` + chain("", nil, inboundRoutes("", "requestHeadersToRemove: [x-user],", "")) + `]`), "", refused},
		{"header change of the route", serving(`filterChains: [` + chain("", nil, inboundRoutes("", "", "responseHeadersToRemove: [x-user],")) + `]`), "", refused},
		{"TLS by virtual host", serving(`filterChains: [` + chain("", nil, inboundRoutes("", "requireTls: ALL,", "")) + `]`), "", refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				s := server(t, p, newMesh(t, test.policy))
				path := test.path
				if path == "" {
					path = "/shop.Orders/Get"
				}
				got := ask(within(t, long), t, p, s.Addr, path)
				want := test.want
				if p.name == "grpc" {
					_, text, _ := strings.Cut(want.Error, ": ")
					want.Error = status.Error(codes.Unavailable, text).Error()
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("served (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestServerBadListener has listeners that a server cannot go by refuse the policy, with
// an error that names the field (gRFCs A36, A39, A41).
func TestServerBadListener(t *testing.T) {
	routes := inboundRoutes("", "", "")
	good := chain("", nil, routes)
	for _, test := range []struct{ chains, want string }{
		{`listenerFilters: [{name: x}], filterChains: [` + good + `]`, "listener_filters: not supported"},
		{`useOriginalDst: true, filterChains: [` + good + `]`, "use_original_dst: not supported"},
		{`filterChains: [` + strings.Replace(good, "filters: [", `filters: [{name: x}, `, 1) + `]`, "filter_chains[0].filters: must have one entry"},
		{`defaultFilterChain: ` + chain("", []string{httpFilter("x", `{"@type": type.googleapis.com/google.protobuf.Empty}`)}, routes), `default_filter_chain.filters[0].typed_config.http_filters[0]: filter "x"`},
		{`defaultFilterChain: ` + chain("", []string{httpFilter("x", `{"@type": type.googleapis.com/xds.type.v3.TypedStruct, typeUrl: type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer}`)}, routes), "buffer.v3.Buffer: not supported"},
		{`defaultFilterChain: ` + chain("", []string{httpFilter("x", `{"@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession}`)}, routes), "StatefulSession: not supported"},
		{`defaultFilterChain: ` + chain("", nil, "xffNumTrustedHops: 1, "+routes), "xff_num_trusted_hops: not supported"},
	} {
		_, err := mesh.New(mesh.WithPolicy([]byte(serving(test.chains))))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.chains, err, test.want)
		}
	}
}

// TestServerRequest is what a filter of a server gets to know of who calls.
func TestServerRequest(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		seen := make(chan filter.Request, 1)
		look := filter.Of("example.com/weft.test.Look", func(struct{}) (filter.Filter, error) {
			return filter.Func(func(_ context.Context, r *filter.Request) error {
				seen <- *r
				return nil
			}), nil
		})
		m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("l", `{"@type": type.googleapis.com/xds.type.v3.TypedStruct, typeUrl: example.com/weft.test.Look}`)}, inboundRoutes("", "", ""))+`]`),
			mesh.WithFilter(look))
		s := server(t, p, m)
		if got := ask(within(t, long), t, p, s.Addr, "/shop.Orders/Get"); got.Error != "" {
			t.Fatal(got.Error)
		}
		r := receive(t, "what the filter saw", seen)
		if !r.Server || !strings.HasPrefix(r.Peer, "127.0.0.1:") || r.Target != "orders" || r.Authority != s.Addr || r.Route != "r" || r.Scheme != "http" || r.GRPC != (p.name == "grpc") {
			t.Errorf("the filter saw %+v", r)
		}
	})
}

// TestServerPolicyChanges changes the policy of a server under load: no call fails, and
// each passes the filters of one policy.
func TestServerPolicyChanges(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		write := func(mark string) {
			policy := serving(`filterChains: [` + chain("", []string{httpFilter("a", stampConfig(`mark: `+mark))}, inboundRoutes("", "", "")) + `]`)
			if err := errors.Join(os.WriteFile(path+".new", []byte(policy), 0o600), os.Rename(path+".new", path)); err != nil {
				t.Fatal(err)
			}
		}
		write("m0")
		m, err := mesh.New(mesh.WithPolicyFile(path), mesh.WithFilter(stamps(&ends{})))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closing(t, m) })
		s := server(t, p, m)
		marks := make(chan string, 1)
		call := func(ctx context.Context, _ request) (string, error) {
			got := ask(ctx, t, p, s.Addr, "/shop.Orders/Get")
			if got.Error == "" && (len(got.Header) != 1 || got.Seen != got.Header[0]) {
				got.Error = fmt.Sprintf("the request was marked %q, the response %q", got.Seen, got.Header)
			}
			if got.Error != "" {
				return "", errors.New(got.Error)
			}
			select {
			case marks <- got.Seen:
			default:
			}
			return "", nil
		}
		l := startLoad(t, 2, call, request{})
		for i := range 4 {
			want := fmt.Sprintf("m%d", i)
			write(want)
			for ctx := within(t, long); ; {
				select {
				case got := <-marks:
					if got != want {
						continue
					}
				case <-ctx.Done():
					t.Fatalf("no call was marked %s", want)
				}
				break
			}
		}
		l.end(t)
		if err := m.Close(within(t, long)); err != nil {
			t.Fatal(err)
		}
		if got := ask(within(t, long), t, p, s.Addr, "/shop.Orders/Get"); !strings.Contains(got.Error, "refused by policy") {
			t.Errorf("after Close: %+v", got)
		}
	})
}
