package balancer

import (
	"errors"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/security"
)

var (
	grpcView = ViewOptions{GRPC: true}
	httpView = ViewOptions{OnDemand: true}
	eds      = &Config{Name: "c", PanicThreshold: 50}
)

func TestOnlyReadyLinksArePickedForGRPC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, one(at("a:1"), at("b:1"), at("c:1")))
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrConnecting) {
			t.Fatalf("Pick before a connection is there: %v, want ErrConnecting", err)
		}
		if diff := cmp.Diff([]string{"a:1", "b:1", "c:1"}, r.k.connected()); diff != "" {
			t.Errorf("connected (-want +got):\n%s", diff)
		}
		r.report(Connecting, nil, "a:1", "b:1", "c:1")
		r.report(Ready, nil, "a:1", "b:1")
		if diff := cmp.Diff(map[string]int{"a:1": 50, "b:1": 50}, r.picks(100)); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
		if s, err := r.view.State(); s != Ready || err != nil {
			t.Errorf("State = %v, %v, want READY", s, err)
		}

		refused := errors.New("connection refused")
		r.report(TransientFailure, refused, "a:1", "c:1")
		if diff := cmp.Diff(map[string]int{"b:1": 100}, r.picks(100)); diff != "" {
			t.Errorf("picks after a failed (-want +got):\n%s", diff)
		}

		r.report(TransientFailure, refused, "b:1")
		// TransientFailure stays while the links try again (gRFC A62).
		r.report(Idle, nil, "a:1", "b:1", "c:1")
		r.report(Connecting, nil, "a:1", "b:1", "c:1")
		_, err := r.view.Pick(PickInfo{})
		var unreachable *UnreachableError
		if !errors.As(err, &unreachable) || !errors.Is(err, refused) {
			t.Errorf("Pick with all links failed: %v, want an UnreachableError that wraps %q", err, refused)
		}
		if s, _ := r.view.State(); s != TransientFailure {
			t.Errorf("State = %v, want TRANSIENT_FAILURE", s)
		}
		if got := r.k.conn(t, "a:1").connects; got != 2 {
			t.Errorf("a was told to connect %d times, want again after it was idle", got)
		}
		r.report(Ready, nil, "c:1")
		r.picks(1)
	})
}

func TestEndpointsAndLinksOutliveUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, one(at("a:1"), at("b:1")))
		r.report(Ready, nil, "a:1", "b:1")
		before := r.cluster.Endpoints()
		a, _ := r.view.Pick(PickInfo{Exclude: before[1:]})

		changed := EndpointConfig{Address: "a:1", Hostname: "name", Weight: 3, Labels: map[string]Value{"v": Text("2")}}
		r.assign(one(at("c:1"), changed))
		after := r.cluster.Endpoints()
		if after[1] != before[0] {
			t.Error("the endpoint of an address that stayed is another one")
		}
		if got := after[1]; got.Hostname() != "name" || got.Weight() != 3 || got.Labels()["v"] != Text("2") || got.Active() != 1 {
			t.Errorf("after the update: hostname %q weight %d labels %v active %d", got.Hostname(), got.Weight(), got.Labels(), got.Active())
		}
		l, err := r.view.Pick(PickInfo{})
		if err != nil || l != a {
			t.Errorf("Pick = %v, %v, want the link from before", l, err)
		}
		if got := r.k.made; got != 3 {
			t.Errorf("%d connections were made, want 3", got)
		}
		if got := len(r.cluster.index); got != 2 {
			t.Errorf("the cluster keeps %d endpoints of 2", got)
		}
		l.Done(Outcome{})
		a.Done(Outcome{})
		if got := after[1].Active(); got != 0 {
			t.Errorf("Active = %d after all calls are done", got)
		}
	})
}

func TestRemovedEndpointsLeaveThePickerBeforeTheirConnectionsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, one(at("a:1"), at("b:1")))
		a := r.cluster.Endpoints()[0]
		inFlight, err := r.view.Pick(PickInfo{Exclude: r.cluster.Endpoints()[1:]})
		if err != nil {
			t.Fatal(err)
		}
		closing := &closeWatch{Conn: inFlight.conn, do: func() {
			for range 100 {
				l, err := r.view.Pick(PickInfo{})
				if err != nil || l.Endpoint() == a {
					t.Errorf("Pick while a closes = %v, %v", l.Endpoint().Address(), err)
				}
				l.Done(Outcome{})
			}
		}}
		inFlight.conn = closing
		r.assign(one(at("b:1")))
		if !closing.done {
			t.Fatal("the connection to a was not closed")
		}
		inFlight.Done(Outcome{})
		if got := a.Active(); got != 0 {
			t.Errorf("Active = %d after the last call to a removed endpoint", got)
		}
	})
}

