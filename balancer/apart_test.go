package balancer

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pickApart picks for a call that has tried an endpoint of priority 0.
func (r *rig) pickApart() (picked string, exhausted bool, err error) {
	r.Helper()
	a := Apart{Attempted: []*Endpoint{r.k.conn(r, "a0:1").endpoint}}
	l, err := r.view.PickApart(PickInfo{Again: true}, &a)
	if err != nil {
		return "", a.Exhausted, err
	}
	defer l.Done(Outcome{})
	return l.Endpoint().Address(), a.Exhausted, nil
}

// TestApart divides further attempts among the priorities that are left by what these have
// available, as if there were no other: 35 % and all, so that one in three goes to the first.
func TestApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := addresses("b", 4)
		for i := range second[1:] {
			second[1+i].Health = Unhealthy
		}
		assignment := two(addresses("a", 2), second)
		assignment.Localities = append(assignment.Localities, LocalityEndpoints{Priority: 2, Weight: 1, Endpoints: addresses("c", 1)})
		r := newRig(t, httpView, eds, assignment)
		const n = 4000
		got := map[string]int{}
		for range n {
			picked, exhausted, err := r.pickApart()
			if exhausted || err != nil {
				t.Fatal(exhausted, err)
			}
			got[picked]++
		}
		if b := got["b0:1"]; len(got) != 2 || b < n*30/100 || b > n*40/100 {
			t.Errorf("picks %v, want 35 %% at b0:1 and the others at c0:1", got)
		}
	})
}

// TestApartExhausted has attempts heed all priorities where there is no other.
func TestApartExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, two(addresses("a", 1), nil))
		if picked, exhausted, err := r.pickApart(); picked != "a0:1" || !exhausted || err != nil {
			t.Errorf("%q, exhausted %v, %v", picked, exhausted, err)
		}
	})
}

// TestApartConnects has the first attempt that asks for another priority wait for its
// connections, which are kept as long as others ask.
func TestApartConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, two(addresses("a", 1), addresses("b", 2)))
		r.report(Ready, nil, "a0:1")
		if _, _, err := r.pickApart(); !errors.Is(err, ErrConnecting) {
			t.Errorf("%v; want it to wait", err)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"a0:1", "b0:1", "b1:1"}, r.k.connected()); diff != "" {
			t.Errorf("connected (-want +got):\n%s", diff)
		}
		r.report(TransientFailure, errRefused, "b0:1")
		if _, _, err := r.pickApart(); !errors.Is(err, ErrConnecting) {
			t.Errorf("%v; want it to wait for the other", err)
		}
		r.report(TransientFailure, errRefused, "b1:1")
		if picked, exhausted, err := r.pickApart(); picked != "a0:1" || !exhausted || err != nil {
			t.Errorf("%q, exhausted %v, %v; want the first priority, as there is no other", picked, exhausted, err)
		}
		r.report(Ready, nil, "b1:1")
		for range 2 {
			if picked, _, err := r.pickApart(); picked != "b1:1" || err != nil {
				t.Errorf("%q, %v; want the one that is connected", picked, err)
			}
			time.Sleep(unusedTimeout - time.Second)
			synctest.Wait()
		}
		if got := r.k.closed(); len(got) != 0 {
			t.Errorf("closed while attempts ask for them: %v", got)
		}
		time.Sleep(3 * unusedTimeout)
		synctest.Wait()
		if diff := cmp.Diff([]string{"b0:1", "b1:1"}, r.k.closed()); diff != "" {
			t.Errorf("closed when none asked any more (-want +got):\n%s", diff)
		}
	})
}

// TestApartAsItConnects has the connection of another priority come and go while attempts
// pick from it. They wait or go there, and never to the priority that they leave.
func TestApartAsItConnects(t *testing.T) {
	const picks = 20_000
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, two(addresses("a", 1), addresses("b", 1)))
		r.report(Ready, nil, "a0:1")
		if _, _, err := r.pickApart(); !errors.Is(err, ErrConnecting) {
			t.Fatalf("%v; want it to wait", err)
		}
		synctest.Wait()
		var over atomic.Bool
		defer over.Store(true)
		b := r.k.conn(r, "b0:1")
		go func() {
			for !over.Load() {
				b.report(Connecting, nil)
				b.report(Ready, nil)
			}
		}()
		for range picks {
			picked, exhausted, err := r.pickApart()
			if err == nil && picked != "b0:1" || err != nil && !errors.Is(err, ErrConnecting) || exhausted {
				t.Fatalf("%q, exhausted %v, %v; want the one that connects", picked, exhausted, err)
			}
		}
	})
}
