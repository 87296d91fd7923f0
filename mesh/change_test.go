package mesh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
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
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// seen is what a backend got of a call, and what the application got of the response.
type seen struct {
	Path, Host string
	Header     map[string][]string // those that begin with x-, or are asked for
	Response   map[string][]string `json:"-"`
}

func only(header map[string][]string) map[string][]string {
	kept := map[string][]string{}
	for name, values := range header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-") {
			kept[name] = values
		}
	}
	return kept
}

// echoBackend answers with what it got, and with the response headers x-a: 1 and x-b: 2.
func echoBackend(tb testing.TB, p protocol) *meshtest.Backend {
	if p.name == "http" {
		return meshtest.HTTP(tb, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-A", "1")
			w.Header().Set("X-B", "2")
			_ = json.NewEncoder(w).Encode(seen{Path: r.RequestURI, Host: r.Host, Header: only(r.Header)})
		}))
	}
	return meshtest.GRPC(tb, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		method, _ := grpc.MethodFromServerStream(s)
		_ = s.SetHeader(metadata.Pairs("x-a", "1", "x-b", "2"))
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return err
		}
		got, err := json.Marshal(seen{Path: method, Host: md.Get(":authority")[0], Header: only(md)})
		return errors.Join(err, s.SendMsg(wrapperspb.String(string(got))))
	}))
}

// echo calls the target and tells what both sides saw. The application's own request
// must come out of it as it went in.
func echo(t *testing.T, m *mesh.Mesh, p protocol, target, path string, header map[string][]string) (seen, error) {
	var got seen
	if p.name == "http" {
		req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://"+target+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range header {
			req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
		}
		before, url, host := req.Header.Clone(), *req.URL, req.Host
		resp, err := m.Transport(nil).RoundTrip(req)
		if err != nil {
			return got, err
		}
		defer resp.Body.Close()
		same := resp.Request == req || filter.ReplyIn(resp) != nil // a filter's reply is marked in a copy
		if diff := cmp.Diff(before, req.Header); diff != "" || *req.URL != url || req.Host != host || !same {
			t.Errorf("the application's request was changed: %v %s %s", req.URL, req.Host, diff)
		}
		if resp.StatusCode != http.StatusOK {
			body, err := io.ReadAll(resp.Body)
			return seen{Response: resp.Header}, errors.Join(err, fmt.Errorf("status %d: %s", resp.StatusCode, body))
		}
		err = json.NewDecoder(resp.Body).Decode(&got)
		got.Response = only(resp.Header)
		return got, err
	}
	md := metadata.MD(header).Copy()
	ctx := metadata.NewOutgoingContext(within(t, long), md)
	reply, answer := new(wrapperspb.StringValue), metadata.MD{}
	err := dial(t, m, target).Invoke(ctx, path, wrapperspb.String(""), reply, grpc.Header(&answer))
	if diff := cmp.Diff(metadata.MD(header).Copy(), md); diff != "" {
		t.Errorf("the application's metadata was changed: %s", diff)
	}
	if err != nil {
		return got, err
	}
	err = json.Unmarshal([]byte(reply.GetValue()), &got)
	got.Response = only(answer)
	return got, err
}

type values = map[string][]string

