package resolver_test

import (
	"fmt"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

// BenchmarkOneChangeOf10000Clusters is row X10: from the wire form of the changed
// assignment to the one cluster that has it.
func BenchmarkOneChangeOf10000Clusters(b *testing.B) {
	const n = 10_000
	rc := simpleRoutes("r", "c0")
	list := []proto.Message{rc}
	for i := range n {
		name := fmt.Sprint("c", i)
		rc.VirtualHosts[0].Routes = append(rc.VirtualHosts[0].Routes, simpleRoutes("", name).VirtualHosts[0].Routes...)
		list = append(list, edsCluster(name), assignment(name, "192.0.2.1"))
	}
	s := &spied{Source: newStatic(b, list...)}
	target := newResolver(b, s).Target(resolver.TargetName{RouteConfig: "r"})
	if _, err := target.Await(b.Context()); err != nil {
		b.Fatal(err)
	}
	var cluster = target.Table().Clusters()[0]
	decode := decoderOf(b, allTypes, resolver.EndpointsURL)
	both := [2][]byte{marshal(assignment("c0", "192.0.2.1")), marshal(assignment("c0", "192.0.2.2"))}
	want := [2]string{"192.0.2.1:80", "192.0.2.2:80"}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		_, value, err := decode(both[i%2])
		if err != nil {
			b.Fatal(err)
		}
		s.watcher.ResourceChanged(xds.Resource{Name: "c0", Value: value})
		for cluster.Endpoints()[0].Address() != want[i%2] {
			runtime.Gosched() // the resolver has its turn
		}
	}
}

// spied sees who watches the endpoints of c0.
type spied struct {
	resolver.Source
	watcher xds.Watcher
}

func (c *spied) Watch(typeURL, name string, w xds.Watcher) (cancel func()) {
	if typeURL == resolver.EndpointsURL && name == "c0" {
		c.watcher = w
	}
	return c.Source.Watch(typeURL, name, w)
}
