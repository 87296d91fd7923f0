package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// breakerRig is a service "orders" of several backends with breakers.
type breakerRig struct {
	*testing.T
	protocol
	cp       *meshtest.ControlPlane
	mesh     *mesh.Mesh
	backends []*meshtest.Backend // a, b, c...
	call     func(context.Context, request) (string, error)
}

func newBreakerRig(t *testing.T, p protocol, n int, breaker string) *breakerRig {
	r := &breakerRig{T: t, protocol: p, cp: meshtest.NewControlPlane(t)}
	for i := range n {
		r.backends = append(r.backends, p.backend(t, string(rune('a'+i))))
	}
	r.apply(breaker, "")
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

func (r *breakerRig) apply(breaker, route string) {
	r.cp.Apply(fmt.Sprintf("services: {orders: {protocol: %s, "+inTime+", endpoints: [%s], breaker: {%s}}}\nroutes: {orders: [{to: orders%s}]}\n",
		r.name, addresses(r.backends), breaker, route))
}

func (r *breakerRig) eventually(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(long); !holds(); {
		if time.Now().After(deadline) {
			r.Fatalf("not so: %s; breakers: %v", what, r.states())
		}
	}
}

// states are those of the breakers, by the backends' names, in order, and then the
// cluster's.
func (r *breakerRig) states() string {
	states := breakers(r.mesh)
	var list []string
	for _, b := range r.backends {
		list = append(list, states[b.Addr])
	}
	return strings.TrimSpace(strings.Join(append(list, states["orders"]), " "))
}

func (r *breakerRig) callUntil(states string) {
	r.Helper()
	r.eventually(states, func() bool {
		if r.states() == states {
			return true
		}
		_, _ = r.call(within(r.T, long), request{})
		return false
	})
}

// refused checks that calls fail at once, and for the breaker.
func (r *breakerRig) refused(want string) {
	r.Helper()
	_, err := r.call(within(r.T, long), request{})
	if !errors.Is(err, mesh.ErrOverloaded) || !strings.Contains(err.Error(), want) {
		r.Errorf("error %v, want %s", err, want)
	}
	if r.name == "grpc" && status.Code(err) != codes.Unavailable {
		r.Errorf("status %v", status.Code(err))
	}
}

// TestEndpointBreakers opens the breaker of a backend that fails, moves its calls to the
// others without an error, and has it return by a probe (row Z5).
func TestEndpointBreakers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		const breaker = `endpoint: {consecutiveFailures: 3, openTime: 1h}`
		r := newBreakerRig(t, p, 3, breaker)
		a := r.backends[0]
		a.SetFailing(true)
		r.callUntil("open closed closed")
		before := a.Calls()
		r.apply(breaker, ", timeout: 1h") // another table, and the same breakers
		if got := counts(t, r.call, request{}, 50); got["b"] == 0 || got["c"] == 0 {
			t.Errorf("answers: %v", got)
		}
		if n := a.Calls() - before; n > 0 || r.states() != "open closed closed" {
			t.Errorf("%d calls at a, breakers: %s", n, r.states())
		}

		a.SetFailing(false)
		r.apply(`endpoint: {failurePercent: 50%, minimumRequests: 3, openTime: 20ms}`, "")
		eventually(t, r.call, request{}, "a", "b", "c")
		a.SetFailing(true)
		r.callUntil("open closed closed")
		a.SetFailing(false)
		r.callUntil("closed closed closed")
		eventually(t, r.call, request{}, "a", "b", "c")
	})
}

// TestOneProbeAtATime counts the calls at a backend whose breaker is half open.
func TestOneProbeAtATime(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		const breaker = `endpoint: {consecutiveFailures: 3, openTime: 1s}`
		r := newBreakerRig(t, p, 2, breaker)
		a := r.backends[0]
		a.SetFailing(true)
		r.callUntil("open closed")
		before := a.Calls()
		a.SetFailing(false)
		a.SetDelay(time.Hour)
		r.eventually("half-open", func() bool { return r.states() == "half-open closed" })
		ctx, cancel := context.WithCancel(within(t, long))
		var hung, others sync.WaitGroup
		r.eventually("a probe is at a", func() bool { // once the news is with the picker
			hung.Go(func() {
				if got, err := r.call(ctx, request{}); err != nil && ctx.Err() == nil || err == nil && !strings.HasPrefix(got, "b") {
					t.Errorf("answer %q, %v", got, err)
				}
			})
			soon, stop := context.WithTimeout(ctx, 10*time.Millisecond)
			defer stop()
			return a.AwaitCalls(soon, before+1) == nil
		})
		for range 20 {
			others.Go(func() {
				if got, err := r.call(within(t, long), request{}); err != nil || !strings.HasPrefix(got, "b") {
					t.Errorf("while the probe is under way: %q, %v", got, err)
				}
			})
		}
		others.Wait()
		if n := a.Calls() - before; n != 1 {
			t.Errorf("%d calls at the backend that is probed", n)
		}
		cancel()
		hung.Wait()
		if got := r.states(); got != "half-open closed" {
			t.Errorf("after the probe was cancelled: %s", got)
		}
		a.SetDelay(0)
		r.callUntil("closed closed")
	})
}