// TestRoutesChangeCalls has policy change headers, path and host of calls, in both
// protocols (rows R5 and R6).
func TestRoutesChangeCalls(t *testing.T) {
	answers := values{"x-a": {"1"}, "x-b": {"2"}}
	sent := values{"x-user": {"ann"}, "x-list": {"a", "b"}}
	with := func(more values, without ...string) values {
		all := maps.Clone(sent)
		maps.Copy(all, more)
		for _, name := range without {
			delete(all, name)
		}
		return all
	}
	cases := []struct {
		name  string
		route string // of a policy file, less its destination
		path  string
		want  seen
	}{
		{"nothing", ``, "/s.A/b", seen{"/s.A/b", "", sent, answers}},
		{"add", `headers: {request: {add: {x-new: "1", x-user: "2"}}}`, "/s.A/b",
			seen{"/s.A/b", "", with(values{"x-new": {"1"}}), answers}},
		{"set", `headers: {request: {set: {x-new: "1", x-list: "2"}}}`, "/s.A/b",
			seen{"/s.A/b", "", with(values{"x-new": {"1"}, "x-list": {"2"}}), answers}},
		{"append", `headers: {request: {append: {x-new: "1", X-List: "c"}}}`, "/s.A/b",
			seen{"/s.A/b", "", with(values{"x-new": {"1"}, "x-list": {"a", "b", "c"}}), answers}},
		{"remove", `headers: {request: {remove: [X-User, x-none]}}`, "/s.A/b",
			seen{"/s.A/b", "", with(nil, "x-user"), answers}},
		{"remove, then add", `headers: {request: {remove: [x-user], add: {x-user: bob}}}`, "/s.A/b",
			seen{"/s.A/b", "", with(values{"x-user": {"bob"}}), answers}},
		{"values that are told", `headers: {request: {set: {x-copy: "<%REQ(x-user)%>", x-none: "%REQ(x-none)%", x-first: "%REQ(x-list):5%",
			x-other: "%REQ(x-none?x-user):2%", x-sign: "1%%", x-path: "%REQ(:path)%", x-to: "%ROUTE_NAME%@%UPSTREAM_CLUSTER%"}}}`, "/s.A/b",
			seen{"/s.A/b", "", with(values{"x-copy": {"<ann>"}, "x-first": {"a"}, "x-other": {"an"}, "x-sign": {"1%"}, "x-path": {"/s.A/b"},
				"x-to": {"the-route@backend"}}), answers}},
		{"response", `headers: {response: {add: {x-a: "9", x-new: "%RESP(x-b)%"}, set: {x-b: "%RESPONSE_CODE% %REQ(x-user)%"}, append: {x-a: "3"}}}`, "/s.A/b",
			seen{"/s.A/b", "", sent, values{"x-a": {"1", "3"}, "x-b": {"200 ann"}, "x-new": {"2"}}}},
		{"response, removed", `headers: {response: {remove: [x-a]}}`, "/s.A/b", seen{"/s.A/b", "", sent, values{"x-b": {"2"}}}},
		{"prefix", `match: {path: {prefix: /s.A/}}, rewrite: {prefix: /t.B/}`, "/s.A/b",
			seen{"/t.B/b", "", with(values{"x-envoy-original-path": {"/s.A/b"}}), answers}},
		{"template", `match: {path: {template: "/s.{name}/{verb}"}}, rewrite: {template: "/t.{verb}/{name}"}`, "/s.A/b",
			seen{"/t.b/A", "", with(values{"x-envoy-original-path": {"/s.A/b"}}), answers}},
		{"exact path", `match: {path: {exact: /s.A/b}}, rewrite: {prefix: /t.B/c}`, "/s.A/b",
			seen{"/t.B/c", "", with(values{"x-envoy-original-path": {"/s.A/b"}}), answers}},
		{"regex for a prefix", `match: {path: {regex: "/s.*"}}, rewrite: {prefix: /t.B/c}`, "/s.A/b",
			seen{"/t.B/c", "", with(values{"x-envoy-original-path": {"/s.A/b"}}), answers}},
		{"regex", `rewrite: {regex: {pattern: "^/s[.]([A-Z])/(.)", substitution: '/\2$.\1/\0'}}`, "/s.A/b",
			seen{"/b$.A//s.A/b", "", with(values{"x-envoy-original-path": {"/s.A/b"}}), answers}},
		{"host", `rewrite: {host: other.example}`, "/s.A/b", seen{"/s.A/b", "other.example", sent, answers}},
		{"endpoint's host", `rewrite: {endpointHost: true}`, "/s.A/b", seen{"/s.A/b", "127.0.0.1", sent, answers}},
	}
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := echoBackend(t, p)
		// By name, so that the endpoint has one.
		_, port, _ := strings.Cut(b.Addr, ":")
		policy := "services:\n" + p.service("backend", b) +
			fmt.Sprintf("  named: {protocol: %s, discover: {dns: \"127.0.0.1:%s\"}}\nroutes:\n", p.name, port)
		for i, c := range cases {
			to := "backend"
			if strings.Contains(c.route, "endpointHost") {
				to = "named"
			}
			if c.route != "" {
				c.route += ", "
			}
			policy += fmt.Sprintf("  case-%d: [{name: the-route, %sto: %s}]\n", i, c.route, to)
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(policy)))
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				target := fmt.Sprint("case-", i)
				got, err := echo(t, m, p, target, c.path, sent)
				if err != nil {
					t.Fatal(err)
				}
				want := c.want
				if want.Host == "" {
					want.Host = target
				} else if p.name == "http" {
					want.Header = maps.Clone(want.Header)
					want.Header["x-envoy-original-host"] = []string{target}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("seen (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// rawRoutes is a policy of one target, orders, with the route configuration as JSON.
func rawRoutes(p protocol, b *meshtest.Backend, config string) []byte {
	return []byte(withRoutes("services:\n"+p.service("backend", b), config))
}

// withRoutes adds a target to a policy of services, orders, with the route
// configuration as YAML, and further raw resources.
func withRoutes(services, config string, more ...string) string {
	policy := services + `
resources:
  - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
    name: orders
    api_listener:
      api_listener:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: weft
        route_config: ` + config + `
        http_filters:
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`
	for _, resource := range more {
		policy += "  - " + resource + "\n"
	}
	return policy
}

// TestHeaderLevels has headers changed at all four levels, in both orders, and by all
// actions and forms of xDS.
func TestHeaderLevels(t *testing.T) {
	const config = `{name: r, %s request_headers_to_add: [
		{header: {key: x-trail, value: config}},
		{header: {key: x-wins, value: config}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}],
	virtual_hosts: [{name: h, domains: ["*"],
		request_headers_to_add: [
			{header: {key: x-trail, value: host}},
			{header: {key: x-wins, value: host}, append: false},
			{header: {key: x-user, value: eve}, append_action: OVERWRITE_IF_EXISTS},
			{header: {key: x-absent, value: "1"}, append_action: OVERWRITE_IF_EXISTS},
			{header: {key: x-swap-a, value: "%%REQ(x-swap-b)%%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD},
			{header: {key: x-swap-b, value: "%%REQ(x-swap-a)%%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD},
			{header: {key: x-late, value: last}},
			{header: {key: x-late, value: first}, append_action: OVERWRITE_IF_EXISTS_OR_ADD},
			{header: {key: x-empty}, keep_empty_value: true},
			{header: {key: x-unsaid}},
			{header: {key: x-unknown, value: "%%DOWNSTREAM_REMOTE_ADDRESS%%"}},
			{header: {key: x-raw, raw_value: "cmF3"}}],
		routes: [{match: {prefix: ""},
			request_headers_to_add: [{header: {key: x-trail, value: route}}],
			request_headers_to_remove: [x-gone],
			route: {timeout: 0s, weighted_clusters: {clusters: [{name: backend, weight: 1,
				request_headers_to_add: [
					{header: {key: x-trail, value: cluster}},
					{header: {key: x-wins, value: cluster}, append: false},
					{header: {key: x-gone, value: "1"}}],
				response_headers_to_remove: [x-b]}]}}}]}]}`
	sent := values{"x-user": {"ann"}, "x-swap-a": {"a"}, "x-swap-b": {"b"}}
	common := values{"x-user": {"eve"}, "x-swap-a": {"b"}, "x-swap-b": {"a"}, "x-late": {"first", "last"}, "x-empty": {""}, "x-raw": {"raw"}}
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := echoBackend(t, p)
		for order, want := range map[string]values{
			"": {"x-trail": {"cluster", "route", "host", "config"}, "x-wins": {"config"}},
			"most_specific_header_mutations_wins: true,": {"x-trail": {"cluster", "config", "host", "route"}, "x-wins": {"host"}},
		} {
			m := meshtest.New(t, mesh.WithPolicy(rawRoutes(p, b, fmt.Sprintf(config, order))))
			got, err := echo(t, m, p, "orders", "/s.A/b", sent)
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(want, common)
			if diff := cmp.Diff(seen{"/s.A/b", "orders", want, values{"x-a": {"1"}}}, got); diff != "" {
				t.Errorf("%s seen (-want +got):\n%s", order, diff)
			}
		}
	})
}

