package balancer

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

var quiet = slog.New(slog.DiscardHandler)

// fakeConnector makes connections that do what a test says.
type fakeConnector struct {
	mu    sync.Mutex
	conns map[string]*fakeConn // the newest to each address
	made  int
	// connects, if set, is what a Conn does when it is told to connect.
	connects func(*fakeConn)
}

type fakeConn struct {
	connector *fakeConnector
	endpoint  *Endpoint
	report    func(State, error)

	connects, closes int // guarded by connector.mu
}

func (k *fakeConnector) NewConn(e *Endpoint, report func(State, error)) Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conns == nil {
		k.conns = map[string]*fakeConn{}
	}
	c := &fakeConn{connector: k, endpoint: e, report: report}
	k.conns[e.Address()] = c
	k.made++
	return c
}

func (c *fakeConn) Connect() {
	c.connector.mu.Lock()
	c.connects++
	f := c.connector.connects
	c.connector.mu.Unlock()
	if f != nil {
		f(c)
	}
}

func (c *fakeConn) Close() {
	c.connector.mu.Lock()
	defer c.connector.mu.Unlock()
	c.closes++
}

func (k *fakeConnector) conn(t testing.TB, address string) *fakeConn {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.conns[address]
	if c == nil {
		t.Fatalf("no connection was made to %s", address)
	}
	return c
}

// connected returns the addresses that were told to connect, in order.
func (k *fakeConnector) connected() (list []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for address, c := range k.conns {
		if c.connects > 0 && c.closes == 0 {
			list = append(list, address)
		}
	}
	slices.Sort(list)
	return list
}

// closed returns the addresses whose newest connection is closed, in order.
func (k *fakeConnector) closed() (list []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for address, c := range k.conns {
		if c.closes > 0 {
			list = append(list, address)
		}
	}
	slices.Sort(list)
	return list
}

// up has a Conn succeed at once, asked or not.
func up(c *fakeConn) { c.report(Ready, nil) }

// rig is a cluster with one view, in a synctest bubble.
type rig struct {
	*testing.T
	cluster *Cluster
	view    *View
	k       *fakeConnector
}

func newRig(t *testing.T, o ViewOptions, config *Config, a *Assignment) *rig {
	r := &rig{T: t, cluster: NewCluster("c", ClusterOptions{Logger: quiet}), k: &fakeConnector{}}
	t.Cleanup(r.cluster.Close)
	if config != nil {
		r.cluster.Configure(config)
	}
	if a != nil {
		r.cluster.Assign(a)
	}
	r.view = r.cluster.View(r.k, o)
	return r
}

// report has the connections to the addresses report a state, and waits for the
// picker.
func (r *rig) report(s State, err error, addresses ...string) {
	r.Helper()
	for _, a := range addresses {
		r.k.conn(r, a).report(s, err)
	}
	synctest.Wait()
}

func (r *rig) assign(a *Assignment) {
	r.Helper()
	r.cluster.Assign(a)
	synctest.Wait()
}

// picks returns how often each address was picked in n picks.
func (r *rig) picks(n int) map[string]int {
	r.Helper()
	counts := map[string]int{}
	for range n {
		l, err := r.view.Pick(PickInfo{})
		if err != nil {
			r.Fatalf("Pick: %v", err)
		}
		counts[l.Endpoint().Address()]++
		l.Done(Outcome{})
	}
	return counts
}

// addresses are n endpoints "prefix0:1", "prefix1:1", ...
func addresses(prefix string, n int) []EndpointConfig {
	list := make([]EndpointConfig, n)
	for i := range list {
		list[i].Address = fmt.Sprintf("%s%d:1", prefix, i)
	}
	return list
}

// one is an assignment of one locality.
func one(endpoints ...EndpointConfig) *Assignment {
	return &Assignment{Localities: []LocalityEndpoints{{Weight: 1, Endpoints: endpoints}}}
}

func at(address string) EndpointConfig { return EndpointConfig{Address: address} }
