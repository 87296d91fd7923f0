package xdsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

func TestSeparateServices(t *testing.T) {
	_, cc := start(t, Options{}, "LDS/x=l", "RDS/x=r", "CDS/x=c", "EDS/x=e", "SDS/x=s")
	type (
		sotw  = func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[discovery.DiscoveryRequest, discovery.DiscoveryResponse], error)
		delta = func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse], error)
	)
	lds, rds := listenerservice.NewListenerDiscoveryServiceClient(cc), routeservice.NewRouteDiscoveryServiceClient(cc)
	cds, eds := clusterservice.NewClusterDiscoveryServiceClient(cc), endpointservice.NewEndpointDiscoveryServiceClient(cc)
	sds := secretservice.NewSecretDiscoveryServiceClient(cc)
	for typ, open := range map[string]struct {
		sotw  sotw
		delta delta
	}{
		"LDS": {lds.StreamListeners, lds.DeltaListeners},
		"RDS": {rds.StreamRoutes, rds.DeltaRoutes},
		"CDS": {cds.StreamClusters, cds.DeltaClusters},
		"EDS": {eds.StreamEndpoints, eds.DeltaEndpoints},
		"SDS": {sds.StreamSecrets, sds.DeltaSecrets},
	} {
		content := strings.ToLower(typ[:1])
		t.Run(typ+" state of the world", func(t *testing.T) {
			stream, err := open.sotw(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			c := &sotwClient{t: t, stream: stream, names: map[string][]string{}, last: map[string]*discovery.DiscoveryResponse{}}
			c.send(&discovery.DiscoveryRequest{ResourceNames: []string{"x"}}) // no type: it is implied
			c.expect(typ + " " + content)
			c.send(&discovery.DiscoveryRequest{TypeUrl: "other"})
			if err := drainErr(c.stream); status.Code(err) != codes.InvalidArgument {
				t.Errorf("another type on the stream: %v", err)
			}
		})
		t.Run(typ+" delta", func(t *testing.T) {
			stream, err := open.delta(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			c := &deltaClient{t: t, stream: stream}
			c.send(&discovery.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"x"}})
			c.expect(typ + " x=" + content)
		})
	}
}