// TestBreakersRefuse has calls refused at once when there is nothing else: the breaker of
// the only endpoint is open, or the cluster's. No retry is made of that.
func TestBreakersRefuse(t *testing.T) {
	for _, c := range []struct{ name, breaker, open, text string }{
		{"endpoint", `endpoint: {consecutiveFailures: 3, openTime: 1h}`, "open", "the breaker of 127.0.0.1:"},
		{"cluster", `cluster: {failurePercent: 10%, minimumRequests: 3, openTime: 1h}`, "open", `cluster "orders": its breaker is open`},
		{"both", `endpoint: {consecutiveFailures: 3, openTime: 1h}, cluster: {consecutiveFailures: 3, openTime: 1h}`, "open open", `cluster "orders": its breaker is open`},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				r := newBreakerRig(t, p, 1, c.breaker)
				r.apply(c.breaker, `, retry: {attempts: 3, on: [5xx, unavailable, reset, connect-failure], backOff: {baseInterval: 1ms}}`)
				r.backends[0].SetFailing(true)
				r.callUntil(strings.TrimSpace(c.open))
				before := r.backends[0].Calls()
				for range 5 {
					r.refused(c.text)
				}
				if n := r.backends[0].Calls() - before; n != 0 {
					t.Errorf("%d calls reached the backend", n)
				}
				// Another configuration begins anew.
				r.backends[0].SetFailing(false)
				r.apply(strings.ReplaceAll(c.breaker, "1h", "2h"), "")
				r.eventually("calls succeed", func() bool {
					_, err := r.call(within(t, long), request{})
					return err == nil
				})
			})
		})
	}
}

// TestClusterBreaker closes again by a probe.
func TestClusterBreaker(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		r := newBreakerRig(t, p, 2, `cluster: {consecutiveFailures: 4, openTime: 20ms, probes: 3}`)
		for _, b := range r.backends {
			b.SetFailing(true)
		}
		r.eventually("calls are refused", func() bool {
			_, err := r.call(within(t, long), request{})
			return errors.Is(err, mesh.ErrOverloaded)
		})
		for _, b := range r.backends {
			b.SetFailing(false)
		}
		r.eventually("it closes", func() bool {
			_, _ = r.call(within(t, long), request{})
			return strings.TrimSpace(r.states()) == "closed"
		})
		counts(t, r.call, request{}, 10)
	})
}

// TestWhatBreaks has calls end in several ways, of which some are failures.
func TestWhatBreaks(t *testing.T) {
	for _, c := range []struct {
		name   string
		only   string
		act    act
		cancel bool
		breaks bool
	}{
		{name: "unavailable", act: act{fail: codes.Unavailable}, breaks: true},
		{name: "internal", act: act{fail: codes.Internal}, breaks: true, only: "grpc"},
		{name: "unknown", act: act{fail: codes.Unknown}, breaks: true, only: "grpc"},
		{name: "not found", act: act{fail: codes.NotFound}},
		{name: "reset", act: act{reset: true}, breaks: true, only: "http"},
		{name: "deadline", act: act{hang: true}, breaks: true},
		{name: "cancelled", act: act{hang: true}, cancel: true},
	} {
		for _, p := range protocols {
			if c.only != "" && c.only != p.name {
				continue
			}
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := p.scripted(t, "b", func(n int) act { return c.act })
				m := p.retrying(t, "}, breaker: {endpoint: {consecutiveFailures: 2, openTime: 1h}", "", b)
				call := p.client(t, m, "orders")
				for n := range int64(3) {
					ctx, done := within(t, long), func() {}
					switch {
					case c.cancel:
						ctx, done = context.WithCancel(ctx)
						go func() {
							if b.AwaitCalls(ctx, n+1) == nil {
								done()
							}
						}()
					case c.act.hang:
						ctx, done = expires(ctx, b.Backend)
					}
					_, err := call(ctx, request{})
					done()
					if refused := errors.Is(err, mesh.ErrOverloaded); refused != (c.breaks && n == 2) {
						t.Errorf("call %d: %v", n+1, err)
					}
				}
			})
		}
	}
}

