package balancer

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// View is one consumer's picture of a cluster: a Link to each endpoint it may need,
// how they do, and the picker over them. All methods are safe for concurrent use.
type View struct {
	cluster   *Cluster
	connector Connector
	options   ViewOptions

	picker atomic.Pointer[picker]

	// What is to be learned of calls, see signals.go.
	latency     atomic.Bool
	loadWeights atomic.Pointer[LoadWeights] // nil where loads do not matter

	done chan struct{} // closed by Close

	mu      sync.Mutex
	newest  *snapshot
	dirty   bool // something changed since the last rebuild began
	running bool // a rebuild runs, or will see dirty before it ends
	closed  bool
	timer   *time.Timer // wakes the view when a waiting time ends
	asked   []*asked    // subsets that calls ask for

	// Owned by the one rebuild that runs.
	built      *snapshot
	links      []*Link // of built's members; of the newest picker too, so not to be changed
	byEndpoint map[*Endpoint]*Link
	generation uint64 // counts the snapshots built
	outOfBand  bool   // links were told to have loads reported
	aggregated []aggregatePart
	retired    []*View // of aggregated, to close when the new picker is in place
	// The view's part of a snapshot, see random_subset.go.
	subsetOf, subset *snapshot
	seed             uint64 // random

	sparesUntil time.Time   // owned by the rebuild
	askedSpares atomic.Bool // since the last one
}

// ViewOptions says how a View's connections come about and whom it is for.
type ViewOptions struct {
	// OnDemand is for connections that are made when they are used (HTTP): a link
	// may be picked in every state but TransientFailure, which ends by itself after
	// gRPC's connection backoff of 1 s to 2 min. With all links failed they are all
	// picked again, as plain HTTP would, unless the panic threshold is 0.
	//
	// Otherwise (gRPC) links are told to connect as the policy needs them, and only
	// those that are Ready are picked.
	OnDemand bool

	// GRPC chooses gRPC's semantics where they are not Envoy's: localities have
	// weight if the policy is a legacy one (gRFC A27), and LOGICAL_DNS is pick_first
	// over all addresses (gRFC A37).
	GRPC bool

	// Changed is called after a new picker is in place. It runs in a goroutine of
	// the View with no lock held, never twice at a time, and not after Close but for
	// a call that has begun. It may be called before Cluster.View has returned. May
	// be nil.
	Changed func()
}

// PickInfo is what a pick should heed.
type PickInfo struct {
	// Exclude are endpoints not to pick: those that the call has tried. A pick with
	// any is a further attempt of a call, to which policy's drops do not apply again.
	Exclude []*Endpoint

	// Context bounds how long a call waits whose endpoint has no stream free, where
	// connections are counted (Connection.MaxPerEndpoint). Nil does not wait.
	Context context.Context

	// Again says the same of a pick that excludes nothing.
	Again bool

	// Hash is what ring_hash and maglev go by, if HasHash is set. Without it they
	// pick at random.
	HasHash bool
	Hash    uint64

	// Override names an endpoint to go to.
	Override Override

	// Subset is what the call asks of the labels of its endpoint, where the cluster
	// divides its endpoints by them.
	Subset *Criteria

	apart *Apart // of PickApart
}

func newView(c *Cluster, k Connector, o ViewOptions) *View {
	v := &View{
		cluster: c, connector: k, options: o,
		done:       make(chan struct{}),
		running:    true,
		byEndpoint: map[*Endpoint]*Link{},
		seed:       rand.Uint64(),
	}
	v.picker.Store(&picker{snapshot: &snapshot{addresses: new(addressIndex)}, state: Connecting, err: ErrConnecting})
	return v
}

// Cluster returns the cluster that v is a view of.
func (v *View) Cluster() *Cluster { return v.cluster }

// Pick chooses a link by the cluster's policy and counts a call in flight at its
// endpoint; Link.Done must follow. Without a link it returns ErrConnecting,
// ErrNoEndpoints, ErrExcluded, ErrDropped, an *UnreachableError, a
// *resilience.BreakerError, or the error that the cluster failed with, in each case
// perhaps wrapped.
//
// It does not block, lock or allocate, unless connections are counted and all streams
// of the endpoint are in use: then it waits for one within info.Context. The probe of a
// half-open breaker is another exception.
func (v *View) Pick(info PickInfo) (*Link, error) {
	p, b := v.picker.Load(), v.cluster.breaker.Load()
	if p.plain && b.Closed() && len(info.Exclude) == 0 && info.Override.Addresses == "" {
		// What most calls need, and nothing else.
		var l *Link
		if p.root != nil {
			l = p.root.choose()
		} else {
			l = p.links[p.hash.member(info.Hash, info.HasHash)]
		}
		if l != nil && v.open(l) {
			l.endpoint.begin()
			return l, nil
		}
		if l != nil {
			return v.pickChosen(p, l, &info)
		}
	}
	return v.guarded(b, p, &info)
}