func TestMalformedRequestsEndTheStream(t *testing.T) {
	_, cc := start(t, Options{}, "CDS/a=1")
	cluster := policy.ClusterType
	field := func(num int, value string) string {
		return string(appendText(nil, protowireNumber(num), value))
	}
	for name, test := range map[string]struct{ sotw, delta string }{
		"no type":              {field(3, "a"), field(3, "a")},
		"truncated":            {"\x22\x7f", "\x12\x7f"},
		"not protobuf":         {"\xff\xff\xff", "\xff\xff\xff"},
		"name not UTF-8":       {field(4, cluster) + field(3, "\xff"), field(2, cluster) + field(3, "\xff")},
		"type not UTF-8":       {field(4, "\xff"), field(2, "\xff")},
		"node not protobuf":    {field(4, cluster) + field(2, "\x0a\x7f"), field(2, cluster) + field(1, "\x0a\x7f")},
		"error not protobuf":   {field(4, cluster) + field(6, "\x12\x7f"), field(2, cluster) + field(7, "\x12\x7f")},
		"versions not a map":   {"", field(2, cluster) + field(5, "\x0a\x7f")},
		"unsubscribe not UTF8": {"", field(2, cluster) + field(4, "\xff")},
	} {
		for kind, raw := range map[string]string{"StreamAggregatedResources": test.sotw, "DeltaAggregatedResources": test.delta} {
			if raw == "" {
				continue
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				if err := sendRaw(t, cc, kind, raw); status.Code(err) != codes.InvalidArgument {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// sendRaw sends bytes as the only request of a stream and returns how the stream ended.
func sendRaw(t *testing.T, cc *grpc.ClientConn, method, raw string) error {
	t.Helper()
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := cc.NewStream(testContext(t), desc, "/envoy.service.discovery.v3.AggregatedDiscoveryService/"+method, grpc.ForceCodecV2(Codec()))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&outbound{data: mem.BufferSlice{mem.SliceBuffer(raw)}}); err != nil {
		t.Fatal(err)
	}
	return stream.RecvMsg(new(inbound))
}

func TestLimits(t *testing.T) {
	t.Run("streams", func(t *testing.T) {
		_, cc := start(t, Options{MaxStreams: 1}, "CDS/a=1")
		c := openDelta(t, cc)
		c.subscribe("CDS")
		c.expect("CDS a=1")
		if err := drainErr(openDelta(t, cc).stream); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a stream too many: %v", err)
		}
		c.quiet()
	})
	t.Run("names", func(t *testing.T) {
		_, cc := start(t, Options{MaxSubscriptionBytes: 10 * (nameOverhead + 1)}, "EDS/a=1")
		c := openDelta(t, cc)
		for i := range 100 { // what is given back does not count
			c.subscribe("EDS", fmt.Sprint(i%10), "-"+fmt.Sprint((i+9)%10))
		}
		c.subscribe("EDS", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
		if err := drainErr(c.stream); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("names too many: %v", err)
		}
	})
	t.Run("types", func(t *testing.T) {
		_, cc := start(t, Options{}, "EDS/a=1")
		c := openSotW(t, cc)
		for i := range maxTypes + 1 {
			c.send(&discovery.DiscoveryRequest{TypeUrl: fmt.Sprint("type", i)})
		}
		if err := drainErr(c.stream); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("types too many: %v", err)
		}
	})
	t.Run("request", func(t *testing.T) {
		_, cc := start(t, Options{MaxRequestBytes: 1000}, "EDS/a=1")
		c := openDelta(t, cc)
		c.subscribe("EDS", padded(1001))
		if err := drainErr(c.stream); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a request too long: %v", err)
		}
	})
}

// A client that does not read holds up nobody, is not queued for, and gets the
// newest state when it reads again.
func TestSlowClient(t *testing.T) {
	const changes = 50
	content := func(i int) string { return fmt.Sprintf("EDS/a=%03d%s", i, padded(100<<10)) }
	s, cc := start(t, Options{}, content(0))
	slow := openDelta(t, cc)
	slow.subscribe("EDS", "a")
	quick := openDelta(t, connect(t, cc.Target()))
	quick.subscribe("EDS", "a")
	quick.ack(quick.recv())
	for i := 1; i <= changes; i++ {
		apply(t, s, content(i))
		for { // the quick client gets every change, if not each by itself
			resp := quick.recv()
			quick.ack(resp)
			if strings.HasPrefix(string(resp.GetResources()[0].GetResource().GetValue()), fmt.Sprintf("%03d", i)) {
				break
			}
		}
	}
	responses := 0
	for {
		resp := slow.recv()
		responses++
		if strings.HasPrefix(string(resp.GetResources()[0].GetResource().GetValue()), fmt.Sprintf("%03d", changes)) {
			break
		}
	}
	if responses > 10 {
		t.Errorf("%d responses were waiting for the slow client", responses)
	}
}

func TestRegisterOnAnotherServer(t *testing.T) {
	for name, opts := range map[string][]grpc.ServerOption{
		"ordinary codec": nil, "our codec": {grpc.ForceServerCodecV2(Codec())},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Options{Logger: discard()})
			apply(t, s, "CDS/a=1", "EDS/a="+padded(100<<10))
			gs := grpc.NewServer(opts...)
			s.Register(gs)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = gs.Serve(l) }()
			defer gs.Stop()
			defer s.Close()
			cc := connect(t, l.Addr().String())
			d := openDelta(t, cc)
			d.subscribe("CDS")
			d.expect("CDS a=1")
			d.subscribe("EDS", "a", "b")
			d.expect("EDS a=" + padded(100<<10) + " -b")
			c := openSotW(t, cc)
			c.request("CDS")
			c.expect("CDS 1")
		})
	}
}

