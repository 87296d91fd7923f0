package mesh_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// outlierRig is a service "orders" of several backends, called through a mesh.
type outlierRig struct {
	*testing.T
	protocol
	cp       *meshtest.ControlPlane
	mesh     *mesh.Mesh
	backends []*meshtest.Backend // a, b, c...
	call     func(context.Context, request) (string, error)
}

func newOutlierRig(t *testing.T, p protocol, n int, detection string) *outlierRig {
	r := &outlierRig{T: t, protocol: p, cp: meshtest.NewControlPlane(t)}
	for i := range n {
		r.backends = append(r.backends, p.backend(t, string(rune('a'+i))))
	}
	r.apply(detection)
	r.mesh = r.cp.Mesh()
	r.call = p.client(t, r.mesh, "orders")
	r.eventually("calls reach all", func() bool {
		for _, b := range r.backends {
			if b.Calls() == 0 {
				_, err := r.call(within(t, long), request{})
				return err != nil
			}
		}
		return true
	})
	return r
}

// apply gives the policy; what detection leaves out ejects nothing.
func (r *outlierRig) apply(detection string) {
	r.cp.Apply(fmt.Sprintf(`services: {orders: {protocol: %s, `+inTime+`, endpoints: [%s], outlierDetection: {%s}}}`,
		r.name, addresses(r.backends), detection))
}

// eventually waits for a condition.
func (r *outlierRig) eventually(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(long); !holds(); {
		if time.Now().After(deadline) {
			r.Fatalf("not so: %s; ejected: %v", what, ejected(r.mesh, "orders"))
		}
	}
}

// callUntil makes calls, whatever becomes of them, until a condition holds.
func (r *outlierRig) callUntil(what string, holds func() bool) {
	r.Helper()
	r.eventually(what, func() bool {
		if holds() {
			return true
		}
		_, _ = r.call(within(r.T, long), request{})
		return false
	})
}

// callsMove waits until all calls are answered, by just these backends: those that are
// ejected get calls until the news is with the picker.
func (r *outlierRig) callsMove(names ...string) {
	r.Helper()
	r.eventually(fmt.Sprintf("calls are answered by %q", names), func() bool {
		got := map[string]bool{}
		for range 4 * len(names) {
			name, err := r.call(within(r.T, long), request{})
			if err != nil {
				return false
			}
			got[name] = true
		}
		return slices.Equal(slices.Sorted(maps.Keys(got)), names)
	})
}

// ejected lists backends that are out, by their names.
func (r *outlierRig) ejected() string {
	var names []string
	for _, address := range ejected(r.mesh, "orders") {
		i := slices.IndexFunc(r.backends, func(b *meshtest.Backend) bool { return b.Addr == address })
		names = append(names, string(rune('a'+i)))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

const (
	forever = `interval: 10ms, baseEjectionTime: 1h, maxEjectionTime: 1h, maxEjectionPercent: 100, `
	noRates = `successRate: false, `
)

// TestOutlierEjection ejects a backend that fails, and has it return (row L7).
func TestOutlierEjection(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		r := newOutlierRig(t, p, 3, forever+noRates+`consecutive5xx: 3`)
		r.backends[0].SetFailing(true)
		r.callUntil("a is ejected", func() bool { return r.ejected() == "a" })
		r.callsMove("b", "c")
		before := r.backends[0].Calls()
		if diff := cmp.Diff(map[string]int{"b": 50, "c": 50}, counts(t, r.call, request{}, 100)); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		if n := r.backends[0].Calls() - before; n > 0 {
			t.Errorf("the ejected backend got %d calls", n)
		}

		r.backends[0].SetFailing(false)
		r.apply(`interval: 10ms, baseEjectionTime: 20ms, consecutive5xx: 3`)
		eventually(t, r.call, request{}, "a", "b", "c")
	})
}

