package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver/xds"
)

// The bounds of the clusters that the calls of a target ask for by name
// (RouteAction.cluster_header). Whoever makes the calls may ask for anything, so that
// names which are not those of clusters have a bound of their own: they cannot push out
// any that are, and the control plane is asked for so many of them in each period.
const (
	maxDemandedName = 512 // bytes
	maxDemanded     = 1024
	maxUndecided    = 64 // that may not exist
	demandSweep     = 30 * time.Second
	demandIdle      = 10 // sweeps without a call, after which a cluster is let go
)

// ErrDemand is why a call that names its cluster itself has none.
var ErrDemand = errors.New("the call names no cluster of the mesh")

// demands are the clusters that calls of a target asked for by name.
type demands struct {
	mu    sync.Mutex
	list  map[string]*demand
	exist int // of list

	// Owned by the resolver's goroutine.
	sweeping *time.Timer // nil while there are none
	ready    []string    // those that exist, sorted
}

// demand is one cluster that calls asked for by name.
type demand struct {
	name    string
	target  *Target
	node    *clusterNode  // owned by the resolver's goroutine
	decided chan struct{} // closed when one of the next two is set
	err     error
	cluster *balancer.Cluster

	used atomic.Bool // since the last sweep
	idle int         // sweeps
}

// Demanded returns a cluster that calls of the target asked for by name, nil if it is
// not in the table; then [Target.Demand] gets it there. It takes no lock.
func (t *Table) Demanded(name string) *balancer.Cluster {
	d := t.demanded[name]
	if d == nil {
		return nil
	}
	if !d.used.Load() { // written rarely, so that callers share the cache line
		d.used.Store(true)
	}
	return d.cluster
}

// Demand returns the cluster of a name that a call gives, and keeps it in the tables of
// the target as long as calls ask for it: five minutes after the last. The first call
// waits, within ctx, until the cluster and its endpoints are there. The error wraps
// [ErrDemand], or ctx's.
func (t *Target) Demand(ctx context.Context, name string) (*balancer.Cluster, error) {
	d, err := t.demand(name)
	if err != nil {
		return nil, err
	}
	select {
	case <-d.decided:
		return d.cluster, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for cluster %q, which the call names: %w", name, context.Cause(ctx))
	case <-t.resolver.stop:
		return nil, ErrClosed
	}
}

// DemandNow is [Target.Demand] for those who do not wait: nil if the cluster is not
// there, or not yet.
func (t *Target) DemandNow(name string) *balancer.Cluster {
	d, err := t.demand(name)
	if err != nil {
		return nil
	}
	select {
	case <-d.decided:
		return d.cluster
	default:
		return nil
	}
}

// demand returns the demand for a name, which begins with the first call.
func (t *Target) demand(name string) (*demand, error) {
	switch {
	case name == "":
		return nil, fmt.Errorf("%w: it lacks the header for that", ErrDemand)
	case len(name) > maxDemandedName:
		return nil, fmt.Errorf("%w: the name is %d bytes long", ErrDemand, len(name))
	}
	t.demands.mu.Lock()
	defer t.demands.mu.Unlock()
	d := t.demands.list[name]
	switch exist := t.demands.exist; {
	case d != nil:
		if !d.used.Load() {
			d.used.Store(true)
		}
		return d, nil
	case exist >= maxDemanded:
		return nil, fmt.Errorf("%w: calls of %s use %d others", ErrDemand, t.name, exist)
	case len(t.demands.list)-exist >= maxUndecided:
		return nil, fmt.Errorf("%w: calls of %s ask for too many that do not exist", ErrDemand, t.name)
	}
	d = &demand{name: name, target: t, decided: make(chan struct{})}
	d.used.Store(true)
	if t.demands.list == nil {
		t.demands.list = make(map[string]*demand)
	}
	t.demands.list[name] = d
	t.resolver.box.do(d.begin)
	return d, nil
}

// What follows runs on the resolver's goroutine.

