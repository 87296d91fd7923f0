package balancer

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// filled is a view with as many connections as there may be, of a stream each, and the
// links of the calls that fill them.
func filled(t *testing.T, c Connection) (*View, *laneConnector, []*Link) {
	t.Helper()
	c.MaxStreams = 1
	_, v, k := newLanes(t, c)
	synctest.Wait()
	links := []*Link{mustPick(t, v)}
	for len(links) < int(c.MaxPerEndpoint) {
		picked := make(chan *Link, 1)
		go func() { picked <- mustPick(t, v) }()
		synctest.Wait()
		k.newest().report(Ready, nil)
		links = append(links, <-picked)
	}
	if n := k.open(); n != int(c.MaxPerEndpoint) {
		t.Fatalf("%d connections, want %d", n, c.MaxPerEndpoint)
	}
	return v, k, links
}

// Connections beyond the first close when they had no call for the idle timeout, a minute
// where policy gives none, and not before.
func TestPoolShrinks(t *testing.T) {
	for _, c := range []struct{ idle, keeps, closes time.Duration }{
		{10 * time.Second, 9 * time.Second, 20 * time.Second},
		{0, 59 * time.Second, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, k, links := filled(t, Connection{MaxPerEndpoint: 3, IdleTimeout: c.idle})
			first := links[0].Conn()
			for _, l := range links {
				l.Done(Outcome{})
			}
			time.Sleep(c.keeps)
			synctest.Wait()
			if n := k.open(); n != 3 {
				t.Errorf("idle timeout %v: %d connections after %v, want 3", c.idle, n, c.keeps)
			}
			time.Sleep(c.closes - c.keeps)
			synctest.Wait()
			if n := k.open(); n != 1 {
				t.Errorf("idle timeout %v: %d connections after %v, want 1", c.idle, n, c.closes)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			k.mu.Lock()
			defer k.mu.Unlock()
			if i := slices.IndexFunc(k.conns, func(c *laneConn) bool { return !c.closed }); i < 0 || Conn(k.conns[i]) != first {
				t.Errorf("after an hour the connection that is left is number %d, want the first", i)
			}
		})
	}
}

// A connection with a call that lasts, or with calls now and then, is not idle.
func TestPoolKeepsWhatIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, k, links := filled(t, Connection{MaxPerEndpoint: 2, IdleTimeout: 10 * time.Second})
		time.Sleep(time.Hour)
		synctest.Wait()
		second := links[1].Conn()
		links[1].Done(Outcome{})
		if n := k.open(); n != 2 {
			t.Fatalf("%d connections after a call of an hour, want 2", n)
		}
		for range 60 { // the first has its call still
			time.Sleep(3 * time.Second)
			l, err := v.Pick(PickInfo{})
			if err != nil || l.Conn() != second {
				t.Fatalf("a call now and then goes to %v, %v", l, err)
			}
			l.Done(Outcome{})
		}
		if n := k.open(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

// A connection beyond those that work which cannot be made is not news of the endpoint.
func TestPoolOnDemandFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &laneConnector{}
		cluster := NewCluster("c", ClusterOptions{Logger: quiet})
		t.Cleanup(cluster.Close)
		cluster.Configure(&Config{Protocol: ProtocolHTTP2, Connection: Connection{MaxPerEndpoint: 2, MaxStreams: 1}})
		cluster.Assign(one(at("a:1")))
		v := cluster.View(k, httpView)
		first := mustPick(t, v)
		k.newest().report(Ready, nil)
		second := mustPick(t, v)
		k.newest().report(TransientFailure, errors.New("refused"))
		second.Done(Outcome{Err: errors.New("refused")})
		synctest.Wait()
		if s := v.links[0].State(); s != Ready {
			t.Errorf("the endpoint is %v, want Ready", s)
		}
		k.mu.Lock()
		only := k.conns[0]
		k.mu.Unlock()
		first.Done(Outcome{})
		only.report(TransientFailure, errors.New("refused"))
		synctest.Wait()
		if s := v.links[0].State(); s != TransientFailure {
			t.Errorf("without a connection the endpoint is %v, want TransientFailure", s)
		}
	})
}

// Calls that come at once after the last that a connection may carry are not on it.
func TestLaneCallsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v, _ := newLanes(t, Connection{MaxPerEndpoint: 2, MaxStreams: 10, MaxRequests: 3})
		synctest.Wait()
		l := (*v.links[0].pool.open.Load())[0]
		limits := v.links[0].pool.limits()
		for i := range 5 {
			if ok, last := l.enter(limits); ok != (i < 3) || last != (i == 2) {
				t.Errorf("call %d: let on %v, the last %v", i+1, ok, last)
			}
		}
		if n := l.streams.Load(); n != 3 {
			t.Errorf("%d streams are in use, want 3", n)
		}
	})
}