// TestHTTPHostRewrites has the rewrites of hosts that gRPC clients leave out, with
// what Envoy notes of the original.
func TestHTTPHostRewrites(t *testing.T) {
	p := protocols[1]
	b := echoBackend(t, p)
	for action, want := range map[string]string{
		`host_rewrite_header: x-host`:  "from-header",
		`host_rewrite_header: x-empty`: "orders",
		`host_rewrite_path_regex: {pattern: {regex: "^/([^/]+)/.*$"}, substitution: '\1.example'}`: "shop.example",
		`host_rewrite: "a-%REQ(x-host)%"`:                             "a-from-header",
		`path_rewrite: "/%REQ(x-host)%?a=b", host_rewrite_literal: h`: "h",
	} {
		config := `{name: r, virtual_hosts: [{name: h, domains: ["*"], routes: [{match: {prefix: ""}, route: {timeout: 0s, cluster: backend, append_x_forwarded_host: true, ` + action + `}}]}]}`
		m := meshtest.New(t, mesh.WithPolicy(rawRoutes(p, b, config)))
		got, err := echo(t, m, p, "orders", "/shop/a%2Fb?q=1", values{"x-host": {"from-header"}, "x-forwarded-host": {"orders"}})
		if values := got.Header["x-forwarded-host"]; err != nil || len(values) != 1 {
			t.Errorf("x-forwarded-host is %v, %v", values, err)
		}
		got, err = echo(t, m, p, "orders", "/shop/a%2Fb?q=1", values{"x-host": {"from-header"}, "x-forwarded-host": {"before"}})
		if err != nil {
			t.Fatal(err)
		}
		header := values{"x-host": {"from-header"}, "x-forwarded-host": {"before"}}
		path := "/shop/a%2Fb?q=1"
		if want != "orders" {
			header["x-forwarded-host"] = []string{"before,orders"}
			header["x-envoy-original-host"] = []string{"orders"}
		}
		if strings.HasPrefix(action, "path") {
			header["x-envoy-original-path"] = []string{path}
			path = "/from-header?a=b?q=1"
		}
		if diff := cmp.Diff(seen{path, want, header, values{"x-a": {"1"}, "x-b": {"2"}}}, got); diff != "" {
			t.Errorf("%s: seen (-want +got):\n%s", action, diff)
		}
	}
}

