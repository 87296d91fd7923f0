package balancer

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// laneConnector keeps every connection that it made.
type laneConnector struct {
	mu    sync.Mutex
	conns []*laneConn
}

type laneConn struct {
	k                  *laneConnector
	report             func(State, error)
	connecting, closed bool // guarded by k.mu
}

func (k *laneConnector) NewConn(_ *Endpoint, report func(State, error)) Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &laneConn{k: k, report: report}
	k.conns = append(k.conns, c)
	return c
}

func (c *laneConn) Connect() {
	c.k.mu.Lock()
	c.connecting = true
	c.k.mu.Unlock()
	c.report(Connecting, nil)
}

func (c *laneConn) Close() {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	c.closed = true
}

// open is how many are not closed.
func (k *laneConnector) open() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		if !c.closed {
			n++
		}
	}
	return n
}

func (k *laneConnector) newest() *laneConn {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.conns[len(k.conns)-1]
}

// newLanes is a view that connects ahead of calls, over one endpoint with a connection.
func newLanes(t testing.TB, c Connection) (*Cluster, *View, *laneConnector) {
	k := &laneConnector{}
	cluster := NewCluster("c", ClusterOptions{Logger: quiet})
	t.Cleanup(cluster.Close)
	cluster.Configure(&Config{Connection: c})
	cluster.Assign(one(at("a:1")))
	v := cluster.View(k, ViewOptions{GRPC: true})
	k.newest().report(Ready, nil)
	return cluster, v, k
}

func pick(t *testing.T, ctx context.Context, v *View) (*Link, error) {
	t.Helper()
	return v.Pick(PickInfo{Context: ctx})
}

func mustPick(t *testing.T, v *View) *Link {
	t.Helper()
	l, err := pick(t, t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// One attempt is under way at a time, its backoff is heeded, and a call that waits has
// a stream that becomes free meanwhile.
func TestPoolOpensOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v, k := newLanes(t, Connection{MaxPerEndpoint: 3, MaxStreams: 2})
		synctest.Wait()
		first, second := mustPick(t, v), mustPick(t, v)
		if first.Conn() != second.Conn() {
			t.Error("a further connection before the first was full")
		}
		if _, err := pick(t, nil, v); !errors.Is(err, ErrConnecting) {
			t.Errorf("without a context: %v", err)
		}
		if n := k.open(); n != 1 {
			t.Fatalf("%d connections for a pick that does not wait", n)
		}
		picked := make(chan *Link, 2)
		for range 2 {
			go func() { picked <- mustPick(t, v) }()
		}
		synctest.Wait()
		if n := k.open(); n != 2 {
			t.Fatalf("%d connections, want 2", n)
		}
		attempt := k.newest()
		attempt.report(TransientFailure, errors.New("refused"))
		synctest.Wait()
		if s, _ := v.State(); s != Ready || len(picked) > 0 {
			t.Errorf("%v with %d picked after a further connection failed", s, len(picked))
		}
		first.Done(Outcome{})
		if l := <-picked; l.Conn() != second.Conn() {
			t.Error("a stream that was free did not go to a call that waited")
		}
		k.mu.Lock()
		attempt.connecting = false
		k.mu.Unlock()
		attempt.report(Idle, nil) // its backoff has ended, and a call still waits
		synctest.Wait()
		k.mu.Lock()
		again := attempt.connecting
		k.mu.Unlock()
		if !again {
			t.Fatal("no further attempt")
		}
		attempt.report(Ready, nil)
		if l := <-picked; l.Conn() != Conn(attempt) {
			t.Error("the further connection did not go to the call that waited")
		}
	})
}

// Calls that wait on an endpoint without a connection are picked for again.
func TestPoolLosesAllConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v, k := newLanes(t, Connection{MaxPerEndpoint: 2, MaxStreams: 1})
		synctest.Wait()
		mustPick(t, v)
		var err error
		go func() { _, err = pick(t, t.Context(), v) }()
		synctest.Wait()
		k.conns[0].report(Idle, nil)
		synctest.Wait()
		if !errors.Is(err, ErrConnecting) {
			t.Errorf("the call that waited: %v", err)
		}
		if s, _ := v.State(); s != Connecting {
			t.Errorf("the view is %v", s)
		}
		k.newest().report(Ready, nil)
		synctest.Wait()
		mustPick(t, v)
	})
}

