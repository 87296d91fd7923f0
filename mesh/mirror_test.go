package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// got is a call as a mirror's backend got it.
type got struct {
	Path, Host, Body string
	User             []string // the header x-user
}

// recorder starts a backend that tells of the calls that it gets, when they end, and
// whose answers take as long as the test wants.
func recorder(tb testing.TB, p protocol, calls chan<- got, hang <-chan struct{}) *meshtest.Backend {
	if p.name == "http" {
		return meshtest.HTTP(tb, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // cut off
			}
			calls <- got{r.RequestURI, r.Host, string(body), r.Header.Values("x-user")}
			<-hang
		}))
	}
	return meshtest.GRPC(tb, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		method, _ := grpc.MethodFromServerStream(s)
		g := got{Path: method, Host: md.Get(":authority")[0], User: md.Get("x-user")}
		for {
			in := new(wrapperspb.StringValue)
			err := s.RecvMsg(in)
			if errors.Is(err, io.EOF) {
				calls <- g
				<-hang
				return s.SendMsg(wrapperspb.String("mirrored"))
			}
			if err != nil {
				return err
			}
			g.Body += in.GetValue()
		}
	}))
}

// never is what hangs of a recorder that answers at once.
var never = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// post calls with a body, whose memory is another's as soon as the call has ended.
func post(t *testing.T, m *mesh.Mesh, p protocol, target, path, body string, streamed bool) (string, error) {
	t.Helper()
	ctx := within(t, long)
	if p.name == "grpc" {
		conn := dial(t, m, target)
		ctx = metadata.AppendToOutgoingContext(ctx, "x-user", "ann")
		reply, message := new(wrapperspb.StringValue), wrapperspb.String(body)
		var err error
		if streamed {
			err = sendInPieces(ctx, conn, path, body, reply)
		} else {
			err = conn.Invoke(ctx, path, message, reply)
		}
		message.Value = "reused"
		return reply.GetValue(), err
	}
	buffer := []byte(body)
	var r io.Reader = bytes.NewReader(buffer)
	if streamed {
		r = struct{ io.Reader }{r} // of which http knows no way to begin again
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+target+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-User", "ann")
	client := m.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	copy(buffer, bytes.Repeat([]byte{'!'}, len(buffer)))
	req.Header.Set("X-User", "bob")
	return string(answer), err
}

// sendInPieces sends each letter of body as a message.
func sendInPieces(ctx context.Context, conn *grpc.ClientConn, path, body string, reply *wrapperspb.StringValue) error {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path)
	if err != nil {
		return err
	}
	for _, letter := range strings.Split(body, "") {
		if err := s.SendMsg(wrapperspb.String(letter)); err != nil {
			return err
		}
		if err := s.RecvMsg(reply); err != nil {
			return err
		}
	}
	return errors.Join(s.CloseSend(), endOf(s.RecvMsg(new(wrapperspb.StringValue))))
}

func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("the stream ended with %w, want io.EOF", err)
}

// TestMirror has calls sent to a second service, too, as policy wants it (row R8).
func TestMirror(t *testing.T) {
	for _, c := range []struct {
		name   string
		mirror string // of a policy file
		more   string // of the same route
		host   string
	}{
		{"everything", `copy`, ``, "orders-shadow"},
		{"keep the host", `{to: copy, keepHost: true}`, ``, "orders"},
		{"another host", `{to: copy, host: elsewhere}`, ``, "elsewhere"},
		{"after a change", `copy`, `, rewrite: {host: "b.example:81"}`, "b.example-shadow:81"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				calls := make(chan got, 10)
				main, other := p.backend(t, "main"), recorder(t, p, calls, never)
				m := embedded(t, "services:\n"+p.service("orders", main)+p.service("copy", other)+
					"routes:\n  orders:\n    - {to: orders, mirror: ["+c.mirror+"]"+c.more+"}\n")
				for _, streamed := range []bool{false, true} {
					for _, body := range []string{"abc", ""} {
						if streamed && body == "" && p.name == "grpc" {
							continue // sendInPieces needs one
						}
						answer, err := post(t, m, p, "orders", "/shop.Orders/Get", body, streamed)
						if err != nil || !strings.HasPrefix(answer, "main") {
							t.Errorf("answered by %q, %v", answer, err)
						}
						want := got{"/shop.Orders/Get", c.host, body, []string{"ann"}}
						if diff := cmp.Diff(want, receive(t, "a copy", calls)); diff != "" {
							t.Errorf("streamed %v: mirrored (-want +got):\n%s", streamed, diff)
						}
					}
				}
				if n := main.Calls(); other.Calls() != n {
					t.Errorf("%d calls, %d of them mirrored", n, other.Calls())
				}
			})
		})
	}
}