// begin has the cluster watched.
func (d *demand) begin() {
	t := d.target
	if t.released {
		d.decide(nil, fmt.Errorf("%s: %w", t.name, ErrClosed))
		return
	}
	if t.demands.sweeping == nil {
		t.demands.schedule(t)
	}
	d.node = t.resolver.nodes([]string{d.name})[0]
	d.node.demands[d] = true
	d.look()
	d.node.changed()
}

// look decides once it can be told whether the cluster exists.
func (d *demand) look() {
	n := d.node
	if !n.ready() {
		return
	}
	select {
	case <-d.decided:
		if d.err != nil && !n.missing {
			d.target.demands.forget(d) // it came late: the next call begins anew
		}
		return
	default:
	}
	if n.missing {
		d.decide(nil, fmt.Errorf("%w: cluster %q: %w", ErrDemand, d.name, xds.ErrNotFound))
		return
	}
	d.decide(n.cluster, nil)
	t := d.target
	i, _ := slices.BinarySearch(t.demands.ready, d.name)
	t.demands.ready = slices.Insert(slices.Clip(t.demands.ready), i, d.name) // a spec may have it
	t.resolver.dirty[t] = true
}

func (d *demand) decide(cluster *balancer.Cluster, err error) {
	d.cluster, d.err = cluster, err
	close(d.decided)
	if cluster != nil {
		d.target.demands.mu.Lock()
		d.target.demands.exist++
		d.target.demands.mu.Unlock()
	}
}

func (ds *demands) schedule(t *Target) {
	r := t.resolver
	ds.sweeping = time.AfterFunc(demandSweep, func() { r.box.do(func() { ds.sweep(t) }) })
}

// sweep lets go of what is not there, or no longer asked for.
func (ds *demands) sweep(t *Target) {
	if t.released {
		return
	}
	ds.mu.Lock()
	var gone []*demand
	for name, d := range ds.list {
		if d.node == nil {
			continue // it begins
		}
		if d.used.Swap(false) {
			d.idle = 0
		} else {
			d.idle++
		}
		if d.cluster != nil && !d.node.missing && d.idle < demandIdle {
			continue
		}
		if d.cluster == nil && d.err == nil && d.idle < demandIdle {
			continue // the source may yet say
		}
		if d.cluster != nil {
			ds.exist--
		}
		delete(ds.list, name)
		gone = append(gone, d)
	}
	left := len(ds.list)
	ds.mu.Unlock()
	for _, d := range gone {
		if d.cluster == nil && d.err == nil {
			d.decide(nil, fmt.Errorf("%w: cluster %q does not come", ErrDemand, d.name))
		}
		d.letGo()
	}
	if left > 0 {
		ds.schedule(t)
	} else {
		ds.sweeping = nil
	}
}

// forget ends a demand for what did not exist.
func (ds *demands) forget(d *demand) {
	ds.mu.Lock()
	if ds.list[d.name] == d {
		delete(ds.list, d.name)
	}
	ds.mu.Unlock()
	d.letGo()
}

// letGo gives the node back.
func (d *demand) letGo() {
	t := d.target
	if i, ok := slices.BinarySearch(t.demands.ready, d.name); ok && d.cluster != nil {
		t.demands.ready = slices.Concat(t.demands.ready[:i], t.demands.ready[i+1:])
		t.resolver.dirty[t] = true
	}
	delete(d.node.demands, d)
	d.node.unused()
}

// end lets go of all of them.
func (ds *demands) end() {
	if ds.sweeping != nil {
		ds.sweeping.Stop()
	}
	ds.mu.Lock()
	list := ds.list
	ds.list = nil
	ds.mu.Unlock()
	for _, d := range list {
		if d.node != nil {
			delete(d.node.demands, d)
			d.node.unused()
		}
	}
}

// inTable are the demands whose clusters a spec names.
func (ds *demands) inTable(names []string) map[string]*demand {
	if len(names) == 0 {
		return nil
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	table := make(map[string]*demand, len(names))
	for _, name := range names {
		if d := ds.list[name]; d != nil && d.cluster != nil {
			table[name] = d
		}
	}
	return table
}
