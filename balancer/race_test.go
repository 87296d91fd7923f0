package balancer

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

// Picks of both kinds go on while endpoints, policy and connectivity change. The one
// endpoint that is always there and never fails means that no pick may fail.
func TestPicksNeverFailWhileEverythingChanges(t *testing.T) {
	const rounds = 300
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	rng := rand.New(rand.NewPCG(1, 2))
	change := func() *Assignment {
		a := &Assignment{Localities: []LocalityEndpoints{{Weight: 1, Priority: rng.Uint32N(3), Endpoints: []EndpointConfig{at("always:1")}}}}
		for range rng.IntN(6) {
			l := LocalityEndpoints{Weight: rng.Uint32N(3), Priority: rng.Uint32N(3)}
			for _, e := range addresses("e", 40) {
				if rng.IntN(3) == 0 {
					e.Weight, e.Health = rng.Uint32N(4), Health(rng.IntN(6))
					l.Endpoints = append(l.Endpoints, e)
				}
			}
			a.Localities = append(a.Localities, l)
		}
		return a
	}
	c.Configure(&Config{PanicThreshold: 50})
	c.Assign(change())

	flaky := &fakeConnector{connects: func(conn *fakeConn) {
		if conn.endpoint.Address() == "always:1" || rand.IntN(2) == 0 {
			conn.report(Ready, nil)
		} else {
			conn.report(TransientFailure, errRefused)
		}
	}}
	onDemand := new(fakeConnector)
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, v := range []*View{c.View(flaky, grpcView), c.View(onDemand, httpView)} {
		for range 2 {
			running.Go(func() {
				var tried []*Endpoint
				some := false // a gRPC view has to connect first
				for {
					select {
					case <-stop:
						return
					default:
					}
					l, err := v.Pick(PickInfo{Exclude: tried})
					switch {
					case err == nil:
						some = true
						if tried = append(tried, l.Endpoint()); len(tried) > 2 {
							tried = nil
						}
						l.Done(Outcome{})
					case errors.Is(err, ErrExcluded):
						tried = nil
					case errors.Is(err, ErrConnecting) && (!some || v.options.GRPC):
					default:
						t.Errorf("Pick: %v", err)
						return
					}
				}
			})
		}
	}
	running.Go(func() {
		rng := rand.New(rand.NewPCG(3, 4))
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, k := range []*fakeConnector{flaky, onDemand} {
				k.mu.Lock()
				var list []*fakeConn
				for address, conn := range k.conns {
					if address != "always:1" {
						list = append(list, conn)
					}
				}
				k.mu.Unlock()
				for _, conn := range list {
					conn.report(State(rng.IntN(4)), errRefused)
				}
			}
		}
	})
	for i := range rounds {
		c.Configure(&Config{
			Policy:           Policy{Kind: PolicyKind(i % 6), TableSize: 101},
			LocalityWeighted: i%3 == 0, LegacyPolicy: i%5 == 0, PanicThreshold: float64(i % 2 * 50),
		})
		c.Assign(change())
		c.View(onDemand, httpView).Close()
	}
	close(stop)
	running.Wait()
	c.Close()
	for _, e := range c.Endpoints() {
		if got := e.Active(); got != 0 {
			t.Errorf("%s has %d calls in flight after the last is done", e.Address(), got)
		}
	}
}
