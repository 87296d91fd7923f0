package xdsserver

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

// BenchmarkChange measures one endpoint's change: from Apply until the last client that
// subscribed has it. Clients are in the same process and do as little as a
// client can: they keep the encoded response and acknowledge it. CPU is of both sides.
func BenchmarkChange(b *testing.B) {
	for _, bench := range []struct{ clients, services, each int }{
		{100, 1000, 1000}, {1000, 1000, 1000}, {1000, 1000, 10}, {10, 10000, 10000},
	} {
		for _, delta := range []bool{true, false} {
			name := fmt.Sprintf("delta=%t/clients=%d/services=%d/each=%d", delta, bench.clients, bench.services, bench.each)
			b.Run(name, func(b *testing.B) { benchmarkChange(b, bench.clients, bench.services, bench.each, delta) })
		}
	}
}

func benchmarkChange(b *testing.B, clients, services, each int, delta bool) {
	list := make([]*policy.Resource, services)
	for i := range list {
		list[i] = assignment(i, 0)
	}
	s := New(Options{Logger: discard()})
	if err := s.Apply(policy.NewResources(list...)); err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer s.Close()

	before := heap()
	var arrived sync.WaitGroup // one for each client that has to get a response
	arrived.Add(clients)
	for i := range clients {
		names := make([]string, each)
		for j := range names {
			names[j] = serviceName((i*each + j) % services)
		}
		cc, err := grpc.NewClient(l.Addr().String(),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec())))
		if err != nil {
			b.Fatal(err)
		}
		defer cc.Close()
		c := &benchClient{b: b, delta: delta, names: names, missing: each, arrived: &arrived}
		go c.run(cc)
	}
	arrived.Wait()
	perClient := float64(heap()-before) / float64(clients) / 1024

	var took []time.Duration
	cpu := cpuTime()
	b.ResetTimer()
	for n := range b.N {
		which := n % services
		list[which] = assignment(which, n+1)
		arrived.Add(clients * each / services)
		next := policy.NewResources(list...)
		begin := time.Now()
		if err := s.Apply(next); err != nil {
			b.Fatal(err)
		}
		arrived.Wait()
		took = append(took, time.Since(begin))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(perClient, "KiB/client")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func serviceName(i int) string { return fmt.Sprintf("service-%05d", i) }

// assignment is the size of ten endpoints.
func assignment(i, version int) *policy.Resource {
	body := make([]byte, 0, 400)
	for e := range 10 {
		body = fmt.Appendf(body, "\x0a\x24 endpoint %08d %05d %03d .......", version, i, e)
	}
	return policy.NewResource(policy.EndpointType, serviceName(i), body)
}

type benchClient struct {
	b       *testing.B
	delta   bool
	names   []string
	missing int // resources, until the client has all of them once
	arrived *sync.WaitGroup
}

func (c *benchClient) run(cc *grpc.ClientConn) {
	method, desc := discovery.AggregatedDiscoveryService_StreamAggregatedResources_FullMethodName, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	if c.delta {
		method = discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName
	}
	stream, err := cc.NewStream(context.Background(), desc, method)
	if err != nil {
		c.b.Error(err)
		return
	}
	c.request(stream, nil)
	if c.delta {
		c.names = nil // so that the heap is the server's, nearly
	}
	for {
		var msg inbound
		if stream.RecvMsg(&msg) != nil {
			return
		}
		var nonce []byte
		resources := 0
		_ = eachField(msg.bytes(), func(num protowire.Number, value []byte) error {
			switch num {
			case responseNonce:
				nonce = slices.Clone(value)
			case 2:
				resources++
			}
			return nil
		})
		msg.free()
		c.request(stream, nonce)
		switch {
		case c.missing > 0:
			if c.missing -= resources; c.missing == 0 {
				c.arrived.Done()
			}
		default:
			c.arrived.Done()
		}
	}
}

func (c *benchClient) request(stream grpc.ClientStream, nonce []byte) {
	var req []byte
	text := func(num protowire.Number, s string) { req = appendText(req, num, s) }
	names := c.names
	if c.delta {
		text(deltaTypeURL, policy.EndpointType)
		text(deltaNonce, string(nonce))
	} else {
		text(sotwTypeURL, policy.EndpointType)
		text(sotwNonce, string(nonce))
	}
	for _, name := range names {
		text(sotwNames, name) // and deltaSubscribe
	}
	_ = stream.SendMsg(rawMessage(req))
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rawMessage(b []byte) *outbound { return &outbound{data: mem.BufferSlice{mem.SliceBuffer(b)}} }
