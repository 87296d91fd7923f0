package mesh

import (
	"sync"

	gresolver "google.golang.org/grpc/resolver"

	"github.com/weft-mesh/weft/balancer/grpclb"
	"github.com/weft-mesh/weft/resolver"
)

// Scheme and Build make the channel a builder of grpc resolvers.

func (ch *channel) Scheme() string { return meshScheme }

func (ch *channel) Build(_ gresolver.Target, cc gresolver.ClientConn, _ gresolver.BuildOptions) (gresolver.Resolver, error) {
	r := &channelResolver{cc: cc}
	r.unsubscribe = ch.target.Subscribe(r.update)
	return r, nil
}

// channelResolver tells a channel, while it is not idle, which clusters its
// target's newest table names. Routing does not wait for it.
type channelResolver struct {
	cc          gresolver.ClientConn
	unsubscribe func()

	mu      sync.Mutex
	next    *resolver.Table // not told yet
	telling bool            // a goroutine runs tell
	closed  bool
	idle    sync.WaitGroup
}

// update is called by the mesh's one engine, which must not wait for a channel:
// a short goroutine tells the newest table and ends.
func (r *channelResolver) update(t *resolver.Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = t
	if !r.telling && !r.closed {
		r.telling = true
		r.idle.Go(r.tell)
	}
}

func (r *channelResolver) tell() {
	for {
		r.mu.Lock()
		t := r.next
		r.next = nil
		if t == nil || r.closed {
			r.telling = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		// The error is the balancer's complaint about the resolver; there is nothing
		// to resolve again.
		_ = r.cc.UpdateState(grpclb.WithClusters(gresolver.State{}, t.Clusters()))
	}
}

// ResolveNow does nothing: tables come when they change.
func (r *channelResolver) ResolveNow(gresolver.ResolveNowOptions) {}

// Close may be called while cc waits for a lock that tell's update holds, so it
// does not wait for tell; cc ignores updates once closed.
func (r *channelResolver) Close() {
	r.unsubscribe()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}
