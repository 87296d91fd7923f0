package mesh_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	gresolver "google.golang.org/grpc/resolver"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/balancer/grpclb"
	"github.com/weft-mesh/weft/mesh"
)

// BenchmarkClientUnary is what policy costs a gRPC call that goes well, and nothing else:
// where grpc would send it, there is a pick by the channel's balancer and its end.
func BenchmarkClientUnary(b *testing.B) {
	b.Run("no policy", func(b *testing.B) {
		call := clientUnary(b, "", "", 0)
		b.ReportAllocs()
		for b.Loop() {
			call()
		}
	})
	b.Run("idle policy", func(b *testing.B) {
		call := clientUnary(b, idleService, idleRoute, 99)
		b.ReportAllocs()
		for b.Loop() {
			call()
		}
	})
}

// BenchmarkUnaryContention is the same of calls on all processors: beside it, a call costs
// what they have to pass to one another because all calls write it.
func BenchmarkUnaryContention(b *testing.B) {
	call := clientUnary(b, idleService, idleRoute, 99)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			call()
		}
	})
}

// What guards calls and has nothing to do.
const (
	idleService = `, limits: {maxRequests: 10000, retryBudget: {}}, outlierDetection: {consecutive5xx: 5}, breaker: {endpoint: {}, cluster: {}}`
	idleRoute   = `, retry: {attempts: 3, on: [unavailable, gateway-error]}`
)

// clientUnary returns a call by policy. There are so many other routes before its own.
func clientUnary(b *testing.B, service, route string, others int) (call func()) {
	var routes strings.Builder
	for i := range others {
		fmt.Fprintf(&routes, "    - {match: {path: {exact: /shop.Orders/Other%d}}, to: orders}\n", i)
	}
	m, err := mesh.New(mesh.WithPolicy(fmt.Appendf(nil, `
services:
  orders: {protocol: grpc, endpoints: ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]%s}
routes:
  orders:
%s    - {match: {path: {prefix: /shop.Orders/}}, to: orders%s}
`, service, routes.String(), route)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close(context.Background()) })
	unary, clusters := mesh.ClientUnary(m, "orders")
	picker := pickerOf(b, clusters)
	send := func(ctx context.Context, method string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		picked, err := picker.Pick(gbalancer.PickInfo{FullMethodName: method, Ctx: ctx})
		if err == nil && picked.Done != nil {
			picked.Done(gbalancer.DoneInfo{BytesSent: true, BytesReceived: true})
		}
		return err
	}
	ctx := context.Background()
	return func() {
		if err := unary(ctx, "/shop.Orders/Get", nil, nil, nil, send); err != nil {
			b.Error(err)
		}
	}
}

// pickerOf returns what a channel picks by whose connections to the clusters' endpoints are
// all ready.
func pickerOf(b *testing.B, clusters []*balancer.Cluster) gbalancer.Picker {
	cc := &readyChannel{pickers: make(chan gbalancer.Picker, 16)}
	lb := gbalancer.Get(grpclb.Name).Build(cc, gbalancer.BuildOptions{})
	b.Cleanup(lb.Close)
	if err := lb.UpdateClientConnState(gbalancer.ClientConnState{ResolverState: grpclb.WithClusters(gresolver.State{}, clusters)}); err != nil {
		b.Fatal(err)
	}
	return receive(b, "a picker", cc.pickers)
}

// readyChannel is what grpc is to a balancer.
type readyChannel struct {
	gbalancer.ClientConn
	pickers chan gbalancer.Picker // one that is ready
}

func (c *readyChannel) NewSubConn(_ []gresolver.Address, o gbalancer.NewSubConnOptions) (gbalancer.SubConn, error) {
	return readySubConn{listener: o.StateListener}, nil
}

func (c *readyChannel) UpdateState(s gbalancer.State) {
	if s.ConnectivityState == connectivity.Ready {
		select {
		case c.pickers <- s.Picker:
		default:
		}
	}
}

type readySubConn struct {
	gbalancer.SubConn
	listener func(gbalancer.SubConnState)
}

func (s readySubConn) Connect() {
	go s.listener(gbalancer.SubConnState{ConnectivityState: connectivity.Ready})
}

func (readySubConn) Shutdown() {}
