package balancer

import (
	"testing"
	"testing/synctest"
)

// midRound is a connector whose connections to a0 and a1 fail while the view makes
// a1's link: between dividing the load and composing the picker.
type midRound struct{ *fakeConnector }

func (k midRound) NewConn(e *Endpoint, report func(State, error)) Conn {
	c := k.fakeConnector.NewConn(e, report)
	if e.Address() == "a1:1" {
		k.conns["a0:1"].report(TransientFailure, errRefused)
		report(TransientFailure, errRefused)
	}
	return c
}

// TestFailureAmidRebuild has the last links of a priority fail while a picker is
// made that does not yet want the next one. Calls are to wait for that, not to fail.
func TestFailureAmidRebuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, cluster: NewCluster("c", ClusterOptions{Logger: quiet}), k: &fakeConnector{}}
		t.Cleanup(r.cluster.Close)
		r.cluster.Configure(eds)
		r.cluster.Assign(two(addresses("a", 1), addresses("b", 1)))
		options := grpcView
		options.Changed = func() {
			if state, err := r.view.State(); state == TransientFailure {
				t.Errorf("a picker that fails calls: %v", err)
			}
		}
		r.view = r.cluster.View(midRound{r.k}, options)
		r.report(Ready, nil, "a0:1")
		r.assign(two(addresses("a", 2), addresses("b", 1)))
		r.report(Ready, nil, "b0:1")
		if got := r.picks(10); got["b0:1"] != 10 {
			t.Errorf("picks = %v", got)
		}
	})
}