// TestBreakerInteractions has breakers open under retries and hedges, as the table in
// package resilience says.
func TestBreakerInteractions(t *testing.T) {
	const breaker = "}, breaker: {endpoint: {consecutiveFailures: 2, openTime: 1h}"
	ever := failFirst(1 << 30)
	eachProtocol(t, func(t *testing.T, p protocol) {
		t.Run("in-backoff", func(t *testing.T) {
			b := p.scripted(t, "b", ever)
			call := p.client(t, p.retrying(t, breaker, "retry: {"+again+"}", b), "orders")
			if _, err := call(within(t, long), request{}); !errors.Is(err, mesh.ErrOverloaded) {
				t.Errorf("the third attempt: %v", err)
			}
			if n := b.Calls(); n != 2 {
				t.Errorf("%d attempts, want the two that open the breaker", n)
			}
		})
		t.Run("hedge", func(t *testing.T) {
			b := p.scripted(t, "b", failFirst(2))
			m := p.retrying(t, strings.Replace(breaker, "1h", "1s", 1), "retry: {attempts: 2, on: [gateway-error, unavailable]}, hedge: {delay: 1ms}", b)
			call := p.client(t, m, "orders")
			until(t, "two calls at the backend", func() bool {
				if b.Calls() < 2 {
					_, _ = call(within(t, long), request{})
				}
				return b.Calls() >= 2
			})
			until(t, "half-open", func() bool { return breakers(m)[b.Addr] == "half-open" })
			b.SetDelay(50 * time.Millisecond) // of the probe, while which there are no hedges
			until(t, "the probe succeeds", func() bool {
				_, err := call(within(t, long), request{})
				if err != nil && !errors.Is(err, mesh.ErrOverloaded) { // the news is not with the picker yet
					t.Fatal(err)
				}
				return err == nil
			})
			if n := b.Calls(); n != 3 {
				t.Errorf("%d calls, want one beside the two that failed", n)
			}
		})
		t.Run("elsewhere", func(t *testing.T) {
			bad, good := p.scripted(t, "bad", ever), p.scripted(t, "good", failFirst(0))
			m := p.retrying(t, breaker, "retry: {attempts: 2, on: [gateway-error, unavailable], backOff: {baseInterval: 1ms}}", bad, good)
			call := p.client(t, m, "orders")
			until(t, "two calls at the bad one", func() bool {
				_, _ = call(within(t, long), request{})
				return bad.Calls() >= 2
			})
			before := good.Calls()
			for range 20 {
				if _, err := call(within(t, long), request{}); err != nil {
					t.Error(err)
				}
			}
			if first := good.Calls() - before; bad.Calls() != 2 || first != 20 {
				t.Errorf("%d calls at the bad one, and %d for 20 at the good one", bad.Calls(), first)
			}
		})
	})
}

// TestCallsFromBeforeABreak has a call fail that began before the breaker opened, when it has
// closed again.
func TestCallsFromBeforeABreak(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		begun, release := make(chan struct{}), make(chan struct{})
		b := p.scripted(t, "b", func(n int) act {
			switch n {
			case 1:
				close(begun)
				<-release
				return act{fail: codes.Unavailable}
			case 2:
				return act{fail: codes.Unavailable}
			}
			return act{}
		})
		m := p.retrying(t, "}, breaker: {endpoint: {consecutiveFailures: 1, openTime: 1ms}", "", b)
		call := p.client(t, m, "orders")
		old := make(chan error, 1)
		go func() {
			_, err := call(within(t, long), request{})
			old <- err
		}()
		receive(t, "the old call", begun)
		until(t, "the breaker has opened and closed", func() bool {
			_, _ = call(within(t, long), request{})
			return b.Calls() >= 3 && breakers(m)[b.Addr] == "closed"
		})
		close(release)
		if err := receive(t, "the end of the old call", old); err == nil || errors.Is(err, mesh.ErrOverloaded) {
			t.Errorf("the old call: %v", err)
		}
		if got := breakers(m)[b.Addr]; got != "closed" {
			t.Errorf("the old call made the breaker %s", got)
		}
	})
}
