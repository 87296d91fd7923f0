package mesh_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/mesh"
)

const (
	chaosBackends = 5
	chaosCallers  = 3           // of each kind and client
	chaosDeadline = time.Second // of each call
)

// chaosRun is five backends in random trouble and what calls of them come to.
type chaosRun struct {
	*testing.T
	net       chaosNetwork
	weather   *chaosWeather
	addresses []string
	backends  []*troubled
	out       atomic.Bool // no backend is available
	mesh      *mesh.Mesh
	turns     turns
	conns     []*grpc.ClientConn
	clients   []*http.Client
	kinds     []chaosKind
	tallies   map[string]*tally // by client and kind
	loads     int               // so far
}

func newChaosRun(t *testing.T, n chaosNetwork, w *chaosWeather) *chaosRun {
	r := &chaosRun{T: t, net: n, weather: w, addresses: n.addresses(t, chaosBackends), tallies: map[string]*tally{}}
	for _, a := range r.addresses {
		r.backends = append(r.backends, startTroubled(t, n, a, &r.out))
	}
	var err error
	if r.mesh, err = mesh.New(mesh.WithPolicy(chaosPolicy(r.addresses)), mesh.WithLogger(slog.New(&r.turns))); err != nil {
		t.Fatal(err)
	}
	r.kinds = []chaosKind{
		{"unary", r.overGRPC(chaosUnary)},
		{"stream", r.overGRPC(chaosStream)},
		{"http", r.overHTTP("http")},
		{"h2c", r.overHTTP("h2c")},
	}
	for _, k := range r.kinds {
		for _, c := range chaosClients {
			r.tallies[c.name+" "+k.name] = &tally{}
		}
	}
	return r
}

// load makes calls for d, while the backends fall into trouble and recover. In what trouble
// goes by the weather's seed, and is another each time.
func (r *chaosRun) load(d time.Duration) {
	var callers, plagues sync.WaitGroup
	r.loads++
	for i, b := range r.backends {
		plagues.Go(func() { r.weather.plague(b, uint64(r.loads*chaosBackends+i), d) })
	}
	plagues.Go(func() { r.blackOut(d) })
	plagues.Go(func() { r.turns.watchEjections(r.mesh, d) })
	ends := time.Now().Add(d)
	for _, k := range r.kinds {
		for _, c := range chaosClients {
			t := r.tallies[c.name+" "+k.name]
			for i := range chaosCallers {
				callers.Go(func() {
					for n := i; time.Now().Before(ends); n++ {
						r.count(t, k, c.name, strings.Repeat("chaos ", 1+n%50)+fmt.Sprint(n))
						pause(context.Background(), nil, 20*time.Millisecond)
					}
				})
			}
		}
	}
	callers.Wait()
	plagues.Wait()
}

// open is how many connections the backends have.
func (r *chaosRun) open() (n int64) {
	for _, b := range r.backends {
		n += b.conns.Load()
	}
	return n
}

// stop ends clients and backends, and expects nothing to be left of them.
func (r *chaosRun) stop() {
	for _, c := range r.conns {
		_ = c.Close()
	}
	for _, c := range r.clients {
		c.CloseIdleConnections()
	}
	if err := r.mesh.Close(within(r, long)); err != nil {
		r.Errorf("calls are in flight: %v", err)
	}
	for begun := time.Now(); r.open() > 0 && time.Since(begun) < long; {
		pause(context.Background(), nil, 10*time.Millisecond)
	}
	if n := r.open(); n > 0 {
		r.Errorf("%d connections are open after all was closed", n)
	}
	for _, b := range r.backends {
		b.stop()
	}
}

// chaosTime is how long a run takes: d, or what WEFT_CHAOS says, such as 1m.
func chaosTime(t *testing.T, d time.Duration) time.Duration {
	if v := os.Getenv("WEFT_CHAOS"); v != "" {
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			t.Fatalf("WEFT_CHAOS: %v", err)
		}
	}
	return d
}

// TestChaos makes calls of each kind to backends in random trouble. Time is synctest's, and
// the network takes none, so that what calls take is exact on every machine.
func TestChaos(t *testing.T) {
	// Where two processors run timers of a bubble at once, the race detector breaks down
	// (golang/go#78156).
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, w := range chaosWeathers {
		t.Run(w.name, func(t *testing.T) {
			d := chaosTime(t, 4*time.Second)
			var run *chaosRun // grpc's channels must not become garbage within the bubble
			synctest.Test(t, func(t *testing.T) {
				run = newChaosRun(t, &memory{}, &w)
				run.load(d / 2)
				first := run.rest()
				run.load(d / 2)
				second := run.rest()
				run.report()
				run.judge(d)
				run.judgeAnswers()
				run.judgeRest(first, second)
				run.stop()
			})
			runtime.KeepAlive(run)
		})
	}
}

// TestChaosOverSockets is TestChaos over the machine's, in its time, of which each weather has
// a part. How late a call ends is reported beside how late a timer is that does nothing.
func TestChaosOverSockets(t *testing.T) {
	for _, w := range chaosWeathers {
		t.Run(w.name, func(t *testing.T) {
			r := newChaosRun(t, &loopback{}, &w)
			stop, control := make(chan struct{}), make(chan time.Duration)
			go func() { control <- timersLate(stop) }()
			r.load(chaosTime(t, 9*time.Second) / time.Duration(len(chaosWeathers)))
			close(stop)
			r.report()
			r.Logf("a timer that does nothing is late by up to %v meanwhile", (<-control).Round(100*time.Microsecond))
			r.judgeAnswers()
			r.stop()
		})
	}
}

// timersLate is by how much a timer is late at most.
func timersLate(stop <-chan struct{}) (late time.Duration) {
	for {
		due := time.Now().Add(chaosDeadline / 20)
		select {
		case <-stop:
			return late
		case <-time.After(time.Until(due)):
			late = max(late, time.Since(due))
		}
	}
}
