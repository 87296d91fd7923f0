package grpcservice

import (
	"context"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesstokenv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/call_credentials/access_token/v3"
	insecurev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/insecure/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/tls/v3"
	transportv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/resolver/xds"
)

func TestMain(m *testing.M) { testleak.Main(m) }

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

// google names a service by target, in plaintext.
func google(target string, change ...func(*corev3.GrpcService)) *corev3.GrpcService {
	m := &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
		TargetUri:                target,
		ChannelCredentialsPlugin: []*anypb.Any{pack(&emptypb.Empty{}), pack(&insecurev3.InsecureCredentials{})},
	}}}
	for _, f := range change {
		f(m)
	}
	return m
}

// TestService has services refused, with the field that is bad.
func TestService(t *testing.T) {
	creds := func(list ...proto.Message) func(*corev3.GrpcService) {
		return func(m *corev3.GrpcService) {
			m.GetGoogleGrpc().ChannelCredentialsPlugin = nil
			for _, one := range list {
				m.GetGoogleGrpc().ChannelCredentialsPlugin = append(m.GetGoogleGrpc().ChannelCredentialsPlugin, pack(one))
			}
		}
	}
	header := func(key, value string) func(*corev3.GrpcService) {
		return func(m *corev3.GrpcService) {
			m.InitialMetadata = []*corev3.HeaderValue{{Key: key, Value: value}}
		}
	}
	allowed := map[string]xds.ServerConfig{"a": {URI: "a", Channel: xds.ChannelCreds{Type: xds.CredsInsecure}}}
	for _, test := range []struct {
		name   string
		config Config
		m      *corev3.GrpcService
		want   string // empty if it is good
	}{
		{"nothing is allowed by default", Config{}, google("a"), `google_grpc.target_uri: "a" is not allowed`},
		{"trusted", Config{Trusted: true}, google("a"), ""},
		{"allowed", Config{Allowed: allowed}, google("a"), ""},
		{"allowed, with credentials that are not looked at", Config{Allowed: allowed}, google("a", creds()), ""},
		{"another is allowed", Config{Allowed: allowed}, google("b"), "is not allowed"},
		{"a spelling of it is not", Config{Allowed: allowed}, google("dns:///a"), "is not allowed"},
		{"no target", Config{Trusted: true}, google(""), "google_grpc.target_uri: must not be empty"},
		{"nothing", Config{Trusted: true}, &corev3.GrpcService{}, "google_grpc: must be set"},
		{"no credentials", Config{Trusted: true}, google("a", creds()), "channel_credentials_plugin: must have"},
		{"unknown credentials", Config{Trusted: true}, google("a", creds(&emptypb.Empty{})), "channel_credentials_plugin: none of google.protobuf.Empty"},
		{"TLS without providers", Config{Trusted: true}, google("a", creds(&tlsv3.TlsCredentials{RootCertificateProvider: &transportv3.CommonTlsContext_CertificateProviderInstance{InstanceName: "ca"}}, &insecurev3.InsecureCredentials{})),
			"channel_credentials_plugin[0].root_certificate_provider: "},
		{"access token", Config{Trusted: true}, google("a", func(m *corev3.GrpcService) {
			m.GetGoogleGrpc().CallCredentialsPlugin = []*anypb.Any{pack(&accesstokenv3.AccessTokenCredentials{Token: "t"})}
		}), "call_credentials_plugin[0]: "},
		{"no time", Config{Trusted: true}, google("a", func(m *corev3.GrpcService) { m.Timeout = durationpb.New(0) }), "timeout: must be positive"},
		{"pseudo-header", Config{Trusted: true}, google("a", header(":path", "/")), "initial_metadata[0].key: "},
		{"host", Config{Trusted: true}, google("a", header("Host", "b")), "initial_metadata[0].key: "},
		{"line break", Config{Trusted: true}, google("a", header("x", "a\nb")), "initial_metadata[0].value: "},
		{"long value", Config{Trusted: true}, google("a", header("x", strings.Repeat("a", maxMetadata))), "initial_metadata[0].value: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := New(test.config)
			defer s.Close()
			_, err := s.Service(test.m)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// echoServer answers with the metadata x-a that it got, on streams too. A call of /s/Wait
// waits for its end.
func echoServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(s); method == "/s/Wait" {
			<-s.Context().Done()
			return s.Context().Err()
		}
		if err := s.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		md, _ := metadata.FromIncomingContext(s.Context())
		return s.SendMsg(wrapperspb.String(strings.Join(append(md["x-a"], md["x-app"]...), ",")))
	}))
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return l.Addr().String()
}

// TestCalls has a service be called, with its own metadata and nothing of the
// application's.
func TestCalls(t *testing.T) {
	s := New(Config{Trusted: true})
	defer s.Close()
	target := echoServer(t)
	one, err := s.Service(google(target, func(m *corev3.GrpcService) {
		m.InitialMetadata = []*corev3.HeaderValue{{Key: "X-A", Value: "1"}, {Key: "x-a", Value: "2"}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-app", "secret"), time.Minute)
	defer cancel()
	var unary, streamed wrapperspb.StringValue
	if err := one.Call(ctx, "/s/M", &emptypb.Empty{}, &unary); err != nil {
		t.Fatal(err)
	}
	stream, err := one.Stream(ctx, "/s/M")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Recv(&streamed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1,2", "1,2"}, []string{unary.GetValue(), streamed.GetValue()}); diff != "" {
		t.Errorf("the server got (-want +got):\n%s", diff)
	}

	hasty, err := s.Service(google(target, func(m *corev3.GrpcService) { m.Timeout = durationpb.New(time.Millisecond) }))
	if err != nil {
		t.Fatal(err)
	}
	if err := hasty.Call(ctx, "/s/Wait", &emptypb.Empty{}, &unary); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the call ended with %v", err)
	}
	if stream, err = hasty.Stream(ctx, "/s/Wait"); err == nil {
		err = stream.Recv(&streamed)
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the stream ended with %v", err)
	}
}

func (s *Services) users(key channelKey) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.channels[key]; ch != nil {
		return ch.users
	}
	return 0
}

// TestChannels has services share a channel, and lose it when nobody refers to them.
func TestChannels(t *testing.T) {
	s := New(Config{Trusted: true})
	key := channelKey{"a", "insecure"}
	first, err := s.Service(google("a"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Service(google("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Service(google("b")); err != nil {
		t.Fatal(err)
	}
	if n := s.users(key); n != 2 {
		t.Errorf("the channel has %d users", n)
	}
	runtime.KeepAlive(first)
	await := func(users int) {
		for deadline := time.Now().Add(time.Minute); s.users(key) != users; runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatalf("the channel has %d users, want %d", s.users(key), users)
			}
			runtime.Gosched()
		}
	}
	await(1)
	runtime.KeepAlive(second)
	await(0)
	s.Close()
	if _, err := s.Service(google("a")); err == nil {
		t.Error("a service was made after Close")
	}
}