// pickChosen is the rest of Pick from a plain picker, which chose l, that is not open.
func (v *View) pickChosen(p *picker, l *Link, info *PickInfo) (*Link, error) {
	if v.usable(l) {
		// Another choice would not do: of two endpoints in turn it is always the same.
		if l, err := l.take(info); err == nil || !errors.Is(err, errProbed) {
			return l, err
		}
	}
	return v.guarded(v.cluster.breaker.Load(), p, info)
}

// open reports whether all that there is to do to pick a link is to count the call.
func (v *View) open(l *Link) bool {
	g := l.endpoint.guards.Load()
	return l.pool == nil && v.connected(l) && (g == nil || g.own.Closed())
}

// pickFrom is Pick from p, whatever the cluster's breaker says.
func (v *View) pickFrom(p *picker, info *PickInfo) (*Link, error) {
	l, err := v.pickWith(p, info)
	for n := 0; n < 3 && err != nil && errors.Is(err, errProbed); n++ {
		info.Again = true // drops have had their say
		l, err = v.pickWith(p, info)
	}
	return l, err
}

// pickWith is the rest of Pick. info is not copied from here on: it is long.
func (v *View) pickWith(p *picker, info *PickInfo) (*Link, error) {
	if p.aggregate != nil {
		if info.apart != nil && !v.asksSpares(p) {
			return nil, ErrConnecting
		}
		return p.aggregate.pick(info)
	}
	if info.Override.Addresses != "" {
		if l, done, err := v.pickOverride(p, info); done {
			return l, err
		}
	}
	if p.parts != nil {
		return v.pickSubset(p, info)
	}
	return v.pick(p, info)
}

// pick is Pick from p.
func (v *View) pick(p *picker, info *PickInfo) (*Link, error) {
	if info.apart != nil {
		if l, err := v.pickApart(p, info); l != nil || err != nil {
			return l, err
		}
	}
	if p.hash != nil {
		return v.pickHash(p, info)
	}
	// Policy drops calls whether or not an endpoint can be reached (gRFC A32), but
	// a call that is going to ask again only once.
	if p.drops != nil && len(info.Exclude) == 0 && !info.Again && !errors.Is(p.err, ErrConnecting) {
		if err := p.drops.drop(); err != nil {
			return nil, err
		}
	}
	if p.root == nil {
		return nil, p.err
	}
	l := p.root.choose()
	if !v.usable(l) || len(info.Exclude) > 0 && slices.Contains(info.Exclude, l.endpoint) {
		var err error
		if l, err = v.pickAgain(p, info); err != nil {
			return nil, err
		}
	}
	return l.take(info)
}

// pickAgain is the rest of a pick whose first choice is excluded, or not usable any
// more and not yet out of the picker.
func (v *View) pickAgain(p *picker, info *PickInfo) (*Link, error) {
	// The policy goes first, so that no single neighbour takes all of the calls.
	for range 3 {
		if l := p.root.choose(); v.usable(l) && !slices.Contains(info.Exclude, l.endpoint) {
			return l, nil
		}
	}
	if l := p.elsewhere(v, info.Exclude); l != nil {
		return l, nil
	}
	if len(info.Exclude) > 0 {
		return nil, ErrExcluded
	}
	if err := v.barred(p); err != nil {
		return nil, err
	}
	if v.options.OnDemand {
		return nil, &UnreachableError{v.cluster.name, p.root.choose().Err()}
	}
	return nil, ErrConnecting // the report that made it unusable has a new picker made
}

// usable reports whether a link can be picked.
func (v *View) usable(l *Link) bool { return v.connected(l) && l.endpoint.admits() }

// connected reports whether it could be, for all that is known of its connection.
func (v *View) connected(l *Link) bool {
	s := State(l.state.Load())
	if v.options.OnDemand {
		return s != TransientFailure
	}
	return s == Ready
}

// State returns the state of the links taken together, and the error that picks fail
// with unless it is Ready. It is Ready when there is something to pick,
// TransientFailure when there will not be unless something changes, and else
// Connecting.
func (v *View) State() (State, error) {
	p := v.picker.Load()
	return p.state, p.err
}

// Close closes the links. Picks still work on what the view knew last. It does not
// wait for a rebuild that runs, which then closes the links in its stead.
func (v *View) Close() {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return
	}
	v.closed = true
	running := v.running
	if v.timer != nil {
		v.timer.Stop()
	}
	v.mu.Unlock()
	close(v.done)
	v.cluster.forget(v)
	if !running {
		v.closeLinks()
	}
}