// TestSuppressEnvoyHeaders: a listener whose router is told to suppress Envoy's headers
// has rewrites say nothing of what they replaced.
func TestSuppressEnvoyHeaders(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := echoBackend(t, p)
		const config = `{name: r, virtual_hosts: [{name: h, domains: ["*"], routes: [{match: {prefix: ""}, route: {cluster: backend, prefix_rewrite: "/t", host_rewrite_literal: h}}]}]}`
		policy := string(rawRoutes(p, b, config))
		for router, kept := range map[string]bool{"v3.Router": true, "v3.Router, suppress_envoy_headers: true": false} {
			m := meshtest.New(t, mesh.WithPolicy([]byte(strings.Replace(policy, "v3.Router", router, 1))))
			got, err := echo(t, m, p, "orders", "/s.A/b", nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got.Path, "/t") {
				t.Errorf("%s: the path is %q", router, got.Path)
			}
			for _, name := range []string{"x-envoy-original-path", "x-envoy-original-host"} {
				rewritten := name == "x-envoy-original-path" || p.name == "http" // gRPC rewrites hosts for the trusted alone
				if _, ok := got.Header[name]; ok != (kept && rewritten) {
					t.Errorf("%s: %s: %v", router, name, got.Header)
				}
			}
		}
	})
}

