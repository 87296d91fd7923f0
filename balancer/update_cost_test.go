package balancer

import (
	"runtime"
	"testing"
)

// changing is a cluster of 10,000 endpoints with a view by each protocol's rules, and two
// assignments that differ in one endpoint.
func changing(tb testing.TB, policy PolicyKind) (c *Cluster, views []*View, assignments [2]*Assignment) {
	c = NewCluster("c", ClusterOptions{Logger: quiet})
	tb.Cleanup(c.Close)
	list := addresses("e", 10_000)
	assignments[0] = one(list...)
	other := append([]EndpointConfig(nil), list...)
	other[5000].Address = "other:1"
	assignments[1] = one(other...)
	c.Configure(&Config{Policy: Policy{Kind: policy}, PanicThreshold: 50})
	c.Assign(assignments[0])
	views = append(views, c.View(&fakeConnector{connects: up}, ViewOptions{OnDemand: true}),
		c.View(&fakeConnector{connects: up}, ViewOptions{GRPC: true}))
	return c, views, assignments
}

// change publishes an assignment, with the work of the views done here.
func change(c *Cluster, views []*View, a *Assignment) {
	c.Assign(a)
	for _, v := range views {
		for {
			v.mu.Lock()
			settled := !v.running && !v.dirty
			v.mu.Unlock()
			if settled {
				break
			}
			runtime.Gosched()
		}
	}
}

// TestOneChangeIsPublishedCheaply bounds what one change among 10,000 endpoints
// allocates, in the cluster and two views of it. Lists as long as the assignment are
// one allocation each.
func TestOneChangeIsPublishedCheaply(t *testing.T) {
	for _, policy := range []PolicyKind{RoundRobin, LeastRequest, RingHash, Maglev} {
		c, views, assignments := changing(t, policy)
		change(c, views, assignments[1])
		i := 0
		n := testing.AllocsPerRun(5, func() {
			change(c, views, assignments[i%2])
			i++
		})
		if n > 300 {
			t.Errorf("policy %d: one change among 10,000 endpoints allocates %v, want at most 300", policy, n)
		}
	}
}

// TestIdleEndpointsAreSmall bounds what a cluster keeps of an endpoint that nobody
// calls, links of an HTTP client and of a gRPC channel included, and of 10,000 alone.
func TestIdleEndpointsAreSmall(t *testing.T) {
	const n = 10_000
	a := one(addresses("e", n)...)
	before := heap()
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	defer c.Close()
	c.Configure(&Config{PanicThreshold: 50})
	c.Assign(a)
	cold := heap() - before
	if cold > 8<<20 {
		t.Errorf("10,000 endpoints keep %d bytes, want at most 8 MB", cold)
	}
	v := c.View(nothing{}, ViewOptions{OnDemand: true})
	viewed := heap() - before
	t.Logf("an endpoint keeps %d bytes, %d with a link", cold/n, viewed/n)
	if viewed > 1024*n {
		t.Errorf("an idle endpoint with a link keeps %d bytes, want at most 1024", viewed/n)
	}
	runtime.KeepAlive(v)
	runtime.KeepAlive(a)
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// nothing connects to nothing.
type nothing struct{}

func (nothing) NewConn(*Endpoint, func(State, error)) Conn { return nothing{} }
func (nothing) Connect()                                   {}
func (nothing) Close()                                     {}
