package balancer

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// benchAssignment is n endpoints as EDS describes them.
func benchAssignment(n int) *Assignment {
	a := one()
	for i := range n {
		a.Localities[0].Endpoints = append(a.Localities[0].Endpoints, EndpointConfig{
			Address: fmt.Sprintf("10.%d.%d.%d:8080", i>>16, i>>8&255, i&255),
			Weight:  uint32(1 + i%5),
			Labels:  map[string]Value{"version": Text("v1")},
		})
	}
	return a
}

// changes returns assignments that each differ from the next in one endpoint.
func changes(a *Assignment) [2]*Assignment {
	b := *a
	b.Localities = slices.Clone(a.Localities)
	b.Localities[0].Endpoints = slices.Clone(a.Localities[0].Endpoints)
	b.Localities[0].Endpoints[len(a.Localities[0].Endpoints)/2] = EndpointConfig{Address: "192.168.0.1:8080"}
	return [2]*Assignment{a, &b}
}

// still has no goroutine rebuild v, so that a benchmark can.
func still(v *View) {
	for {
		v.mu.Lock()
		if !v.running {
			v.running = true
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		runtime.Gosched()
	}
}

func BenchmarkOneChangeIn10000(b *testing.B) {
	for name, o := range map[string]ViewOptions{"http": httpView, "grpc": grpcView} {
		b.Run(name, func(b *testing.B) {
			k := &fakeConnector{connects: up}
			c := NewCluster("c", ClusterOptions{Logger: quiet})
			defer c.Close()
			versions := changes(benchAssignment(10_000))
			c.Configure(&Config{LocalityWeighted: true, PanicThreshold: 50})
			c.Assign(versions[0])
			v := c.View(k, o)
			still(v)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Assign(versions[(i+1)%2])
				v.rebuild(c.snapshot)
			}
		})
	}
}

func BenchmarkCold10000(b *testing.B) {
	for name, o := range map[string]ViewOptions{"http": httpView, "grpc": grpcView} {
		b.Run(name, func(b *testing.B) {
			a := benchAssignment(10_000)
			b.ReportAllocs()
			for b.Loop() {
				c := NewCluster("c", ClusterOptions{Logger: quiet})
				c.Configure(&Config{LocalityWeighted: true, PanicThreshold: 50})
				c.Assign(a)
				c.View(&fakeConnector{connects: up}, o)
				c.Close()
			}
		})
	}
}

// TestLinksOutliveUpdates has endpoints come, go and change places, a few at a time and
// many. What stays keeps its connection; what goes has it closed.
func TestLinksOutliveUpdates(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	k := &fakeConnector{connects: up}
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	defer c.Close()
	c.Configure(&Config{PanicThreshold: 50})
	var list []EndpointConfig
	n := 0
	insert := func() {
		n++
		list = slices.Insert(list, random.IntN(len(list)+1), EndpointConfig{Address: fmt.Sprintf("10.0.%d.%d:80", n>>8, n&255)})
	}
	assign := func() {
		a := one()
		a.Localities[0].Endpoints = slices.Clone(list)
		c.Assign(a)
	}
	for range 40 {
		insert()
	}
	assign()
	v := c.View(k, httpView)
	still(v)
	conns := map[string]*fakeConn{}
	for round := range 300 {
		for range 1 + random.IntN(12) {
			switch at := random.IntN(len(list)); random.IntN(4) {
			case 0:
				insert()
			case 1:
				list = slices.Delete(list, at, min(at+random.IntN(8), len(list)-1))
			case 2:
				list[at], list[0] = list[0], list[at]
			default: // replaced
				list = slices.Delete(list, at, at+1)
				insert()
			}
		}
		assign()
		v.rebuild(c.snapshot)
		for _, e := range list {
			conn := k.conn(t, e.Address)
			if before := conns[e.Address]; before != nil && before != conn || conn.closes > 0 {
				t.Fatalf("round %d: the connection to %s was not kept", round, e.Address)
			}
			conns[e.Address] = conn
		}
		for address, conn := range conns {
			if !slices.ContainsFunc(list, func(e EndpointConfig) bool { return e.Address == address }) {
				if conn.closes != 1 {
					t.Fatalf("round %d: the connection to %s was closed %d times", round, address, conn.closes)
				}
				delete(conns, address)
			}
		}
		if len(v.byEndpoint) != len(list) {
			t.Fatalf("round %d: %d links to %d endpoints", round, len(v.byEndpoint), len(list))
		}
	}
}