// TestGRPCAuthority: a control plane that is not trusted cannot rewrite the authority
// of gRPC calls, and the application's own wins over policy (gRFCs A81, A111).
func TestGRPCAuthority(t *testing.T) {
	p := protocols[0]
	b := echoBackend(t, p)
	policy := "services:\n" + p.service("orders", b) + "routes:\n  orders: [{to: orders, rewrite: {host: other.example}}]\n"
	host := func(m *mesh.Mesh, opts ...grpc.CallOption) string {
		var got seen
		reply := new(wrapperspb.StringValue)
		if err := dial(t, m, "orders").Invoke(within(t, long), "/s.A/b", wrapperspb.String(""), reply, opts...); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(reply.GetValue()), &got); err != nil {
			t.Fatal(err)
		}
		return got.Host
	}
	trusting := meshtest.New(t, mesh.WithPolicy([]byte(policy)))
	if got := host(trusting, grpc.CallAuthority("mine.example")); got != "mine.example" {
		t.Errorf("the application's authority became %s", got)
	}
	cp := meshtest.NewControlPlane(t)
	cp.Apply(policy)
	if got := host(cp.Mesh()); got != "orders" {
		t.Errorf("a control plane that is not trusted made the authority %s", got)
	}
}

// TestHeaderValues has policy set values that a protocol cannot carry: the header is left as
// it is, and no call fails.
func TestHeaderValues(t *testing.T) {
	const set = `{x-coffee: "café", x-bell: "ding\x07", x-tab: "a\tb", x-plain: "~ fine"}`
	want := map[string]values{
		"grpc": {"x-coffee": {"tea"}, "x-bell": {"dong"}, "x-plain": {"~ fine"}},
		"http": {"x-coffee": {"café"}, "x-bell": {"dong"}, "x-tab": {"a\tb"}, "x-plain": {"~ fine"}},
	}
	eachProtocol(t, func(t *testing.T, p protocol) {
		b := echoBackend(t, p)
		m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", b)+
			"routes:\n  orders: [{to: orders, headers: {request: {set: "+set+"}, response: {append: "+set+"}}}]\n")))
		got, err := echo(t, m, p, "orders", "/s.A/b", values{"x-coffee": {"tea"}, "x-bell": {"dong"}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[p.name], got.Header); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
		if c, plain := got.Response["x-coffee"], got.Response["x-plain"]; p.name == "grpc" && c != nil || len(plain) != 1 || got.Response["x-bell"] != nil {
			t.Errorf("response has %v", got.Response)
		}
	})
}

