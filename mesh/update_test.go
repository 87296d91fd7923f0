package mesh_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
	"github.com/weft-mesh/weft/xdsserver"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

// changing is a control plane whose one cluster has 10,000 endpoints: a few that serve, in
// the priority that takes the load, and the rest, which change, in the next. It has the
// cluster in a form that costs little to change.
type changing struct {
	server  *xdsserver.Server
	rest    *policy.Resources
	serving []byte   // the first priority
	spares  [][]byte // lb_endpoints of the second
	changes atomic.Int64
}

const manyEndpoints = 10_000

// newChanging serves p's cluster "raw", and returns the mesh that goes by it.
func newChanging(tb testing.TB, p protocol, backends ...*meshtest.Backend) (*changing, *mesh.Mesh) {
	parsed, err := policy.Parse("p", rawCluster(p, ""))
	if err != nil {
		tb.Fatal(err)
	}
	rest, err := parsed.Compile()
	if err != nil {
		tb.Fatal(err)
	}
	c := &changing{server: xdsserver.New(xdsserver.Options{Logger: slog.New(slog.DiscardHandler)}), rest: rest}
	for i := range manyEndpoints - len(backends) {
		c.spares = append(c.spares, encoded(endpointAt(fmt.Sprintf("192.0.%d.%d", i>>8&255, i&255), 1024+i)))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- c.server.Serve(l) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		defer cancel()
		_ = c.server.Drain(ctx)
		c.server.Close()
		<-served
	})
	c.serve(tb, backends...)
	return c, meshtest.New(tb, mesh.WithServer(l.Addr().String(), mesh.Plaintext()))
}

// serve has these take the calls.
func (c *changing) serve(tb testing.TB, backends ...*meshtest.Backend) {
	l := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: "a"}, LoadBalancingWeight: wrapperspb.UInt32(1)}
	for _, b := range backends {
		addr, err := net.ResolveTCPAddr("tcp", b.Addr)
		if err != nil {
			tb.Fatal(err)
		}
		l.LbEndpoints = append(l.LbEndpoints, endpointAt(addr.IP.String(), addr.Port))
	}
	c.serving = encoded(&endpointv3.ClusterLoadAssignment{ClusterName: "raw", Endpoints: []*endpointv3.LocalityLbEndpoints{l}})
	c.apply(tb)
}

func endpointAt(ip string, port int) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
		}}},
	}}}
}

func encoded(m proto.Message) []byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// apply serves what there is now.
func (c *changing) apply(tb testing.TB) {
	// endpoints (2) of a priority (5) of 1, with lb_endpoints (2).
	locality := encoded(&endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: "b"}, Priority: 1, LoadBalancingWeight: wrapperspb.UInt32(1)})
	for _, e := range c.spares {
		locality = append(appendLength(append(locality, 2<<3|2), len(e)), e...)
	}
	assignment := append(appendLength(append(slices.Clone(c.serving), 2<<3|2), len(locality)), locality...)
	list := []*policy.Resource{policy.NewResource(policy.EndpointType, "raw", assignment)}
	for r := range c.rest.All() {
		if r.TypeURL != policy.EndpointType {
			list = append(list, r)
		}
	}
	if err := c.server.Apply(policy.NewResources(list...)); err != nil {
		tb.Fatal(err)
	}
}

func appendLength(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// change changes one endpoint.
func (c *changing) change(tb testing.TB) {
	n := int(c.changes.Add(1))
	c.spares[n*7919%len(c.spares)] = encoded(endpointAt(fmt.Sprintf("198.18.%d.%d", n>>8&255, n&255), 80))
	c.apply(tb)
}

// keepChanging changes an endpoint a hundred times a second until stop is called.
func (c *changing) keepChanging(tb testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.change(tb)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// TestNoCallFailsWhileManyEndpointsChange has calls flow while one of 10,000 endpoints
// after another is replaced. The last change arrives, too.
func TestNoCallFailsWhileManyEndpointsChange(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		c, m := newChanging(t, p, p.backend(t, "a"), p.backend(t, "b"))
		call := p.client(t, m, "raw")
		eventually(t, call, request{}, "a", "b")
		stop := c.keepChanging(t)
		l := startLoad(t, 4, call, request{})
		for deadline := time.Now().Add(long); c.changes.Load() < 100 && time.Now().Before(deadline); {
			l.await(10)
		}
		stop()
		l.end(t)
		c.serve(t, p.backend(t, "new"))
		eventually(t, call, request{}, "new")
	})
}

// BenchmarkOneChangeEndToEnd is from the control plane's having another endpoint among
// 10,000 to a call's reaching it.
func BenchmarkOneChangeEndToEnd(b *testing.B) {
	for _, p := range protocols {
		b.Run(p.name, func(b *testing.B) {
			names := []string{"a", "b"}
			backends := []*meshtest.Backend{p.backend(b, "a"), p.backend(b, "b")}
			c, m := newChanging(b, p, backends[0])
			call := p.client(b, m, "raw")
			for i := 1; b.Loop(); i++ {
				c.serve(b, backends[i%2])
				for got := ""; got != names[i%2]; {
					var err error
					if got, err = call(b.Context(), request{}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkCallsWhileEndpointsChange reports how much slower the slowest hundredth of the
// calls is while a hundred changes a second arrive, in slots with and without them by
// turns. The control plane runs in this process: what it takes of the machine is in it.
func BenchmarkCallsWhileEndpointsChange(b *testing.B) {
	for _, p := range protocols {
		b.Run(p.name, func(b *testing.B) {
			c, m := newChanging(b, p, p.backend(b, "a"))
			call := p.client(b, m, "raw")
			var p99 [2][]float64
			slot := func(changing int) {
				stop := func() {}
				if changing == 1 {
					stop = c.keepChanging(b)
				}
				defer stop()
				var took []time.Duration
				for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
					at := time.Now()
					if _, err := call(b.Context(), request{}); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(at))
				}
				slices.Sort(took)
				p99[changing] = append(p99[changing], float64(took[len(took)*99/100]))
			}
			slot(0)
			p99[0] = nil
			for i := 0; b.Loop(); i++ {
				slot(i % 2)
				slot(1 - i%2)
			}
			slices.Sort(p99[0])
			slices.Sort(p99[1])
			b.ReportMetric(p99[1][len(p99[1])/2]/p99[0][len(p99[0])/2], "p99-ratio")
		})
	}
}