type closeWatch struct {
	Conn
	do   func()
	done bool
}

func (c *closeWatch) Close() { c.do(); c.done = true; c.Conn.Close() }

func TestAnotherSecurityMakesAnotherEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tls := new(security.ClientTLS)
		labels := map[string]string{"mode": "tls"}
		secured := EndpointConfig{Address: "a:1", SocketLabels: labels}
		sockets := []Socket{{Name: "tls", Match: labels, TLS: tls}, {Name: "plain"}}

		r := newRig(t, httpView, &Config{Sockets: sockets}, one(secured, at("b:1")))
		before := r.cluster.Endpoints()
		if got := before[0].Socket(); got.TLS != tls {
			t.Errorf("Socket of a labelled endpoint = %q", got.Name)
		}
		if got := before[1].Socket(); got.Name != "plain" || got.TLS != nil {
			t.Errorf("Socket of another = %q", got.Name)
		}

		same := slices.Clone(sockets)
		same[0].Name = "renamed"
		r.cluster.Configure(&Config{Sockets: same})
		if got := r.cluster.Endpoints(); !slices.Equal(got, before) {
			t.Error("endpoints changed though their security did not")
		}

		refused := errors.New("certificate provider is not known")
		r.cluster.Configure(&Config{Sockets: []Socket{{Name: "tls", Match: labels, Err: refused}, {Name: "plain"}}})
		synctest.Wait()
		after := r.cluster.Endpoints()
		if after[0] == before[0] || after[1] != before[1] {
			t.Error("want another endpoint where the security changed, and only there")
		}
		if got := after[0].Socket().Err; !errors.Is(got, refused) {
			t.Errorf("Socket().Err = %v, want %v", got, refused)
		}
		if got := r.k.made; got != 3 {
			t.Errorf("%d connections were made, want 3", got)
		}
		r.cluster.Configure(&Config{Sockets: []Socket{{Name: "tls", Match: labels, Err: refused}, {Name: "plain"}}, Protocol: ProtocolHTTP2})
		if now := r.cluster.Endpoints(); now[0] == after[0] || now[1] == after[1] {
			t.Error("want other endpoints where the protocol changed")
		}
		if unmatched := socketFor(sockets[:1], nil); unmatched.TLS != nil || unmatched.Err != nil {
			t.Errorf("socket of an endpoint that nothing matches = %+v, want plaintext", unmatched)
		}
	})
}

func TestFailedEndpointsAreLeftAloneForAWhileOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, one(at("a:1"), at("b:1")))
		if got := r.picks(100); got["a:1"] != 50 || got["b:1"] != 50 {
			t.Errorf("picks of idle links = %v, want both alike", got)
		}
		refused := errors.New("connection refused")
		// Calls that fail together are one failure.
		r.report(TransientFailure, refused, "a:1", "a:1", "a:1")
		for _, want := range []time.Duration{1e9, 1.6e9, 2.56e9} { // ±20 %
			if got := r.picks(10); got["a:1"] != 0 {
				t.Errorf("picks right after the failure = %v", got)
			}
			time.Sleep(want * 7 / 10)
			synctest.Wait()
			if got := r.picks(10); got["a:1"] != 0 {
				t.Errorf("picks %v after the failure = %v, want none of a", want*7/10, got)
			}
			time.Sleep(want * 6 / 10)
			synctest.Wait()
			if got := r.picks(10); got["a:1"] == 0 {
				t.Errorf("a is not picked %v after the failure", want*13/10)
			}
			r.report(TransientFailure, refused, "a:1")
		}
		r.report(Ready, nil, "a:1")
		if got := r.picks(10); got["a:1"] != 5 {
			t.Errorf("picks after a came back = %v", got)
		}
		r.report(TransientFailure, refused, "a:1")
		time.Sleep(1300 * time.Millisecond) // the backoff began anew
		synctest.Wait()
		if got := r.picks(10); got["a:1"] == 0 {
			t.Error("the backoff did not begin anew after a success")
		}
		r.report(TransientFailure, refused, "a:1")
		time.Sleep(time.Hour)
		r.report(TransientFailure, refused, "a:1")
		time.Sleep(1300 * time.Millisecond)
		synctest.Wait()
		if got := r.picks(10); got["a:1"] == 0 {
			t.Error("the backoff did not begin anew after a long time")
		}
	})
}

