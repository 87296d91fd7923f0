package xdsserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// short names of the types, for tables and for reading failures.
var short = map[string]string{
	"LDS": policy.ListenerType, "RDS": policy.RouteType, "CDS": policy.ClusterType,
	"EDS": policy.EndpointType, "SDS": policy.SecretType, "barrier": "type.googleapis.com/weft.test.Barrier",
}

func shortOf(typeURL string) string {
	for s, url := range short {
		if url == typeURL {
			return s
		}
	}
	return typeURL
}

// resources makes a set of "CDS/name=content" texts. Every set has some resources
// of the type barrier, see quiet.
func resources(texts ...string) *policy.Resources {
	var list []*policy.Resource
	for _, text := range texts {
		typ, rest, _ := strings.Cut(text, "/")
		name, content, _ := strings.Cut(rest, "=")
		list = append(list, policy.NewResource(short[typ], name, []byte(content)))
	}
	for i := range 128 {
		list = append(list, policy.NewResource(short["barrier"], fmt.Sprint(i), nil))
	}
	return policy.NewResources(list...)
}

// logged collects log lines.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a server on loopback and returns a connection to it.
func start(t testing.TB, opts Options, texts ...string) (*Server, *grpc.ClientConn) {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = discard()
	}
	s := New(opts)
	s.patience = time.Hour
	if texts != nil {
		if err := s.Apply(resources(texts...)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, connect(t, l.Addr().String())
}

func connect(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func apply(t testing.TB, s *Server, texts ...string) {
	t.Helper()
	if err := s.Apply(resources(texts...)); err != nil {
		t.Fatal(err)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // only reached by a failure
	t.Cleanup(cancel)
	return ctx
}

// deltaClient is a hand-driven incremental stream.
type deltaClient struct {
	t        testing.TB
	stream   grpc.BidiStreamingClient[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse]
	barriers int
}

func openDelta(t testing.TB, cc *grpc.ClientConn) *deltaClient {
	t.Helper()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(cc).DeltaAggregatedResources(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return &deltaClient{t: t, stream: stream}
}

func (c *deltaClient) send(req *discovery.DeltaDiscoveryRequest) {
	c.t.Helper()
	if err := c.stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
}

// subscribe asks for names of a type; a name with a leading "-" is unsubscribed.
func (c *deltaClient) subscribe(typ string, names ...string) {
	c.t.Helper()
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: short[typ]}
	for _, name := range names {
		if off, ok := strings.CutPrefix(name, "-"); ok {
			req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, off)
		} else {
			req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, name)
		}
	}
	c.send(req)
}

func (c *deltaClient) recv() *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	resp, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c *deltaClient) ack(resp *discovery.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()})
}

func (c *deltaClient) nack(resp *discovery.DeltaDiscoveryResponse, why string) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{
		TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce(),
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: why},
	})
}

// expect receives a response, accepts it and compares it with a text such as
// "EDS a=1 b=2 -gone".
func (c *deltaClient) expect(want string) {
	c.t.Helper()
	resp := c.recv()
	if diff := cmp.Diff(want, showDelta(resp)); diff != "" {
		c.t.Fatalf("response (-want +got):\n%s", diff)
	}
	c.ack(resp)
}

// quiet fails if the server sends anything that was not received yet. It asks for
// something and expects the answer to be the next response; twice, since an answer may
// overtake what the server was about to send.
func (c *deltaClient) quiet() {
	c.t.Helper()
	for range 2 {
		c.subscribe("barrier", fmt.Sprint(c.barriers))
		c.expect(fmt.Sprintf("barrier %d=", c.barriers))
		c.barriers++
	}
}

func showDelta(resp *discovery.DeltaDiscoveryResponse) string {
	parts := []string{shortOf(resp.GetTypeUrl())}
	for _, r := range resp.GetResources() {
		parts = append(parts, r.GetName()+"="+string(r.GetResource().GetValue()))
	}
	for _, name := range resp.GetRemovedResources() {
		parts = append(parts, "-"+name)
	}
	return strings.Join(parts, " ")
}

