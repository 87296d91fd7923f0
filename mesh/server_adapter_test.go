package mesh_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestServerShortForm has the short form of a policy give a server its filters, from
// xdsserver and embedded, and follows its changes.
func TestServerShortForm(t *testing.T) {
	stamp := func(mark string) string {
		return `
filters:
  inbound/orders: [{name: m, config: ` + mutationConfig("HeaderMutation", `requestMutations: [{append: {header: {key: x-mark, value: `+mark+`}}}]`) + `}]
routes:
  inbound/orders:
    - {name: put, match: {path: {exact: /shop.Orders/Put}}, filters: {m: {disabled: true}}}
    - {}
`
	}
	for _, source := range []string{"xdsserver", "embedded"} {
		t.Run(source, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				set, m := served(t, source, stamp("one"))
				s := server(t, p, m)
				if got := ask(within(t, long), t, p, s.Addr, "/shop.Orders/Get"); got.Seen != "one" {
					t.Errorf("the server saw %+v", got)
				}
				if got := ask(within(t, long), t, p, s.Addr, "/shop.Orders/Put"); got.Seen != "" || got.Error != "" {
					t.Errorf("where the filter is disabled, the server saw %+v", got)
				}
				set(stamp("two"))
				for ctx := within(t, long); ; {
					got := ask(ctx, t, p, s.Addr, "/shop.Orders/Get")
					if got.Error != "" {
						t.Fatalf("%+v", got)
					}
					if got.Seen == "two" {
						break
					}
				}
			})
		})
	}
}

// TestServerWaits has a call wait for the first policy, and no longer than its context.
func TestServerWaits(t *testing.T) {
	p := protocols[0]
	cp := meshtest.NewControlPlane(t)
	m := cp.Mesh()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := mesh.ServerUnary(m, "orders")(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Get"}, func(context.Context, any) (any, error) {
		return nil, errors.New("served without policy")
	})
	if status.Code(err) != codes.Canceled || !strings.Contains(err.Error(), "waited for policy") {
		t.Errorf("the call ended with %v", err)
	}
	s := server(t, p, m)
	waiting := make(chan came)
	go func() { waiting <- ask(within(t, long), t, p, s.Addr, "/shop.Orders/Get") }()
	cp.Apply("filters: {inbound/orders: []}")
	if got := receive(t, "the call's end", waiting); got.Body != "/shop.Orders/Get" {
		t.Errorf("the call ended with %+v", got)
	}
}

// TestServerRouteDiscovery has a server's routes come as a resource of their own.
func TestServerRouteDiscovery(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("a", stampConfig(`mark: a`))}, `rds: {routeConfigName: in, configSource: {ads: {}}}`)+`]`)+
			`  - {"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: in, virtualHosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, nonForwardingAction: {}}]}]}
`, mesh.WithFilter(stamps(&ends{})))
		s := server(t, p, m)
		if got := ask(within(t, long), t, p, s.Addr, "/shop.Orders/Get"); got.Seen != "a" {
			t.Errorf("the server saw %+v", got)
		}
	})
}

// TestServerStreams has filters change and refuse what a stream begins and ends with,
// however its handler sends that.
func TestServerStreams(t *testing.T) {
	send := map[string]func(grpc.ServerStream) error{
		"with the first message": func(s grpc.ServerStream) error {
			return errors.Join(s.SetHeader(metadata.Pairs("own", "1")), s.SendMsg(wrapperspb.String("")), s.SendMsg(wrapperspb.String("")))
		},
		"at once": func(s grpc.ServerStream) error {
			return errors.Join(s.SendHeader(metadata.Pairs("own", "1")), s.SendMsg(wrapperspb.String("")))
		},
		"by the context": func(s grpc.ServerStream) error {
			return errors.Join(grpc.SendHeader(s.Context(), metadata.Pairs("own", "1")), grpc.SetTrailer(s.Context(), metadata.Pairs("own", "1")))
		},
		"never": func(grpc.ServerStream) error { return status.Error(codes.NotFound, "never") },
	}
	for name, handle := range send {
		for _, config := range []string{`mark: a`, `mark: a, refuse: true`} {
			e := &ends{}
			m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("a", stampConfig(config))}, inboundRoutes("", "", ""))+`]`), mesh.WithFilter(stamps(e)))
			s := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, append(m.ServerOptions("orders"),
				grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return handle(s) }))...)
			conn, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			stream, err := conn.NewStream(within(t, long), &grpc.StreamDesc{ServerStreams: true}, "/shop.Orders/Watch")
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(stream.SendMsg(wrapperspb.String("")), stream.CloseSend())
			for err == nil {
				err = stream.RecvMsg(new(wrapperspb.StringValue))
			}
			header, _ := stream.Header()
			want := codes.OK
			switch {
			case strings.Contains(config, "refuse"):
				want = codes.Unavailable
			case name == "never":
				want = codes.NotFound
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if status.Code(err) != want {
				t.Errorf("%s, %s: the stream ended with %v, want %v", name, config, err, want)
			}
			if want != codes.Unavailable && !slices.Equal(header.Get("x-mark"), []string{"a"}) || name != "never" && want == codes.OK && !slices.Equal(header.Get("own"), []string{"1"}) {
				t.Errorf("%s, %s: header %v", name, config, header)
			}
			if !slices.Equal(stream.Trailer().Get("x-mark"), []string{"a"}) {
				t.Errorf("%s, %s: trailer %v", name, config, stream.Trailer())
			}
			s.Stop()
			if got := e.take(); !slices.Equal(got, []string{fmt.Sprintf("a 0 %v false", want)}) {
				t.Errorf("%s, %s: ends %q", name, config, got)
			}
		}
	}
}