// TestOutlierRules has each of the rules find the one backend that fails, and other
// outcomes find none.
func TestOutlierRules(t *testing.T) {
	none := `consecutive5xx: 0, ` + noRates
	for _, c := range []struct {
		name, detection string
		fail            func(*meshtest.Backend)
		expires         bool // the deadline of calls that it keeps
	}{
		{name: "consecutive 5xx", detection: noRates + `consecutive5xx: 5`, fail: failing},
		{name: "gateway failure", detection: none + `consecutiveGatewayFailure: 5`, fail: failing},
		{name: "deadline", detection: none + `consecutiveGatewayFailure: 2`, fail: slow, expires: true},
		{name: "local origin", detection: none + `splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailure: 2`, fail: slow, expires: true},
		{name: "success rate", detection: `consecutive5xx: 0, successRateMinimumHosts: 3, successRateRequestVolume: 3, successRateStdevFactor: 1000, interval: 100ms`, fail: failing},
		{name: "failure percentage", detection: none + `failurePercentageThreshold: 60, failurePercentageMinimumHosts: 3, failurePercentageRequestVolume: 3, interval: 100ms`, fail: failing},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				common := forever
				if strings.Contains(c.detection, "interval") {
					common = strings.Replace(forever, "interval: 10ms, ", "", 1)
				}
				r := newOutlierRig(t, p, 3, common+c.detection)
				call := r.call
				if c.expires {
					r.call = func(ctx context.Context, q request) (string, error) {
						ctx, done := expires(ctx, r.backends[1])
						defer done()
						return call(ctx, q)
					}
				}
				c.fail(r.backends[1])
				r.callUntil("b is ejected", func() bool { return r.ejected() == "b" })
				r.callsMove("a", "c")
			})
		})
	}
}

// expires returns a context whose deadline passes once the call is at a backend that keeps
// it. The calls of other backends are not cut short, however slow the machine is.
func expires(parent context.Context, at *meshtest.Backend) (context.Context, func()) {
	ctx := &expiring{Context: parent, expired: make(chan struct{})}
	done := make(chan struct{})
	var watching sync.WaitGroup
	before := at.Calls()
	watching.Go(func() {
		for at.Calls() == before {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
		close(ctx.expired)
	})
	return ctx, func() {
		close(done)
		watching.Wait()
	}
}

// expiring is a context whose deadline passes when it is told.
type expiring struct {
	context.Context
	expired chan struct{}
}

func (c *expiring) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c *expiring) Done() <-chan struct{}       { return c.expired }
func (c *expiring) Err() error {
	select {
	case <-c.expired:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func failing(b *meshtest.Backend) { b.SetFailing(true) }
func slow(b *meshtest.Backend)    { b.SetDelay(long) }

// TestOutlierMaxPercent leaves the rest of the backends in, however they fail.
func TestOutlierMaxPercent(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		r := newOutlierRig(t, p, 4, strings.Replace(forever, "maxEjectionPercent: 100", "maxEjectionPercent: 50", 1)+noRates+`consecutive5xx: 2`)
		for _, b := range r.backends {
			b.SetFailing(true)
		}
		r.callUntil("two are ejected", func() bool { return len(r.ejected()) == len("a b") })
		for range 100 {
			_, _ = r.call(within(t, long), request{})
		}
		if got := r.ejected(); len(got) != len("a b") {
			t.Errorf("ejected %q, want two of four", got)
		}
	})
}

// TestCallerCancels has callers give up on a backend, which says nothing of it.
func TestCallerCancels(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		r := newOutlierRig(t, p, 2, forever+`consecutive5xx: 1, consecutiveGatewayFailure: 1,
			failurePercentageThreshold: 1, failurePercentageMinimumHosts: 1, failurePercentageRequestVolume: 1`)
		slow := r.backends[0]
		slow.SetDelay(long)
		for range 10 {
			before := slow.Calls()
			ctx, cancel := context.WithCancel(within(t, long))
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = r.call(ctx, request{})
			}()
			r.eventually("the call is answered or at the slow one", func() bool {
				select {
				case <-done:
					return true
				default:
					return slow.Calls() > before
				}
			})
			cancel()
			receive(t, "the end of the call", done)
		}
		slow.SetDelay(0)
		if got := r.ejected(); got != "" {
			t.Errorf("ejected %q", got)
		}
		if got := counts(t, r.call, request{}, 20); got["a"] == 0 {
			t.Errorf("the backend gets no calls: %v", got)
		}
		r.backends[0].SetFailing(true)
		r.callUntil("a failure is one", func() bool { return r.ejected() == "a" })
	})
}

// TestConnectFailuresCount has a backend that accepts no connection ejected, though the
// requests that it refused went elsewhere. gRPC connects apart from its calls.
func TestConnectFailuresCount(t *testing.T) {
	r := newOutlierRig(t, protocols[1], 2, forever+noRates+`consecutive5xx: 0, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailure: 1`)
	r.backends[0].Kill()
	r.callUntil("a is ejected", func() bool { return r.ejected() == "a" })
}
