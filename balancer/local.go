package balancer

import "sync"

// Local is where the process runs, and where the others of its kind do: what
// zone-aware balancing weighs against where a cluster's endpoints are. One serves all
// clusters of a mesh. All methods are safe for concurrent use.
type Local struct {
	locality Locality

	mu    sync.Mutex
	peers *peers             // nil while nothing is known of them
	views map[*View]struct{} // to have rebuilt when that changes
}

// peers are the endpoints of the cluster that the process is one of (Envoy's local
// cluster).
type peers struct {
	total, healthy int
	localities     map[Locality]peersAt
	weight         uint64 // of those that are healthy
}

type peersAt struct {
	total, healthy int
	weight         uint64 // of those that are healthy
}

// NewLocal returns a Local that knows nothing of the process's peers.
func NewLocal(l Locality) *Local {
	return &Local{locality: l, views: map[*View]struct{}{}}
}

// Locality returns where the process runs.
func (l *Local) Locality() Locality { return l.locality }

// Follow takes the endpoints of a cluster for the process's peers, from now on and as
// they change: their health is what their source and the cluster's checks say. It is
// for one cluster, once.
func (l *Local) Follow(c *Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peersOf = l
	l.learn(c.snapshot)
}

// learn takes over the peers. The caller holds the cluster's mu.
func (l *Local) learn(s *snapshot) {
	if l == nil {
		return
	}
	var p *peers
	if s.err == nil {
		p = &peers{localities: map[Locality]peersAt{}}
	}
	for i, m := range s.members {
		at := p.localities[m.endpoint.Locality()]
		at.total++
		p.total++
		if s.classes[i] == classHealthy {
			at.healthy++
			p.healthy++
			at.weight += uint64(m.weight)
			p.weight += uint64(m.weight)
		}
		p.localities[m.endpoint.Locality()] = at
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers = p
	for v := range l.views {
		v.wake(nil)
	}
}

// known returns the peers, nil if nothing is known of them.
func (l *Local) known() *peers {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers
}

func (l *Local) add(v *View) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.views[v] = struct{}{}
}

func (l *Local) remove(v *View) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.views, v)
}