// TestGRPCStreamHeaders has the header of a stream's response changed once for each
// way to see it, and gRPC's own and binary headers left alone.
func TestGRPCStreamHeaders(t *testing.T) {
	p := protocols[0]
	b := echoBackend(t, p)
	m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+p.service("orders", b)+`
routes:
  orders: [{to: orders, headers: {
    request: {set: {x-key-bin: "1", grpc-timeout: 1n, content-type: text/plain}, append: {x-new: "1"}, remove: [x-data-bin]},
    response: {append: {x-a: "2"}}}}]
`)))
	ctx := metadata.AppendToOutgoingContext(within(t, long), "x-data-bin", "\x00\x01")
	var answer metadata.MD
	s, err := dial(t, m, "orders").NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/s.A/b", grpc.Header(&answer))
	if err != nil {
		t.Fatal(err)
	}
	reply := new(wrapperspb.StringValue)
	if err := errors.Join(s.SendMsg(wrapperspb.String("")), s.CloseSend(), s.RecvMsg(reply)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if md, err := s.Header(); err != nil || !slices.Equal(md.Get("x-a"), []string{"1", "2"}) {
			t.Errorf("Header is %v, %v", md, err)
		}
	}
	if err := s.RecvMsg(reply); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !slices.Equal(answer.Get("x-a"), []string{"1", "2"}) {
		t.Errorf("grpc.Header is %v", answer)
	}
	var got seen
	if err := json.Unmarshal([]byte(reply.GetValue()), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(values{"x-data-bin": {"\x00\x01"}, "x-new": {"1"}}, got.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestDirectResponses has policy answer calls, in both protocols.
func TestDirectResponses(t *testing.T) {
	cases := []struct {
		status int
		code   codes.Code
	}{
		{200, codes.Unknown}, {400, codes.Internal}, {401, codes.Unauthenticated}, {403, codes.PermissionDenied},
		{404, codes.Unimplemented}, {418, codes.Unknown}, {429, codes.Unavailable}, {431, codes.Internal}, {500, codes.Unknown},
		{502, codes.Unavailable}, {503, codes.Unavailable}, {504, codes.Unavailable},
	}
	eachProtocol(t, func(t *testing.T, p protocol) {
		policy := "routes:\n"
		for _, c := range cases {
			policy += fmt.Sprintf("  host-%d: [{match: {path: {prefix: /silent}}, respond: {status: %[1]d}},"+
				" {respond: {status: %[1]d, body: it is %[1]d}, headers: {response: {set: {x-why: policy}}}}]\n", c.status)
		}
		m := meshtest.New(t, mesh.WithPolicy([]byte(policy)))
		for _, c := range cases {
			target, want := fmt.Sprint("host-", c.status), fmt.Sprint("it is ", c.status)
			if p.name == "grpc" {
				for path, want := range map[string]string{"/s.A/b": want, "/silent/b": fmt.Sprint("policy answers ", c.status, " ", http.StatusText(c.status))} {
					_, err := invoke(within(t, long), dial(t, m, target), request{path: path})
					if s := status.Convert(err); s.Code() != c.code || s.Message() != want {
						t.Errorf("%d is %v", c.status, err)
					}
				}
				continue
			}
			body := &closedBody{Reader: strings.NewReader("sent")}
			req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://"+target+"/", body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := m.HTTPClient().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if err := errors.Join(err, resp.Body.Close()); err != nil || string(text) != want || resp.StatusCode != c.status ||
				resp.ContentLength != int64(len(want)) || resp.Header.Get("X-Why") != "policy" || resp.Header.Get("Content-Type") != "text/plain" {
				t.Errorf("%d is %v %q, %v", c.status, resp, text, err)
			}
			if body.closed != 1 {
				t.Errorf("the request's body was closed %d times", body.closed)
			}
		}
	})
}

type closedBody struct {
	io.Reader
	closed int
}

func (c *closedBody) Close() error {
	c.closed++
	return nil
}

// TestRedirects has policy redirect requests, and http.Client follow.
func TestRedirects(t *testing.T) {
	p := protocols[1]
	b := echoBackend(t, p)
	cases := []struct{ route, from, status, location string }{
		{`redirect: {host: orders}`, "/a?q=1", "301", "http://orders/a?q=1"},
		{`redirect: {scheme: https, status: 302}`, ":80/a", "302", "https://HOST/a"},
		{`redirect: {scheme: https, status: 302}`, ":81/a", "302", "https://HOST:81/a"},
		{`redirect: {port: 8443, status: 303}`, ":81/a", "303", "http://HOST:8443/a"},
		{`redirect: {path: /b, status: 307}`, "/a?q=1", "307", "http://HOST/b?q=1"},
		{`redirect: {path: "/b?r=2", stripQuery: true, status: 308}`, "/a?q=1", "308", "http://HOST/b?r=2"},
		{`redirect: {stripQuery: true}`, "/a?q=1", "301", "http://HOST/a"},
		{`match: {path: {prefix: /old/}}, redirect: {prefix: /new/, host: orders}`, "/old/x%2Fy?q=1", "301", "http://orders/new/x%2Fy?q=1"},
		{`redirect: {regex: {pattern: "(o)ne", substitution: '\1ther'}}`, "/one/one?one", "301", "http://HOST/other/other?one"},
	}
	policy := "services:\n" + p.service("orders", b) + "routes:\n"
	for i, c := range cases {
		host, _, _ := strings.Cut(c.from, "/")
		policy += fmt.Sprintf("  \"host-%d%s\": [{%s, headers: {response: {set: {x-why: policy}}}}]\n", i, host, c.route)
	}
	m := meshtest.New(t, mesh.WithPolicy([]byte(policy)))
	for i, c := range cases {
		host := fmt.Sprint("host-", i)
		got, err := echo(t, m, p, host, c.from, nil)
		want := strings.ReplaceAll(c.location, "HOST", host)
		if err == nil || err.Error() != "status "+c.status+": " || got.Response["Location"][0] != want || got.Response["X-Why"][0] != "policy" {
			t.Errorf("%s: %v, %v; want %s", c.route, got.Response, err, want)
		}
	}
	client := p.client(t, m, "host-0")
	if got, err := client(within(t, long), request{path: "/a"}); err != nil || !strings.Contains(got, `"Path":"/a","Host":"orders"`) {
		t.Errorf("followed to %s, %v", got, err)
	}
	// gRPC cannot follow one.
	_, err := invoke(context.Background(), dial(t, m, "host-0"), request{})
	if status.Code(err) != codes.Unavailable || !errors.Is(err, mesh.ErrNoRoute) || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("gRPC gets %v", err)
	}
}

// TestUserAgentRemoved: what policy removes, net/http does not put back.
func TestUserAgentRemoved(t *testing.T) {
	b := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["User-Agent"])
	}))
	m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+protocols[1].service("orders", b)+
		"routes:\n  orders: [{to: orders, headers: {request: {remove: [user-agent]}}}]\n")))
	if got, err := protocols[1].client(t, m, "orders")(within(t, long), request{}); err != nil || got != "[]" {
		t.Errorf("the user agent is %s, %v", got, err)
	}
}