// embedded returns a mesh by a fixed policy.
func embedded(t *testing.T, policy string, opts ...mesh.Option) *mesh.Mesh {
	t.Helper()
	return meshtest.New(t, append([]mesh.Option{mesh.WithPolicy([]byte(policy))}, opts...)...)
}

// TestMirrorLevels has mirrors of virtual host and configuration hold for routes that
// say nothing, a share of the calls be mirrored, and copies have headers of their own.
func TestMirrorLevels(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		main := p.backend(t, "main")
		of := map[string]*meshtest.Backend{}
		for _, level := range []string{"config", "host", "route"} {
			of[level] = p.backend(t, level)
		}
		services := "services:\n" + p.service("main", main)
		for name, b := range of {
			services += p.service(name, b)
		}
		routes := func(mirror string) string {
			return withRoutes(services, `{name: r, request_mirror_policies: [{cluster: config}],
				virtual_hosts: [{name: h, domains: ["*"], request_mirror_policies: [{cluster: host}], routes: [
					{match: {prefix: /r/}, route: {cluster: main, request_mirror_policies: [`+mirror+`]}},
					{match: {prefix: /}, route: {cluster: main}}]}]}`)
		}
		m := embedded(t, routes("{cluster: route}"))
		call := p.client(t, m, "orders")
		counts(t, call, request{path: "/r/x/y"}, 5)
		counts(t, call, request{path: "/x/y"}, 3)
		for level, want := range map[string]int64{"config": 0, "host": 3, "route": 5} {
			if err := of[level].AwaitCalls(within(t, long), want); err != nil {
				t.Error(err)
			}
			if n := of[level].Calls(); n != want {
				t.Errorf("%s has %d calls, want %d", level, n, want)
			}
		}

		// A quarter, and the rest to nowhere.
		before := of["route"].Calls()
		share := `{cluster: route, runtime_fraction: {runtime_key: x, default_value: {numerator: 25}}}`
		counts(t, p.client(t, embedded(t, routes(share)), "orders"), request{path: "/r/x/y"}, 400)
		if err := of["route"].AwaitCalls(within(t, long), before+40); err != nil {
			t.Error(err)
		}
		if n := of["route"].Calls() - before; n > 180 {
			t.Errorf("%d of 400 calls were mirrored, want about 100", n)
		}
	})
}

// TestMirrorHeaders has copies have headers of their own, which the calls do not.
func TestMirrorHeaders(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		calls := make(chan got, 1)
		main, other := echoBackend(t, p), recorder(t, p, calls, never)
		set := func(value string) string {
			return "{append: {header: {key: x-user, value: " + value + "}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}"
		}
		m := embedded(t, withRoutes("services:\n"+p.service("main", main)+p.service("copy", other),
			`{name: r, virtual_hosts: [{name: h, domains: ["*"], routes: [{name: way, match: {prefix: /}, route: {cluster: main, host_rewrite_literal: other, request_mirror_policies: [
				{cluster: copy, request_headers_mutations: [`+set("first")+`, {remove: x-user}, `+set(`"last %UPSTREAM_CLUSTER% %ROUTE_NAME% %REQ(:authority)%"`)+`]}]}}]}]}`))
		seen, err := echo(t, m, p, "orders", "/s.A/b", values{"x-user": {"ann"}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"ann"}, seen.Header["x-user"]); diff != "" {
			t.Errorf("the call's header (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"last main way other"}, receive(t, "a copy", calls).User); diff != "" {
			t.Errorf("the copy's header (-want +got):\n%s", diff)
		}
	})
}

// TestMirrorContentType has a copy of a gRPC call name a codec if the call does.
func TestMirrorContentType(t *testing.T) {
	types := make(chan []string, 2)
	b := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		types <- md.Get("content-type")
		return errors.Join(s.RecvMsg(new(wrapperspb.StringValue)), s.SendMsg(wrapperspb.String("")))
	}))
	p := protocol{name: "grpc"}
	conn := dial(t, embedded(t, "services:\n"+p.service("orders", b)+p.service("copy", b)+
		"routes:\n  orders:\n    - {to: orders, mirror: [copy]}\n"), "orders")
	for _, c := range []struct {
		want string
		opts []grpc.CallOption
	}{
		{"application/grpc", nil},
		{"application/grpc+proto", []grpc.CallOption{grpc.CallContentSubtype("proto")}},
		{"application/grpc+proto", []grpc.CallOption{grpc.ForceCodecV2(encoding.GetCodecV2("proto"))}},
	} {
		if err := conn.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String("x"), new(wrapperspb.StringValue), c.opts...); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if diff := cmp.Diff([]string{c.want}, receive(t, "the type of a copy", types)); diff != "" {
				t.Errorf("content type (-want +got):\n%s", diff)
			}
		}
	}
}

