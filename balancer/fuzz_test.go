package balancer

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// FuzzAssignAndPick makes assignments, policies and reports from bytes. Whatever
// they are, nothing panics; only endpoints of the newest assignment are picked, of
// gRPC's only Ready ones; and where an endpoint is in reach there is a pick.
func FuzzAssignAndPick(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte("\x01\x00\x00\x05\x00\x01\x01\x05\x01\x02\x02\x80\xff\x03\x03\x03\x03\x03"))
	f.Add([]byte{255, 254, 253, 252, 251, 250, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &byteReader{data}
		c := NewCluster("c", ClusterOptions{Logger: quiet})
		k := map[bool]*fakeConnector{false: {}, true: {}}
		views := map[bool]*View{}
		for onDemand := range k {
			views[onDemand] = c.View(k[onDemand], ViewOptions{OnDemand: onDemand, GRPC: !onDemand})
			still(views[onDemand]) // rebuilt by the test
		}
		defer c.Close()
		now := func() {
			for _, v := range views {
				v.rebuild(c.snapshot)
			}
		}
		for range 4 {
			config := in.config()
			c.Configure(config)
			a := in.assignment()
			c.Assign(a)
			now()
			inside := map[string]bool{}
			for _, l := range a.Localities {
				for _, e := range l.Endpoints {
					inside[e.Address] = l.Priority <= maxPriority || inside[e.Address]
				}
			}
			for onDemand, v := range views {
				for _, l := range v.links {
					if l == nil {
						continue
					}
					if s := State(in.next() % 4); s != Idle {
						l.report(s, errors.New("reported"))
					}
					if n := in.next(); n%4 == 1 {
						l.Answered(time.Duration(n) * time.Millisecond)
						l.ReportLoad(&Load{CPU: float64(n%16) - 1, QueriesPerSecond: float64(in.weight()), ErrorsPerSecond: float64(n) - 10})
					}
				}
				v.rebuild(c.snapshot)
				ready := false
				r := &round{View: v, built: v.built}
				for _, p := range v.built.priorities {
					for _, loc := range p.localities {
						if r.weighted(&p) && loc.weight == 0 {
							continue // gets no load
						}
						for i := loc.from; i < loc.to; i++ {
							if l := v.links[i]; l != nil && v.built.members[i].health.class() == classHealthy {
								s := State(l.state.Load())
								ready = ready || s == Ready || onDemand && s != TransientFailure
							}
						}
					}
				}
				for i := range 8 {
					l, err := v.Pick(PickInfo{Hash: uint64(in.next()) << 56, HasHash: i%2 == 0})
					switch {
					case !onDemand && v.Hashes() && errors.Is(err, ErrConnecting): // waits for its own endpoint
					case err == nil && !inside[l.Endpoint().Address()]:
						t.Fatalf("picked %s, which is not in %+v", l.Endpoint().Address(), a)
					case err == nil && !onDemand && l.State() != Ready:
						t.Fatalf("picked a link that is %v", l.State())
					case err != nil && ready && !errors.Is(err, ErrDropped):
						t.Fatalf("no pick though there is an endpoint: %v\n%+v\n%+v", err, config, a)
					case err == nil:
						l.Done(Outcome{})
					}
				}
				if ready {
					v.Pick(PickInfo{Exclude: c.Endpoints()})
				}
			}
			if in.next()%4 == 0 {
				c.Fail(errors.New("failed"))
				now()
			}
		}
	})
}

// byteReader yields numbers from bytes, and zeros when they are used up.
type byteReader struct{ data []byte }

func (r *byteReader) next() uint32 {
	if len(r.data) == 0 {
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return uint32(b)
}

// weight is small, zero or huge.
func (r *byteReader) weight() uint32 {
	n := r.next()
	if n > 200 {
		return ^uint32(0) - n
	}
	return n % 5
}

func (r *byteReader) config() *Config {
	n := r.next()
	return &Config{
		Policy: Policy{
			Kind: PolicyKind(n % 9), ChoiceCount: int(r.next()) - 5,
			ActiveRequestBias: float64(r.next()) - 2, Shuffle: n&8 != 0,
			MinRingSize: 7, MaxRingSize: 7 + uint64(n), TableSize: 53, FullScan: n&64 != 0,
			SlowStart:    SlowStart{Window: time.Duration(n%3) * time.Second, MinWeightPercent: float64(n % 100)},
			Load:         LoadWeights{Blackout: time.Duration(n%2) * time.Hour, ErrorPenalty: float64(n % 4)},
			RandomSubset: RandomSubset{Size: max(0, int(r.next())-200), PerLocality: n&64 != 0},
		},
		LocalityWeighted: n&16 != 0,
		LegacyPolicy:     n&32 != 0,
		PanicThreshold:   float64(r.next()%3) * 50,
	}
}

func (r *byteReader) assignment() *Assignment {
	a := &Assignment{Overprovisioning: r.weight()}
	for range r.next() % 6 {
		l := LocalityEndpoints{Weight: r.weight(), Priority: r.next() % 130}
		if l.Priority > 4 && l.Priority < 120 {
			l.Priority %= 4
		}
		for range r.next() % 14 {
			l.Endpoints = append(l.Endpoints, EndpointConfig{
				Address: fmt.Sprintf("e%d:1", r.next()%20), Weight: r.weight(), Health: Health(r.next()%8) - 1,
			})
		}
		a.Localities = append(a.Localities, l)
	}
	if n := r.next(); n%8 == 0 {
		a.Drops = []Drop{{"some", n * 10_000}}
	}
	return a
}

// A hundred thousand endpoints, in many localities and priorities, are only more.
func TestManyEndpoints(t *testing.T) {
	a := new(Assignment)
	for i := range 1000 {
		a.Localities = append(a.Localities, LocalityEndpoints{
			Priority: uint32(i % 128), Weight: uint32(i), Endpoints: addresses(fmt.Sprintf("l%d-", i), 100),
		})
	}
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	defer c.Close()
	c.Configure(&Config{LocalityWeighted: true, PanicThreshold: 50})
	c.Assign(a)
	v := c.View(new(fakeConnector), httpView)
	if got := len(c.Endpoints()); got != 100_000 {
		t.Errorf("%d endpoints, want 100,000", got)
	}
	var tried []*Endpoint
	for range 1000 {
		l, err := v.Pick(PickInfo{Exclude: tried})
		if err != nil {
			t.Fatal(err)
		}
		l.Done(Outcome{})
		tried = append(tried, l.Endpoint())
	}
}