// TestReroutedByWhatWasSent has a call wait for a connection while its cluster goes
// away. It is routed anew, by the header that the application sent and the route that
// it had has removed.
func TestReroutedByWhatWasSent(t *testing.T) {
	hole, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	met := make(chan net.Conn, 100)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := hole.Accept()
			if err != nil {
				return
			}
			met <- c
		}
	})
	t.Cleanup(func() {
		_ = hole.Close()
		accepting.Wait()
		close(met)
		for c := range met {
			_ = c.Close()
		}
	})
	p := protocols[0]
	services := "services:\n" + p.service("right", p.backend(t, "right")) + p.service("wrong", p.backend(t, "wrong"))
	route := func(to string) string {
		return "routes:\n  orders: [{match: {headers: {x-canary: {exact: '1'}}}, to: " + to + ", headers: {request: {remove: [x-canary]}}}, {to: wrong}]\n"
	}
	cp := meshtest.NewControlPlane(t)
	cp.Apply(services + "  hole: {protocol: grpc, endpoints: ['" + hole.Addr().String() + "']}\n" + route("hole"))
	call := p.client(t, cp.Mesh(), "orders")
	answered := make(chan string)
	go func() {
		got, err := call(within(t, long), request{header: map[string]string{"x-canary": "1"}})
		answered <- fmt.Sprint(got, err)
	}()
	c := receive(t, "a connection", met) // the call has been routed
	defer c.Close()
	cp.Apply(services + route("right"))
	if got := receive(t, "the call's end", answered); got != "right<nil>" {
		t.Errorf("the call was answered by %s", got)
	}
}
