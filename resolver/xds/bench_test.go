package xds

import (
	"context"
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// BenchmarkReceive takes in a response with 10,000 resources of 1 KiB of which one
// has changed: what a SotW server sends for a change, and a delta server after a
// reconnect.
func BenchmarkReceive(b *testing.B) {
	const n, size = 10_000, 1 << 10
	for _, d := range []dialect{delta, sotw} {
		b.Run(d.protocol().String(), func(b *testing.B) {
			c, err := New(Config{
				Servers:   []ServerConfig{{URI: "cp"}},
				Types:     []ResourceType{{URL: fuzzURL, Name: "Listener", AllRequiredInSotW: true, Decode: decodeFuzz}},
				Transport: unreachable{},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			c.mu.Lock()
			s := c.serverFor(c.config.Servers[0])
			s.running = true
			c.mu.Unlock()
			var responses [2][]byte
			bodies := make([]*anypb.Any, n)
			for i := range bodies {
				name := fmt.Sprint("cluster", i)
				c.Watch(fuzzURL, name, nobody{})
				bodies[i] = &anypb.Any{TypeUrl: fuzzURL, Value: fmt.Appendf(nil, "%s=%0*d", name, size, 0)}
			}
			for v := range responses {
				bodies[n/2] = &anypb.Any{TypeUrl: fuzzURL, Value: fmt.Appendf(nil, "cluster%d=%0*d", n/2, size, v)}
				if responses[v], err = proto.Marshal(responseOf(d, bodies)); err != nil {
					b.Fatal(err)
				}
			}
			st := &stream{server: s, dialect: d}
			st.next()
			b.ReportAllocs()
			b.SetBytes(int64(len(responses[0])))
			for i := 0; b.Loop(); i++ {
				if err := st.receive(context.Background(), responses[i%2]); err != nil {
					b.Fatal(err)
				}
				st.next() // take the answer
			}
		})
	}
}

func responseOf(d dialect, bodies []*anypb.Any) proto.Message {
	if d == sotw {
		return &discoveryv3.DiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n", VersionInfo: "v", Resources: bodies}
	}
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n"}
	for i, body := range bodies {
		r.Resources = append(r.Resources, &discoveryv3.Resource{Name: fmt.Sprint("cluster", i), Version: "v", Resource: body})
	}
	return r
}