// A connection that is too old stays until there is another, and its calls go on.
func TestPoolReplacesOldConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v, k := newLanes(t, Connection{MaxDuration: time.Minute})
		synctest.Wait()
		l := mustPick(t, v)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := k.open(); n != 2 {
			t.Fatalf("%d connections, want 2", n)
		}
		if again := mustPick(t, v); again.Conn() != l.Conn() {
			t.Error("a call does not go to the connection that there is")
		} else {
			again.Done(Outcome{})
		}
		k.newest().report(Ready, nil)
		synctest.Wait()
		if next := mustPick(t, v); next.Conn() == l.Conn() {
			t.Error("a call goes to the old connection")
		} else {
			next.Done(Outcome{})
		}
		if n := k.open(); n != 2 {
			t.Fatalf("%d connections while a call is on the old one, want 2", n)
		}
		l.Done(Outcome{})
		if n := k.open(); n != 1 {
			t.Fatalf("%d connections, want 1", n)
		}
	})
}

// A limit that changes changes no connection that there is.
func TestPoolTakesOverLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, v, k := newLanes(t, Connection{MaxPerEndpoint: 2, MaxStreams: 1})
		synctest.Wait()
		mustPick(t, v)
		go func() { mustPick(t, v) }()
		synctest.Wait()
		k.newest().report(Ready, nil)
		synctest.Wait()
		go func() { mustPick(t, v) }()
		synctest.Wait()
		if n := k.open(); n != 2 {
			t.Fatalf("%d connections, want 2", n)
		}
		c.Configure(&Config{Connection: Connection{MaxPerEndpoint: 2, MaxStreams: 2}})
		synctest.Wait()
		mustPick(t, v)
		if n := k.open(); n != 2 {
			t.Fatalf("%d connections, want 2", n)
		}
	})
}

func TestPoolPicksAllocateNothing(t *testing.T) {
	_, v, _ := newLanes(t, Connection{MaxPerEndpoint: 4, MaxStreams: 100})
	awaitReady(t, v)
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		l, err := v.Pick(PickInfo{Context: ctx})
		if err != nil {
			t.Fatal(err)
		}
		l.Done(Outcome{})
	}); n != 0 {
		t.Errorf("a pick among connections allocates %v", n)
	}
}

func awaitReady(t testing.TB, v *View) {
	t.Helper()
	for s, _ := v.State(); s != Ready; s, _ = v.State() {
		runtime.Gosched()
	}
}

// TestPoolRace has calls, losses and changes of the limits at the same time. No stream
// is counted twice or lost, and no connection carries more calls than it may.
func TestPoolRace(t *testing.T) {
	for _, onDemand := range []bool{false, true} {
		k := &raceConnector{}
		cluster := NewCluster("c", ClusterOptions{Logger: quiet})
		config := Config{Protocol: ProtocolHTTP2, Connection: Connection{MaxPerEndpoint: 3, MaxStreams: 4, MaxRequests: 50}}
		cluster.Configure(&config)
		cluster.Assign(one(at("a:1")))
		v := cluster.View(k, ViewOptions{GRPC: !onDemand, OnDemand: onDemand})
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				for calls := 0; calls < 100; {
					l, err := v.Pick(PickInfo{Context: t.Context()})
					if err != nil {
						if !errors.Is(err, ErrConnecting) {
							t.Error(err)
							return
						}
						runtime.Gosched()
						continue
					}
					l.Conn().(*raceConn).call(t, l.lane)
					l.Done(Outcome{})
					calls++
				}
			})
		}
		callers.Wait()
		e := cluster.Endpoints()[0]
		if n := e.Active(); n != 0 {
			t.Errorf("%d calls are in flight when all have ended", n)
		}
		p := v.byEndpoint[e].pool
		for _, l := range *p.open.Load() {
			if n := l.streams.Load(); n != 0 {
				t.Errorf("%d streams are in use when all calls have ended", n)
			}
		}
		cluster.Close()
	}
}

// raceConnector connects at once and loses some connections.
type raceConnector struct{}

type raceConn struct {
	report func(State, error)
	mu     sync.Mutex
	calls  int
}

func (*raceConnector) NewConn(_ *Endpoint, report func(State, error)) Conn {
	return &raceConn{report: report}
}

func (c *raceConn) Connect() { go c.report(Ready, nil) }
func (c *raceConn) Close()   {}

func (c *raceConn) call(t *testing.T, l *lane) {
	c.mu.Lock()
	c.calls++
	calls := c.calls
	c.mu.Unlock()
	if n := l.streams.Load(); n > 4 || calls > 50 {
		t.Errorf("%d streams are in use and %d calls made, of 4 and 50", n, calls)
	}
	if calls == 33 {
		c.report(Idle, nil)
	}
}
