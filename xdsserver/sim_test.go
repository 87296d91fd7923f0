package xdsserver

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

// The simulation: a world that changes at random, clients that subscribe,
// unsubscribe, reject, stop reading and reconnect at random, over real streams.
// Whatever happened, a client that has read everything has what the world holds of
// what it wants; no client is sent what it has or has rejected; and no route a
// client has leads to a cluster that it has not.
func TestSimulation(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { simulate(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func simulate(t *testing.T, rnd *rand.Rand) {
	s, cc := start(t, Options{})
	work(t, s, rnd, overNetwork(openDelta, t, cc), overNetwork(openSotW, t, cc))
}

// work has clients and the world take turns.
func work(t *testing.T, s *Server, rnd *rand.Rand, delta func() *deltaClient, sotw func() *sotwClient) {
	t.Helper()
	w := newWorld(rnd)
	if rnd.IntN(2) == 0 {
		w.apply(t, s)
	}
	clients := []simClient{
		newSimDelta(t, delta, rnd, true, false), newSimDelta(t, delta, rnd, false, false), newSimDelta(t, delta, rnd, false, true),
		newSimSotW(t, sotw, rnd, true, false), newSimSotW(t, sotw, rnd, false, true),
	}
	for range 60 {
		switch rnd.IntN(4) {
		case 0:
			w.step()
			w.apply(t, s)
		case 1, 2:
			clients[rnd.IntN(len(clients))].act()
		default:
			if s.Version() != "" {
				clients[rnd.IntN(len(clients))].settle(w)
			}
		}
	}
	w.step()
	w.apply(t, s)
	for _, c := range clients {
		c.settle(w)
		c.settle(w) // nothing more comes
	}
}

// The same with everyone at work at the same time.
func TestSimulationConcurrent(t *testing.T) {
	s, cc := start(t, Options{})
	w := newWorld(rand.New(rand.NewPCG(1, 2)))
	w.apply(t, s)
	var clients []simClient
	for i := range 6 {
		rnd := rand.New(rand.NewPCG(uint64(i), 3))
		if i%2 == 0 {
			clients = append(clients, newSimDelta(t, overNetwork(openDelta, t, cc), rnd, i == 0, i == 4))
		} else {
			clients = append(clients, newSimSotW(t, overNetwork(openSotW, t, cc), rnd, i == 1, i == 5))
		}
	}
	var busy sync.WaitGroup
	for _, c := range clients {
		busy.Go(func() {
			for range 30 {
				c.act()
				c.settle(nil)
			}
		})
	}
	busy.Go(func() {
		for range 100 {
			w.step()
			w.apply(t, s)
			s.Clients()
		}
	})
	busy.Wait()
	for _, c := range clients {
		c.settle(w)
	}
}

// overNetwork returns what opens a stream of cc.
func overNetwork[C any](open func(testing.TB, *grpc.ClientConn) C, t *testing.T, cc *grpc.ClientConn) func() C {
	return func() C { return open(t, cc) }
}

type simClient interface {
	act() // does something a client may do
	// settle reads all that there is to read, and compares it with w unless that is nil.
	settle(w *world)
}

// world is what the server serves: listeners that name one route each, routes that
// name clusters, and endpoints for every cluster. Everything that is named exists.
type world struct {
	rnd                        *rand.Rand
	listeners, routes, cluster map[string]string // name to content
	endpoints                  map[string]string
	serial                     int
}

const (
	simListeners, simRoutes, simClusters = 4, 4, 8
)

func newWorld(rnd *rand.Rand) *world {
	w := &world{
		rnd: rnd, listeners: map[string]string{}, routes: map[string]string{},
		cluster: map[string]string{}, endpoints: map[string]string{},
	}
	for range 3 {
		w.step()
	}
	return w
}

// content is "name@serial refs" and sometimes long enough to fill a window.
func (w *world) content(name string, refs ...string) string {
	w.serial++
	size := 0
	if w.rnd.IntN(8) == 0 {
		size = w.rnd.IntN(60_000)
	}
	return fmt.Sprintf("%s@%d %s %s", name, w.serial, strings.Join(refs, ","), padded(size))
}

func (w *world) step() {
	for i := range simClusters {
		name := fmt.Sprint("c", i)
		switch w.rnd.IntN(6) {
		case 0:
			delete(w.cluster, name)
			delete(w.endpoints, name)
		case 1:
			w.cluster[name], w.endpoints[name] = w.content(name), w.content(name)
		case 2:
			if w.cluster[name] != "" {
				w.endpoints[name] = w.content(name)
			}
		}
	}
	if len(w.cluster) == 0 {
		w.cluster["c0"], w.endpoints["c0"] = w.content("c0"), w.content("c0")
	}
	clusters := slices.Sorted(maps.Keys(w.cluster))
	for i := range simRoutes { // a route stays, so that state of the world need not forget any
		name := fmt.Sprint("r", i)
		broken := slices.ContainsFunc(refs(w.routes[name]), func(c string) bool { return w.cluster[c] == "" })
		if w.routes[name] == "" || broken || w.rnd.IntN(3) == 0 {
			to := []string{clusters[w.rnd.IntN(len(clusters))], clusters[w.rnd.IntN(len(clusters))]}
			w.routes[name] = w.content(name, to...)
		}
	}
	for i := range simListeners {
		name := fmt.Sprint("l", i)
		switch w.rnd.IntN(4) {
		case 0:
			delete(w.listeners, name)
		case 1:
			w.listeners[name] = w.content(name, fmt.Sprint("r", w.rnd.IntN(simRoutes)))
		}
	}
}

func refs(content string) []string {
	fields := strings.Split(content, " ")
	if len(fields) < 2 || fields[1] == "" {
		return nil
	}
	return strings.Split(fields[1], ",")
}

func (w *world) of(typ string) map[string]string {
	return map[string]map[string]string{"LDS": w.listeners, "RDS": w.routes, "CDS": w.cluster, "EDS": w.endpoints}[typ]
}

func (w *world) apply(t *testing.T, s *Server) {
	t.Helper()
	var texts []string
	for _, typ := range simTypes {
		for name, content := range w.of(typ) {
			texts = append(texts, typ+"/"+name+"="+content)
		}
	}
	apply(t, s, texts...)
}

var simTypes = []string{"CDS", "EDS", "LDS", "RDS"} // as a client asks that makes before it breaks

func someName(rnd *rand.Rand, typ string) string {
	return map[string]string{"LDS": "l", "RDS": "r", "CDS": "c", "EDS": "c"}[typ] + fmt.Sprint(rnd.IntN(10)) // some never exist
}

func allNames(typ string) (names []string) {
	prefix := map[string]string{"LDS": "l", "RDS": "r", "CDS": "c", "EDS": "c"}[typ]
	for i := range 10 {
		names = append(names, prefix+fmt.Sprint(i))
	}
	return names
}

// settleRounds is two for what the server was about to send, as in quiet, and two for
// what follows when that is acknowledged.
const settleRounds = 4

// view is what a client wants of a type and what it has.
type view struct {
	client   string // what kind of client it is, for failures
	all      bool
	wants    map[string]bool
	has      map[string]string // name to content
	version  map[string]string // what the server calls it, delta
	rejected map[string]string // name to content
	asked    map[string]bool   // may be sent though the client has it
	stale    bool              // state of the world: a whole response was rejected
}

func newView(client string) *view {
	return &view{
		client: client,
		wants:  map[string]bool{}, has: map[string]string{}, version: map[string]string{},
		rejected: map[string]string{}, asked: map[string]bool{},
	}
}

func (v *view) wanted(name string) bool { return v.all || v.wants[name] }

func (v *view) forget() {
	for name := range v.has {
		if !v.wanted(name) {
			delete(v.has, name)
			delete(v.version, name)
		}
	}
	for name := range v.rejected {
		if !v.wanted(name) {
			delete(v.rejected, name)
		}
	}
}

// check compares a view with the world.
func (v *view) check(t *testing.T, w *world, typ string, tellsGone bool) {
	t.Helper()
	if v.stale {
		return
	}
	for name, content := range w.of(typ) {
		if v.wanted(name) && v.has[name] != content && v.rejected[name] != content {
			t.Fatalf("%s, all=%t: %s %s: the client has %.20q, the server serves %.20q", v.client, v.all, typ, name, v.has[name], content)
		}
	}
	for name := range v.has {
		if _, exists := w.of(typ)[name]; !exists && tellsGone {
			t.Fatalf("%s, all=%t: %s %s: the client has it, the server does not", v.client, v.all, typ, name)
		}
	}
}

// checkRoutes fails if a listener's route leads to a cluster that the client has not.
func checkRoutes(t *testing.T, views map[string]*view) {
	t.Helper()
	for listener, content := range views["LDS"].has {
		for _, route := range refs(content) {
			for _, cluster := range refs(views["RDS"].has[route]) {
				if views["CDS"].has[cluster] == "" || views["EDS"].has[cluster] == "" {
					t.Fatalf("%s: listener %s, route %s: leads to cluster %s, which the client has not", views["LDS"].client, listener, route, cluster)
				}
			}
		}
	}
}

// simDelta is an incremental client.
type simDelta struct {
	*deltaClient
	open    func() *deltaClient
	rnd     *rand.Rand
	views   map[string]*view
	whole   bool // subscribes to everything, and looks at what routes lead to
	steady  bool // has read everything once: from now on nothing may break
	rejects bool
	tb      *testing.T
}

func newSimDelta(t *testing.T, open func() *deltaClient, rnd *rand.Rand, whole, rejects bool) *simDelta {
	c := &simDelta{tb: t, open: open, rnd: rnd, whole: whole, rejects: rejects, views: map[string]*view{}}
	for _, typ := range simTypes {
		c.views[typ] = newView(fmt.Sprintf("delta client, whole=%t, rejects=%t", whole, rejects))
	}
	c.connect()
	return c
}

// connect opens a stream and says what the client wants and has.
func (c *simDelta) connect() {
	if c.deltaClient != nil {
		_ = c.stream.CloseSend()
		_ = drainErr(c.stream)
	}
	c.deltaClient = c.open()
	for _, typ := range simTypes {
		v := c.views[typ]
		v.asked, v.rejected = map[string]bool{}, map[string]string{} // a new stream starts over
		if c.whole {
			v.all = true
		}
		names := slices.Sorted(maps.Keys(v.wants))
		if v.all {
			names = append(names, "*")
		}
		if len(names) > 0 || typ == "RDS" {
			held(c.deltaClient, typ, v.version, names...)
		} else if len(v.version) == 0 {
			v.all = typ == "LDS" || typ == "CDS" // the legacy wildcard
			c.subscribe(typ)
		}
	}
}

func (c *simDelta) act() {
	typ := simTypes[c.rnd.IntN(len(simTypes))]
	v := c.views[typ]
	switch name := someName(c.rnd, typ); c.rnd.IntN(8) {
	case 0:
		c.connect()
	case 1:
		if !c.whole {
			v.all = !v.all
			c.subscribe(typ, map[bool]string{true: "*", false: "-*"}[v.all])
			if v.all {
				for _, name := range allNames(typ) {
					v.asked[name] = true
				}
			}
			v.forget()
		}
	case 2, 3:
		if !c.whole {
			delete(v.wants, name)
			v.asked[name] = true // where all are wanted, it is sent again
			c.subscribe(typ, "-"+name)
			v.forget()
		}
	default:
		v.wants[name], v.asked[name] = true, true
		c.subscribe(typ, name)
	}
}

func (c *simDelta) settle(w *world) {
	c.tb.Helper()
	for range settleRounds {
		c.subscribe("barrier", fmt.Sprint(c.barriers))
		c.barriers++
		for {
			resp := c.recv()
			if shortOf(resp.GetTypeUrl()) == "barrier" {
				c.ack(resp)
				break
			}
			c.take(resp)
		}
	}
	for typ, v := range c.views {
		if w != nil {
			v.check(c.tb, w, typ, true)
		}
		clear(v.asked)
	}
	c.steady = true
}

func (c *simDelta) take(resp *discovery.DeltaDiscoveryResponse) {
	c.tb.Helper()
	typ := shortOf(resp.GetTypeUrl())
	v := c.views[typ]
	reject := c.rejects && c.rnd.IntN(3) == 0
	seen := map[string]bool{}
	for _, r := range resp.GetResources() {
		name, content := r.GetName(), string(r.GetResource().GetValue())
		switch {
		case seen[name]:
			c.tb.Fatalf("%s %s is in one response twice", typ, name)
		case !v.wanted(name):
			continue // it was unsubscribed when the response was on its way
		case v.has[name] == content && !v.asked[name]:
			c.tb.Fatalf("%s %s: sent again though the client has it", typ, name)
		case v.rejected[name] == content && !v.asked[name]:
			c.tb.Fatalf("%s %s: sent again though the client rejected it", typ, name)
		}
		seen[name] = true
		if reject {
			v.rejected[name] = content
			continue
		}
		delete(v.rejected, name)
		v.has[name], v.version[name] = content, r.GetVersion()
	}
	for _, name := range resp.GetRemovedResources() {
		if seen[name] {
			c.tb.Fatalf("%s %s: sent and removed in one response", typ, name)
		}
		delete(v.has, name)
		delete(v.version, name)
		delete(v.rejected, name)
	}
	if reject {
		c.nack(resp, "no")
		return
	}
	c.ack(resp)
	if c.whole && c.steady {
		checkRoutes(c.tb, c.views)
	}
}

// simSotW is a state-of-the-world client.
type simSotW struct {
	*sotwClient
	open    func() *sotwClient
	rnd     *rand.Rand
	views   map[string]*view
	whole   bool
	steady  bool // has read everything since it connected: this protocol cannot tell what is in use
	rejects bool
	tb      *testing.T
}

func newSimSotW(t *testing.T, open func() *sotwClient, rnd *rand.Rand, whole, rejects bool) *simSotW {
	c := &simSotW{tb: t, open: open, rnd: rnd, whole: whole, rejects: rejects, views: map[string]*view{}}
	for _, typ := range simTypes {
		v := newView(fmt.Sprintf("state-of-the-world client, whole=%t, rejects=%t", whole, rejects))
		v.all = isRoot(short[typ]) && (whole || rnd.IntN(2) == 0)
		for i, name := range allNames(typ) {
			v.wants[name] = !v.all && (whole || i%2 == 0)
		}
		c.views[typ] = v
	}
	c.connect()
	return c
}

func (c *simSotW) connect() {
	if c.sotwClient != nil {
		_ = c.stream.CloseSend()
		_ = drainErr(c.stream)
	}
	c.sotwClient, c.steady = c.open(), false
	for _, typ := range simTypes {
		clear(c.views[typ].rejected)
		c.ask(typ)
	}
}

// ask sends all that the client wants of a type.
func (c *simSotW) ask(typ string) {
	v := c.views[typ]
	var names []string
	for _, name := range allNames(typ) {
		if v.wants[name] {
			names = append(names, name)
		}
	}
	if v.all {
		names = append(names, "*")
	}
	c.request(typ, names...)
}

func (c *simSotW) act() {
	typ := simTypes[c.rnd.IntN(len(simTypes))]
	v := c.views[typ]
	switch c.rnd.IntN(6) {
	case 0:
		c.connect()
	default:
		if c.whole {
			return
		}
		name := someName(c.rnd, typ)
		v.wants[name] = !v.wants[name]
		v.forget()
		c.ask(typ)
	}
}

func (c *simSotW) settle(w *world) {
	c.tb.Helper()
	for range settleRounds {
		c.barriers = append(c.barriers, fmt.Sprint(len(c.barriers)))
		c.request("barrier", c.barriers...)
		for {
			resp := c.recv()
			if shortOf(resp.GetTypeUrl()) == "barrier" {
				break
			}
			c.take(resp)
		}
	}
	for typ, v := range c.views {
		if w != nil {
			v.check(c.tb, w, typ, isRoot(short[typ]))
		}
	}
	c.steady = true
}

func (c *simSotW) take(resp *discovery.DiscoveryResponse) {
	c.tb.Helper()
	typ := shortOf(resp.GetTypeUrl())
	v := c.views[typ]
	root := isRoot(resp.GetTypeUrl())
	got := map[string]string{}
	for _, r := range resp.GetResources() {
		name, _, _ := strings.Cut(string(r.GetValue()), "@")
		if got[name] != "" {
			c.tb.Fatalf("%s %s is in one response twice", typ, name)
		}
		if v.wanted(name) {
			got[name] = string(r.GetValue())
		}
	}
	if c.rejects && c.rnd.IntN(3) == 0 {
		for name, content := range got {
			v.rejected[name] = content
		}
		v.stale = v.stale || root
		c.nack(resp, "no")
		return
	}
	if root {
		v.has, v.stale = got, false
	}
	for name, content := range got {
		v.has[name] = content
		delete(v.rejected, name)
	}
	c.ask(typ)
	if c.whole && c.steady {
		checkRoutes(c.tb, c.views)
	}
}