// TestMirrorCostsNothing has copies that hang, fail, or cannot be made harm no call,
// stay within their bounds, and end with the mesh.
func TestMirrorCostsNothing(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		main := p.backend(t, "main")
		mirrored := func(to ...*meshtest.Backend) string {
			return "services:\n" + p.service("orders", main) + p.service("copy", to...) +
				"routes:\n  orders:\n    - {to: orders, mirror: [copy]" + noHurry + "}\n"
		}

		dead, failing := p.backend(t, "dead"), p.backend(t, "failing")
		dead.Kill()
		failing.SetFailing(true)
		for _, policy := range []string{mirrored(dead), mirrored(failing), mirrored()} {
			if got := counts(t, p.client(t, embedded(t, policy), "orders"), request{}, 20); got["main"] != 20 {
				t.Errorf("answered by %v", got)
			}
		}

		const more = 300 // than may be under way
		calls, hang := make(chan got, more), make(chan struct{})
		logged := make(chan string, 10)
		hung := recorder(t, p, calls, hang)
		defer close(hang)
		m, err := mesh.New(mesh.WithPolicy([]byte(mirrored(hung))), mesh.WithLogger(slog.New(warningsToo{channelHandler{logged}})))
		if err != nil {
			t.Fatal(err)
		}
		call := p.client(t, m, "orders")
		if got := counts(t, call, request{}, more); got["main"] != more {
			t.Errorf("answered by %v", got)
		}
		if got := receive(t, "the warning", logged); got != "mirrored calls were dropped" {
			t.Errorf("logged %q", got)
		}
		if n := hung.Calls(); n > 256 {
			t.Errorf("%d copies hang at once", n)
		}
		if err := m.Close(within(t, long)); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// warningsToo are the messages of warnings, too.
type warningsToo struct{ channelHandler }

func (warningsToo) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// TestMirrorOfLargeBodies has bodies that are too large sent to where they belong only.
func TestMirrorOfLargeBodies(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		calls, originals := make(chan got, 1), make(chan got, 1)
		main, other := recorder(t, p, originals, never), recorder(t, p, calls, never)
		m := embedded(t, "services:\n"+p.service("orders", main)+p.service("copy", other)+
			"routes:\n  orders:\n    - {to: orders, mirror: [copy]}\n")
		large := strings.Repeat("x", call.MaxMirrored+1)
		for _, streamed := range []bool{false, true} {
			if streamed && p.name == "grpc" {
				continue // message by message
			}
			if _, err := post(t, m, p, "orders", "/large/x", large, streamed); err != nil {
				t.Error(err)
			}
			if got := receive(t, "a call", originals); got.Body != large {
				t.Errorf("%d bytes came of %d", len(got.Body), len(large))
			}
		}
		if _, err := post(t, m, p, "orders", "/small/x", "abc", false); err != nil {
			t.Error(err)
		}
		if got := receive(t, "a copy", calls); got.Path != "/small/x" {
			t.Errorf("%s was mirrored", got.Path)
		}
	})
}

// TestMirrorOfAStreamThatIsCutOff has the copies of a stream that the application gives
// up end with it.
func TestMirrorOfAStreamThatIsCutOff(t *testing.T) {
	ended := make(chan error, 1)
	began := make(chan struct{})
	other := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		err := s.RecvMsg(new(wrapperspb.StringValue))
		close(began)
		if err == nil {
			err = s.RecvMsg(new(wrapperspb.StringValue))
		}
		ended <- err
		return err
	}))
	p := protocols[0]
	m := embedded(t, "services:\n"+p.service("orders", p.backend(t, "main"))+p.service("copy", other)+
		"routes:\n  orders:\n    - {to: orders, mirror: [copy]}\n")
	ctx, cancel := context.WithCancel(within(t, long))
	defer cancel()
	s, err := dial(t, m, "orders").NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/s.A/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(wrapperspb.String("1")); err != nil {
		t.Fatal(err)
	}
	receive(t, "the stream", began)
	cancel()
	if err := receive(t, "the end of the stream", ended); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the copy ended with %v, want that it was cut off", err)
	}
}