// sotwClient is a hand-driven state-of-the-world stream. The content of a test
// resource says its name, since this protocol does not.
type sotwClient struct {
	t        testing.TB
	stream   grpc.BidiStreamingClient[discovery.DiscoveryRequest, discovery.DiscoveryResponse]
	node     *corev3.Node
	names    map[string][]string // by type
	last     map[string]*discovery.DiscoveryResponse
	barriers []string
}

func openSotW(t testing.TB, cc *grpc.ClientConn) *sotwClient {
	t.Helper()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(cc).StreamAggregatedResources(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return &sotwClient{
		t: t, stream: stream,
		names: make(map[string][]string), last: make(map[string]*discovery.DiscoveryResponse),
	}
}

func (c *sotwClient) send(req *discovery.DiscoveryRequest) {
	c.t.Helper()
	if err := c.stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
}

// request asks for exactly names, as a client does that accepted all so far.
func (c *sotwClient) request(typ string, names ...string) {
	c.t.Helper()
	c.names[short[typ]] = names
	last := c.last[short[typ]]
	c.send(&discovery.DiscoveryRequest{
		Node: c.node, TypeUrl: short[typ], ResourceNames: names,
		VersionInfo: last.GetVersionInfo(), ResponseNonce: last.GetNonce(),
	})
}

func (c *sotwClient) recv() *discovery.DiscoveryResponse {
	c.t.Helper()
	resp, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	c.last[resp.GetTypeUrl()] = resp
	return resp
}

func (c *sotwClient) ack(resp *discovery.DiscoveryResponse) {
	c.t.Helper()
	c.request(shortOf(resp.GetTypeUrl()), c.names[resp.GetTypeUrl()]...)
}

func (c *sotwClient) nack(resp *discovery.DiscoveryResponse, why string) {
	c.t.Helper()
	c.send(&discovery.DiscoveryRequest{
		TypeUrl: resp.GetTypeUrl(), ResourceNames: c.names[resp.GetTypeUrl()], ResponseNonce: resp.GetNonce(),
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: why},
	})
}

// expect receives a response, accepts it and compares it with "CDS contents...".
func (c *sotwClient) expect(want string) {
	c.t.Helper()
	resp := c.recv()
	if diff := cmp.Diff(want, showSotW(resp)); diff != "" {
		c.t.Fatalf("response (-want +got):\n%s", diff)
	}
	c.ack(resp)
}

func (c *sotwClient) quiet() {
	c.t.Helper()
	for range 2 {
		c.barriers = append(c.barriers, fmt.Sprint(len(c.barriers)))
		c.request("barrier", c.barriers...)
		if resp := c.recv(); resp.GetTypeUrl() != short["barrier"] {
			c.t.Fatalf("unexpected response %s", showSotW(resp))
		}
	}
}

func showSotW(resp *discovery.DiscoveryResponse) string {
	parts := []string{shortOf(resp.GetTypeUrl())}
	for _, r := range resp.GetResources() {
		parts = append(parts, string(r.GetValue()))
	}
	return strings.Join(parts, " ")
}

// typesOf returns what the server knows of its only client, by short type.
func typesOf(t testing.TB, s *Server) map[string]Subscription {
	t.Helper()
	clients := s.Clients()
	if len(clients) != 1 {
		t.Fatalf("%d clients, want 1", len(clients))
	}
	types := make(map[string]Subscription)
	for _, sub := range clients[0].Types {
		types[shortOf(sub.TypeURL)] = sub
	}
	return types
}

// drainErr receives until the stream ends.
func drainErr[Req, Resp any](stream grpc.BidiStreamingClient[Req, Resp]) error {
	for {
		if _, err := stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func padded(n int) string { return string(slices.Repeat([]byte("x"), n)) }

func protowireNumber(n int) protowire.Number { return protowire.Number(n) }

func userAgentVersion(v string) *corev3.Node_UserAgentVersion {
	return &corev3.Node_UserAgentVersion{UserAgentVersion: v}
}
