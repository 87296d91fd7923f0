package balancer

import (
	"fmt"
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