func TestAllFailedOnDemand(t *testing.T) {
	for _, test := range []struct {
		name      string
		threshold float64
		picked    bool
	}{{"panic", 50, true}, {"no panic", 0, false}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, httpView, &Config{PanicThreshold: test.threshold}, one(at("a:1"), at("b:1")))
				refused := errors.New("connection refused")
				r.report(TransientFailure, refused, "a:1", "b:1")
				if test.picked {
					if got := r.picks(100); len(got) != 2 { // by lot
						t.Errorf("picks = %v, want all", got)
					}
					return
				}
				_, err := r.view.Pick(PickInfo{})
				if want := new(*UnreachableError); !errors.As(err, want) || !errors.Is(err, refused) {
					t.Errorf("Pick: %v, want an UnreachableError that wraps %q", err, refused)
				}
			})
		})
	}
}

// A call that finds an endpoint dead goes on at once to those it has not tried,
// whatever their priority, though the picker may not have been rebuilt.
func TestExclude(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, &Assignment{Localities: []LocalityEndpoints{
			{Priority: 1, Endpoints: []EndpointConfig{at("backup:1"), {Address: "sick:1", Health: Unhealthy}}},
			{Priority: 0, Endpoints: []EndpointConfig{at("a:1"), {Address: "slow:1", Health: Degraded}}},
		}})
		var tried []*Endpoint
		var order []string
		for {
			l, err := r.view.Pick(PickInfo{Exclude: tried})
			if err != nil {
				if !errors.Is(err, ErrExcluded) {
					t.Errorf("Pick with all excluded: %v, want ErrExcluded", err)
				}
				break
			}
			l.Done(Outcome{})
			tried = append(tried, l.Endpoint())
			order = append(order, l.Endpoint().Address())
		}
		// Half of priority 0 is healthy: it takes 70 %, priority 1 the rest.
		slices.Sort(order[:2])
		if diff := cmp.Diff([]string{"a:1", "backup:1", "slow:1"}, order); diff != "" {
			t.Errorf("order of picks (-want +got):\n%s", diff)
		}
	})
}

func TestPickPassesOverALinkThatFailedSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var calls atomic.Int32
		o := httpView
		o.Changed = func() {
			if calls.Add(1) == 1 {
				<-hold // no other picker can be made meanwhile
			}
		}
		r := newRig(t, o, eds, one(addresses("a", 3)...))
		r.assign(one(addresses("a", 4)...))
		r.k.conn(t, "a1:1").report(TransientFailure, errors.New("reset"))
		if got := r.picks(300); got["a1:1"] != 0 || len(got) != 3 {
			t.Errorf("picks = %v, want none of the failed link", got)
		}
		close(hold)
	})
}

// However many connections report while a picker is made, one more is made for all.
func TestReportsAreTakenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		hold := make(chan struct{})
		var calls atomic.Int32
		o := grpcView
		o.Changed = func() {
			if calls.Add(1) == 1 {
				<-hold
			}
		}
		r := newRig(t, o, eds, one(addresses("a", n)...))
		for i, e := range r.cluster.Endpoints() {
			r.k.conn(t, e.Address()).report(Ready, nil)
			if i == 0 {
				synctest.Wait()
			}
		}
		if got := calls.Load(); got != 1 {
			t.Fatalf("Changed was called %d times while it ran", got)
		}
		close(hold)
		time.Sleep(restMax)
		synctest.Wait()
		if got := calls.Load(); got != 2 {
			t.Errorf("Changed was called %d times, want 2", got)
		}
		if got := len(r.picks(n)); got != n {
			t.Errorf("%d links are picked, want %d", got, n)
		}
	})
}

func TestFailAndSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settled := func(c *Cluster) bool {
			select {
			case <-c.Settled():
				return true
			default:
				return false
			}
		}
		r := newRig(t, httpView, nil, nil)
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrConnecting) {
			t.Errorf("Pick before anything is known: %v", err)
		}
		r.cluster.Configure(eds)
		if settled(r.cluster) {
			t.Error("settled without endpoints")
		}
		r.assign(one(at("a:1")))
		if !settled(r.cluster) {
			t.Error("not settled with configuration and endpoints")
		}
		r.picks(1)

		gone := errors.New("resource does not exist")
		r.cluster.Fail(gone)
		synctest.Wait()
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, gone) {
			t.Errorf("Pick after Fail: %v, want %v", err, gone)
		}
		if s, err := r.view.State(); s != TransientFailure || !errors.Is(err, gone) {
			t.Errorf("State after Fail = %v, %v", s, err)
		}
		if got := r.k.closed(); len(got) != 1 {
			t.Errorf("closed connections = %v, want a's", got)
		}
		r.cluster.Configure(eds)
		synctest.Wait()
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, gone) {
			t.Errorf("Pick with endpoints still missing: %v, want %v", err, gone)
		}
		r.assign(one(at("a:1")))
		r.picks(1)

		r.assign(new(Assignment))
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrNoEndpoints) {
			t.Errorf("Pick of nothing: %v, want ErrNoEndpoints", err)
		}

		failed := NewCluster("failed", ClusterOptions{})
		failed.Fail(gone)
		if !settled(failed) {
			t.Error("not settled by Fail")
		}
	})
}

func TestStaticEndpointsComeWithTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, &Config{Discovery: DiscoverStatic, Static: one(at("a:1"), at("b:1"))}, one(at("eds:1")))
		<-r.cluster.Settled()
		if got := r.picks(10); got["a:1"] != 5 || got["b:1"] != 5 {
			t.Errorf("picks = %v", got)
		}
		// To EDS, which has not answered yet: what there is stays until it has.
		r.cluster.Configure(eds)
		synctest.Wait()
		if got := r.picks(10); got["a:1"] != 5 || got["b:1"] != 5 {
			t.Errorf("picks while EDS has said nothing = %v", got)
		}
		r.assign(one(at("c:1")))
		if got := r.picks(10); got["c:1"] != 10 {
			t.Errorf("picks = %v", got)
		}
	})
}

func TestDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := one(at("a:1"))
		a.Drops = []Drop{{"lb", 200_000}, {"none", 0}, {"throttle", 500_000}}
		r := newRig(t, httpView, eds, a)
		const n = 100_000
		counts := map[string]int{}
		for range n {
			l, err := r.view.Pick(PickInfo{})
			var dropped *DropError
			switch {
			case err == nil:
				l.Done(Outcome{})
			case errors.As(err, &dropped) && errors.Is(err, ErrDropped):
				counts[dropped.Category]++
			default:
				t.Fatal(err)
			}
		}
		// Each category takes its share of what is left; six standard deviations.
		for category, share := range map[string]float64{"lb": 0.2, "throttle": 0.4} {
			if off := math.Abs(float64(counts[category]) - n*share); off > 6*math.Sqrt(n*share*(1-share)) {
				t.Errorf("%q dropped %d of %d, want about %.0f", category, counts[category], n, n*share)
			}
		}
		if len(counts) != 2 {
			t.Errorf("dropped by %v", slices.Collect(maps.Keys(counts)))
		}

		a = one(at("a:1"), at("b:1"))
		a.Drops = []Drop{{"all", 2_000_000}}
		r.assign(a)
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrDropped) {
			t.Errorf("Pick: %v, want ErrDropped", err)
		}
		l, err := r.view.Pick(PickInfo{Exclude: r.cluster.Endpoints()[:1]})
		if err != nil {
			t.Fatalf("a further attempt: %v, want it not dropped", err)
		}
		l.Done(Outcome{})
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, one(at("a:1"), at("b:1")))
		r.report(TransientFailure, errors.New("refused"), "a:1") // starts a timer
		r.view.Close()
		r.view.Close()
		if got := r.k.closed(); len(got) != 2 {
			t.Errorf("closed connections = %v, want both", got)
		}
		if got := len(r.cluster.views); got != 0 {
			t.Errorf("the cluster keeps %d closed views", got)
		}
		r.picks(10)
		r.assign(one(at("c:1")))
		if got := r.picks(10); got["c:1"] != 0 {
			t.Errorf("a closed view follows updates: %v", got)
		}
		r.k.conn(t, "b:1").report(TransientFailure, nil)

		k := new(fakeConnector)
		v := r.cluster.View(k, httpView)
		r.cluster.Close()
		if got := k.closed(); len(got) != 1 {
			t.Errorf("connections closed with the cluster = %v", got)
		}
		l, err := v.Pick(PickInfo{})
		if err != nil {
			t.Fatal(err)
		}
		l.Done(Outcome{})
		r.cluster.Configure(eds)
		r.cluster.Assign(one())
		r.cluster.Fail(errors.New("late"))
		v = r.cluster.View(k, httpView)
		if _, err := v.Pick(PickInfo{}); err != nil {
			t.Errorf("Pick of a view of a closed cluster: %v", err)
		}
		r.cluster.Close()
	})
}

// Close may be called while a rebuild runs, even by what the rebuild calls.
func TestCloseFromChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v *View
		o := httpView
		o.Changed = func() { v.Close() }
		r := newRig(t, o, eds, one(at("a:1")))
		v = r.view
		r.assign(one(at("b:1")))
		if diff := cmp.Diff([]string{"a:1", "b:1"}, r.k.closed()); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
	})
}

func TestConnectIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, one(at("a:1")))
		r.assign(one(at("a:1"), at("b:1")))
		if got := r.k.conn(t, "a:1").connects; got != 1 {
			t.Errorf("told to connect %d times before it said anything", got)
		}
	})
}

// A picker that is in use keeps its links while the view makes and drops others.
func TestPickersAreImmutable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, eds, two(addresses("a", 1), addresses("b", 1)))
		before := r.view.picker.Load()
		links := slices.Clone(before.links)
		r.report(TransientFailure, errRefused, "a0:1")
		r.k.conn(t, "b0:1") // was made
		if !slices.Equal(links, before.links) {
			t.Error("the links of an earlier picker changed")
		}
	})
}

// After a round the view of many endpoints rests, so that a stream of reports cannot
// keep a core busy.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Time
		o := grpcView
		o.Changed = func() { calls = append(calls, time.Now()) }
		r := newRig(t, o, eds, one(addresses("a", 5000)...))
		synctest.Wait()
		calls = nil
		for range 200 {
			r.k.conn(t, "a0:1").report(Ready, nil)
			time.Sleep(50 * time.Microsecond)
			r.k.conn(t, "a0:1").report(TransientFailure, errRefused)
			time.Sleep(50 * time.Microsecond)
		}
		synctest.Wait()
		// 20 ms of reports, with rests of 5 ms between two rounds.
		if got := len(calls); got < 4 || got > 6 {
			t.Errorf("%d rounds in 20 ms, want about 5", got)
		}
		if got := calls[1].Sub(calls[0]); got != 5*time.Millisecond {
			t.Errorf("the second round came %v after the first, want 5ms", got)
		}
		r.view.Close() // calls the rest off
	})
}

func TestReportsAfterCloseAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		o := httpView
		o.Changed = func() { calls++ }
		r := newRig(t, o, eds, one(at("a:1"), at("b:1")))
		r.assign(one(at("b:1")))
		before := calls
		r.report(TransientFailure, errRefused, "a:1")
		if calls != before {
			t.Error("a closed connection's report made a picker")
		}
	})
}

func TestExcludeKeepsTheOthersEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, eds, one(at("a:1"), at("b:1"), at("c:1")))
		counts := map[string]int{}
		for range 100 {
			l, err := r.view.Pick(PickInfo{Exclude: r.cluster.Endpoints()[:1]})
			if err != nil {
				t.Fatal(err)
			}
			counts[l.Endpoint().Address()]++
			l.Done(Outcome{})
		}
		if diff := cmp.Diff(map[string]int{"b:1": 50, "c:1": 50}, counts); diff != "" {
			t.Errorf("picks (-want +got):\n%s", diff)
		}
		seen := map[*Link]bool{}
		for range 100 {
			seen[r.view.picker.Load().elsewhere(r.view, nil)] = true
		}
		if len(seen) != 3 {
			t.Errorf("%d of 3 links stand in for another", len(seen))
		}
	})
}

// A call that will ask again is not dropped meanwhile.
func TestWaitingCallsAreNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := one(at("a:1"))
		a.Drops = []Drop{{"all", 1_000_000}}
		r := newRig(t, grpcView, eds, a)
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrConnecting) {
			t.Errorf("Pick while connecting: %v, want ErrConnecting", err)
		}
		r.report(TransientFailure, errRefused, "a:1")
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrDropped) {
			t.Errorf("Pick while unreachable: %v, want ErrDropped", err)
		}
	})
}

func TestSocketSecures(t *testing.T) {
	a, _ := security.NewClientTLS(security.ClientTLSConfig{SystemRoots: true})
	b, _ := security.NewClientTLS(security.ClientTLSConfig{SystemRoots: true})
	broken, otherwise := errors.New("broken"), errors.New("broken otherwise")
	for _, test := range []struct {
		before, after Socket
		want          bool
	}{
		{Socket{}, Socket{Name: "other"}, true},
		{Socket{TLS: a}, Socket{TLS: a}, true},
		{Socket{TLS: a}, Socket{TLS: b}, false},
		{Socket{TLS: a}, Socket{}, false},
		{Socket{}, Socket{TLS: a}, false},
		{Socket{}, Socket{Err: broken}, false},
		{Socket{Err: broken}, Socket{}, false},
		{Socket{Err: broken}, Socket{Err: errors.New("broken")}, true},
		{Socket{Err: broken}, Socket{Err: otherwise}, false},
	} {
		if got := test.before.secures(&test.after); got != test.want {
			t.Errorf("%+v secures %+v: %v, want %v", test.before, test.after, got, test.want)
		}
	}
}