func TestHealth(t *testing.T) {
	_, cc := start(t, Options{}, "CDS/a=1")
	resp, err := grpc_health_v1.NewHealthClient(cc).Check(testContext(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestApplyRefusesWhatCannotBeServed(t *testing.T) {
	s, cc := start(t, Options{}, "CDS/a=1")
	version := s.Version()
	for name, bad := range map[string]*policy.Resource{
		"name":  {TypeURL: policy.ClusterType, Name: "*", Version: "1", Body: &anypb.Any{}},
		"body":  {TypeURL: policy.ClusterType, Name: "b", Version: "1"},
		"UTF-8": {TypeURL: policy.ClusterType, Name: "\xff", Version: "1", Body: &anypb.Any{}},
	} {
		if err := s.Apply(policy.NewResources(bad)); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	if s.Version() != version {
		t.Errorf("version %q, want the old %q", s.Version(), version)
	}
	c := openDelta(t, cc)
	c.subscribe("CDS")
	c.expect("CDS a=1")
}

func TestApplyNothing(t *testing.T) {
	s, cc := start(t, Options{}, "CDS/a=1")
	c := openDelta(t, cc)
	c.subscribe("CDS")
	c.expect("CDS a=1")
	if err := s.Apply(nil); err != nil {
		t.Fatal(err)
	}
	c.expect("CDS -a")
}

func TestClients(t *testing.T) {
	s, cc := start(t, Options{}, "CDS/a=1")
	c := openDelta(t, cc)
	n := node("web-1")
	n.Cluster, n.UserAgentName = "web", "gRPC Go"
	n.UserAgentVersionType = userAgentVersion("1.85")
	c.send(&discovery.DeltaDiscoveryRequest{Node: n, TypeUrl: short["CDS"]})
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("another"), TypeUrl: short["EDS"], ResourceNamesSubscribe: []string{"a", "b"}})
	c.recv() // CDS
	c.recv() // EDS
	second := openSotW(t, cc)
	second.request("CDS")
	second.recv()

	clients := s.Clients()
	if len(clients) != 2 {
		t.Fatalf("%d clients", len(clients))
	}
	got := clients[0]
	if got.Node != "web-1" || got.Cluster != "web" || got.UserAgent != "gRPC Go/1.85" || !got.Delta || got.Since.IsZero() {
		t.Errorf("%+v", got)
	}
	if _, _, err := net.SplitHostPort(got.Address); err != nil {
		t.Errorf("address %q", got.Address)
	}
	if len(got.Types) != 2 || !got.Types[0].Wildcard || got.Types[1].Names != 2 || !got.Types[1].Pending() {
		t.Errorf("types %+v", got.Types)
	}
	if clients[1].Delta {
		t.Error("state of the world is taken for delta")
	}
	_ = second.stream.CloseSend()
	if err := drainErr(second.stream); err != nil {
		t.Errorf("a stream that the client closed ended with %v", err)
	}
	if got := len(s.Clients()); got != 1 {
		t.Errorf("%d clients after one left", got)
	}
}

func TestDrainEndsStreams(t *testing.T) {
	s, cc := start(t, Options{}, "CDS/a=1")
	address := cc.Target()
	var clients []*deltaClient
	for range 5 {
		c := openDelta(t, connect(t, address))
		c.subscribe("CDS")
		c.expect("CDS a=1")
		clients = append(clients, c)
	}
	watch, err := grpc_health_v1.NewHealthClient(cc).Watch(testContext(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(testContext(t)); err != nil {
		t.Errorf("Drain: %v", err)
	}
	for _, c := range clients {
		if err := drainErr(c.stream); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
			t.Errorf("a stream ended with %v", err)
		}
	}
	if resp, err := watch.Recv(); err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health while draining: %v, %v", resp, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, ErrClosed) {
		t.Errorf("Serve after Drain: %v", err)
	}
	if got := len(s.Clients()); got != 0 {
		t.Errorf("%d clients after Drain", got)
	}
}

// A stream that cannot be ended, because its client does not read what is being
// sent, is cut off when the time is over.
func TestDrainIsBounded(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/a="+padded(1<<20))
	c := openDelta(t, cc)
	c.subscribe("EDS", "a")
	awaitSent := func() {
		for within := testContext(t); ; {
			clients := s.Clients()
			if len(clients) == 1 && len(clients[0].Types) == 1 && clients[0].Types[0].Sent == s.Version() {
				return
			}
			if within.Err() != nil {
				t.Fatalf("version %s is not sent: %+v", s.Version(), clients)
			}
		}
	}
	awaitSent()
	apply(t, s, "EDS/a=2"+padded(1<<20)) // gRPC takes one response more than the client has room for
	awaitSent()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
}

func TestStreamsAreRefusedWhileDraining(t *testing.T) {
	s := New(Options{Logger: discard()})
	apply(t, s, "CDS/a=1")
	gs := grpc.NewServer()
	s.Register(gs)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = gs.Serve(l) }()
	defer gs.Stop()
	if err := s.Drain(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := drainErr(openDelta(t, connect(t, l.Addr().String())).stream); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream on a drained server: %v", err)
	}
}

func TestDrainPace(t *testing.T) {
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, test := range []struct {
		ctx      context.Context
		streams  int
		min, max time.Duration
	}{
		{context.Background(), 1_000_000, drainPace, drainPace},
		{soon, 0, drainPace, drainPace},
		{soon, 10, drainPace, drainPace},
		{soon, 8000, 50 * time.Microsecond, 100 * time.Microsecond},
		{soon, 1 << 40, time.Microsecond, time.Microsecond},
	} {
		if got := paceOf(test.ctx, test.streams); got < test.min || got > test.max {
			t.Errorf("%d streams: %v, want %v to %v", test.streams, got, test.min, test.max)
		}
	}
}
