package grpctransport_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/grpctransport"
)

const testURL = "type.googleapis.com/test.Thing"

// ads is a control plane that has every resource: "name=name".
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	delta, sotw bool
	size        int // of a resource's value, if not zero

	mu      sync.Mutex
	streams int
	tokens  []string
}

func (a *ads) note(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams++
	md, _ := metadata.FromIncomingContext(ctx)
	a.tokens = append(a.tokens, md.Get("authorization")...)
}

func (a *ads) resource(name string) *anypb.Any {
	value := name
	if a.size > 0 {
		value = strings.Repeat("x", a.size)
	}
	return &anypb.Any{TypeUrl: testURL, Value: []byte(name + "=" + value)}
}

func (a *ads) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	if !a.delta {
		return status.Error(codes.Unimplemented, "no delta here")
	}
	a.note(s.Context())
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if len(r.ResourceNamesSubscribe) == 0 {
			continue
		}
		response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.TypeUrl, Nonce: "n"}
		for _, name := range r.ResourceNamesSubscribe {
			response.Resources = append(response.Resources, &discoveryv3.Resource{Name: name, Version: "1", Resource: a.resource(name)})
		}
		if err := s.Send(response); err != nil {
			return err
		}
	}
}

func (a *ads) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	if !a.sotw {
		return status.Error(codes.InvalidArgument, "delta only")
	}
	a.note(s.Context())
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if r.VersionInfo == "1" {
			continue
		}
		response := &discoveryv3.DiscoveryResponse{TypeUrl: r.TypeUrl, Nonce: "n", VersionInfo: "1"}
		for _, name := range r.ResourceNames {
			response.Resources = append(response.Resources, a.resource(name))
		}
		if err := s.Send(response); err != nil {
			return err
		}
	}
}

// serve runs the control plane on address and returns where, and how to stop it.
func (a *ads) serve(t *testing.T, address string, creds credentials.TransportCredentials) (string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	s := grpc.NewServer(grpc.Creds(creds))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, a)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() { s.Stop(); serving.Wait() })
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// client makes a client over real gRPC.
func client(t *testing.T, server xds.ServerConfig, builder grpctransport.Builder) *xds.Client {
	t.Helper()
	c, err := xds.New(xds.Config{
		Node:    &corev3.Node{Id: "test"},
		Servers: []xds.ServerConfig{server},
		Types: []xds.ResourceType{{URL: testURL, Name: "Thing", Decode: func(raw []byte) (string, any, error) {
			name, value, _ := strings.Cut(string(raw), "=")
			return name, value, nil
		}}},
		Transport: builder,
		Backoff:   func(int) time.Duration { return time.Millisecond },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// told is a Watcher that passes on what it is told, or leaves it out if nobody takes it.
type told chan any

func (c told) add(v any) {
	select {
	case c <- v:
	default:
	}
}
func (c told) ResourceChanged(r xds.Resource) { c.add(r.Value) }
func (c told) ResourceError(err error)        { c.add(err) }
func (c told) AmbientError(err error)         { c.add(err) }

func watch(c *xds.Client, name string) told {
	w := make(told, 100)
	c.Watch(testURL, name, w)
	return w
}

// value waits for a value and passes over errors.
func (c told) value(t *testing.T) string {
	t.Helper()
	for {
		select {
		case v := <-c:
			if s, ok := v.(string); ok {
				return s
			}
			t.Logf("on the way: %v", v)
		case <-time.After(time.Minute):
			t.Fatal("nothing came")
		}
	}
}

// failure waits for an error.
func (c told) failure(t *testing.T) error {
	t.Helper()
	for {
		select {
		case v := <-c:
			if err, ok := v.(error); ok {
				return err
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing came")
		}
	}
}