// TestServerUnary has a generated method's handler, whose calls have interceptors of
// their own, see the metadata that filters changed.
func TestServerUnary(t *testing.T) {
	e := &ends{}
	m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("a", stampConfig(`mark: a`))}, inboundRoutes("", "", ""))+`]`), mesh.WithFilter(stamps(e)))
	get := func(_ any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := dec(in); err != nil {
			return nil, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Get"}, func(ctx context.Context, _ any) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			err := errors.Join(grpc.SetHeader(ctx, metadata.Pairs("seen", strings.Join(md.Get("x-mark"), ","))), grpc.SetTrailer(ctx, metadata.Pairs("end", "e")))
			if len(md.Get(":authority")) != 1 {
				err = errors.Join(err, errors.New("no authority"))
			}
			return wrapperspb.String("got"), err
		})
	}
	s := meshtest.GRPC(t, func(r grpc.ServiceRegistrar) {
		r.RegisterService(&grpc.ServiceDesc{ServiceName: "shop.Orders", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Get", Handler: get}}}, struct{}{})
	}, m.ServerOptions("orders")...)
	got := ask(within(t, long), t, protocols[0], s.Addr, "/shop.Orders/Get")
	if got.Body != "got" || got.Seen != "a" || !slices.Equal(got.Header, []string{"a"}) || !slices.Equal(got.Trailer, []string{"a"}) || got.End != "e" {
		t.Errorf("served %+v", got)
	}
}

// TestServerResponseWriter has handlers do what the server's own writer can.
func TestServerResponseWriter(t *testing.T) {
	for name, test := range map[string]struct {
		handle func(w http.ResponseWriter) error
		want   string
	}{
		"flusher": {func(w http.ResponseWriter) error {
			w.(http.Flusher).Flush()
			_, err := io.WriteString(w, "ok")
			return err
		}, "200 a ok"},
		"controller": {func(w http.ResponseWriter) error {
			_, err := io.WriteString(w, "ok")
			return errors.Join(err, http.NewResponseController(w).Flush())
		}, "200 a ok"},
		"reader": {func(w http.ResponseWriter) error {
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("ok"))
			return err
		}, "200 a ok"},
		"early hints": {func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
			return nil
		}, "418 a "},
		"nothing": {func(http.ResponseWriter) error { return nil }, "200 a "},
		"hijack": {func(w http.ResponseWriter) error {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return err
			}
			_, err = io.WriteString(conn, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
			return errors.Join(err, conn.Close())
		}, "201  ok"},
	} {
		e := &ends{}
		m := newMesh(t, serving(`filterChains: [`+chain("", []string{httpFilter("a", stampConfig(`mark: a`))}, inboundRoutes("", "", ""))+`]`), mesh.WithFilter(stamps(e)))
		handler := m.Handler("orders", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if err := test.handle(w); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}))
		handled := make(chan struct{})
		s := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			defer close(handled) // a server that stops does not wait for a hijacked connection
			handler.ServeHTTP(w, req)
		}))
		conn, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(long))
		fmt.Fprintf(conn, "GET /shop.Orders/Get HTTP/1.1\r\nHost: orders\r\n\r\n")
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err == nil && resp.StatusCode == http.StatusEarlyHints {
			resp, err = http.ReadResponse(in, nil)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(resp.Body)
		if got := fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("X-Mark"), body); err != nil || got != test.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
		_ = conn.Close()
		receive(t, "the handler's end", handled)
		s.Stop()
		if got := e.take(); len(got) != 1 {
			t.Errorf("%s: ends %q", name, got)
		}
	}
}

// BenchmarkServer is what policy costs a server, by the number of filters.
func BenchmarkServer(b *testing.B) {
	for _, n := range []int{0, 1} {
		filters := []string{httpFilter("m", mutationConfig("HeaderMutation", `requestMutations: [{append: {header: {key: x-mark, value: a}}}]`))}[:n]
		m, err := mesh.New(mesh.WithPolicy([]byte(serving(`filterChains: [` + chain("", filters, inboundRoutes("", "", "")) + `]`))))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = m.Close(context.Background()) })
		b.Run(fmt.Sprintf("http/filters=%d", n), func(b *testing.B) {
			h := m.Handler("orders", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			req, w := httptest.NewRequest(http.MethodGet, "/shop.Orders/Get", nil), httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, req)
			}
		})
		b.Run(fmt.Sprintf("grpc/filters=%d", n), func(b *testing.B) {
			unary := mesh.ServerUnary(m, "orders")
			ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(":authority", "orders"))
			info := &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Get"}
			handle := func(context.Context, any) (any, error) { return nil, nil }
			b.ReportAllocs()
			for b.Loop() {
				if _, err := unary(ctx, nil, info, handle); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
