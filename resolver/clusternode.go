package resolver

import (
	"errors"
	"fmt"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver/xds"
)

// clusterNode keeps one cluster up to date. It belongs to the resolver's goroutine.
// A change of endpoints goes straight to the cluster: no table is touched.
type clusterNode struct {
	resolver *Resolver
	name     string
	cluster  *balancer.Cluster

	// The targets whose newest table, or next one, refers to the cluster. Without
	// any, the node lingers.
	users, pending map[*Target]bool
	// Those who keep the node beside tables: calls that named it, and aggregates.
	demands   map[*demand]bool
	parents   map[*clusterNode]bool // aggregates that it is a part of
	lingering *time.Timer
	local     bool // the process's own; it never lingers

	below   []*clusterNode // what an aggregate is made of
	telling bool           // changedBelow is under way

	cds, eds   *subscription
	edsName    string
	configured bool  // the Cluster resource came, or its failure did
	assigned   bool  // the same of the ClusterLoadAssignment
	waiting    error // why something has not come, if the source says

	current *cluster // what the cluster was configured with; nil before and after failures
	settles bool     // a goroutine waits for the cluster to settle

	// Why a resource is gone, while tables that need it are on their way out.
	clusterGone, endpointsGone error
	// missing says that the calls fail because a resource does not exist.
	missing bool
}

// nodes returns the nodes of clusters.
func (r *Resolver) nodes(names []string) []*clusterNode {
	nodes := make([]*clusterNode, len(names))
	for i, name := range names {
		n := r.clusters[name]
		if n == nil {
			n = &clusterNode{
				resolver: r,
				name:     name,
				cluster:  r.config.NewCluster(name),
				users:    make(map[*Target]bool),
				pending:  make(map[*Target]bool),
				demands:  make(map[*demand]bool),
				parents:  make(map[*clusterNode]bool),
			}
			r.clusters[name] = n
		}
		n.watch()
		nodes[i] = n
	}
	return nodes
}

// watch watches the cluster's resource, if it is not watched.
func (n *clusterNode) watch() {
	if n.lingering != nil {
		n.lingering.Stop()
		n.lingering = nil
	}
	if n.cds == nil {
		n.cds = n.resolver.box.subscribe(n.resolver.config.Source, ClusterURL, n.name, n.clusterNews)
	}
}

// unwatch ends the watches; the cluster stays as it is.
func (n *clusterNode) unwatch() {
	n.cds.cancel()
	n.cds, n.configured, n.clusterGone, n.missing = nil, false, nil, false
	delete(n.resolver.gone, n)
	n.unwatchEndpoints()
	n.setBelow(nil)
}

func (n *clusterNode) unwatchEndpoints() {
	n.eds.cancel()
	n.eds, n.edsName, n.assigned, n.endpointsGone = nil, "", false, nil
}

// unused is to be called when a target let go of the node. If it was the last, the
// cluster is closed after a while: calls that were routed by the table before may
// still be on their way to it.
func (n *clusterNode) unused() {
	if n.lingering != nil || n.inUse(nil) {
		return
	}
	n.unwatch()
	r := n.resolver
	var timer *time.Timer
	timer = time.AfterFunc(r.config.Linger, func() {
		r.box.do(func() {
			if n.lingering == timer {
				delete(r.clusters, n.name)
				n.close()
			}
		})
	})
	n.lingering = timer
}

// close ends the node.
func (n *clusterNode) close() {
	if n.lingering != nil {
		n.lingering.Stop()
	}
	n.unwatch()
	n.cluster.Close()
}

// clusterNews applies news of the Cluster resource.
func (n *clusterNode) clusterNews(news news) {
	switch {
	case news.resource != nil:
		n.configured, n.waiting, n.clusterGone, n.missing = true, nil, nil, false
		c, ok := news.resource.Value.(*cluster)
		if !ok {
			n.fail(errors.New("the source does not decode with resolver.Types"))
			break
		}
		n.configure(c)
	case unavailable(news.err):
		n.waiting = news.err
	case news.err != nil:
		n.configured, n.waiting, n.clusterGone = true, nil, news.err
		n.settleDeletion()
	}
	n.changed()
}

// endpointNews applies news of the ClusterLoadAssignment.
func (n *clusterNode) endpointNews(news news) {
	switch {
	case news.resource != nil:
		n.assigned, n.waiting, n.endpointsGone, n.missing = true, nil, nil, false
		a, ok := news.resource.Value.(*balancer.Assignment)
		if !ok {
			n.cluster.Fail(errors.New("the source does not decode with resolver.Types"))
			break
		}
		n.cluster.Assign(a)
	case unavailable(news.err):
		n.waiting = news.err
	case news.err != nil:
		n.assigned, n.waiting = true, nil
		n.endpointsGone = news.err
		n.settleDeletion()
	}
	n.changed()
}

// configure gives the cluster another configuration.
func (n *clusterNode) configure(c *cluster) {
	if c.unsupported != nil {
		n.fail(c.unsupported)
		return
	}
	if n.current != nil {
		c = c.keepSockets(n.current)
	}
	n.current = c
	n.cluster.Configure(c.config) // the endpoints that there are stay until others come
	n.setBelow(c.config.Clusters)
	name := c.edsName()
	if name == n.edsName {
		return
	}
	n.unwatchEndpoints()
	if name != "" {
		n.edsName = name
		n.eds = n.resolver.box.subscribe(n.resolver.config.Source, EndpointsURL, name, n.endpointNews)
	}
}

// edsName is the name of the cluster's ClusterLoadAssignment, if it has one.
func (c *cluster) edsName() string {
	switch {
	case c.config.Discovery != balancer.DiscoverEDS:
		return ""
	case c.config.EDSName != "":
		return c.config.EDSName
	default:
		return c.name
	}
}

// fail makes the cluster's calls fail, until its resource changes.
func (n *clusterNode) fail(err error) {
	n.unwatchEndpoints()
	n.setBelow(nil)
	n.current = nil
	n.cluster.Fail(err)
}

// settleDeletion takes away what there is no more. While a table that no longer
// needs the cluster is on its way, the cluster is left as it was: policy moved on,
// and a table that has to wait for others must not fail the calls until then.
func (n *clusterNode) settleDeletion() {
	err := n.clusterGone
	if err == nil {
		err = n.endpointsGone
	}
	delete(n.resolver.gone, n)
	if err == nil {
		return
	}
	if errors.Is(err, xds.ErrNotFound) && n.current != nil && len(n.users)+len(n.parents) == 0 && n.isSettled() {
		// It came back into a table that is not published, and is gone again. Calls
		// that an older table routed still go to what it was.
		n.missing = true
		return
	}
	if errors.Is(err, xds.ErrNotFound) && n.current != nil && n.leaving() {
		n.resolver.gone[n] = true
		return
	}
	n.missing = errors.Is(err, xds.ErrNotFound)
	if n.clusterGone != nil {
		n.clusterGone = nil
		n.fail(err)
		return
	}
	n.endpointsGone = nil
	n.cluster.Fail(err)
}

// leaving reports whether some target's next table does without the cluster.
func (n *clusterNode) leaving() bool {
	for t := range n.users {
		if t.unsure || t.pending != nil && !n.pending[t] {
			return true
		}
	}
	return false
}

// ready reports whether a table that refers to the cluster can be published.
func (n *clusterNode) ready() bool {
	return n.configured && (n.eds == nil || n.assigned) && n.isSettled()
}

func (n *clusterNode) isSettled() bool {
	select {
	case <-n.cluster.Settled():
		return true
	default:
		return false
	}
}

// changed has the targets that wait for the cluster look again.
func (n *clusterNode) changed() {
	for t := range n.pending {
		n.resolver.dirty[t] = true
	}
	for d := range n.demands {
		d.look()
	}
	n.changedBelow()
	if n.ready() {
		return
	}
	if !n.configured || n.eds != nil && !n.assigned || n.settles || len(n.below) > 0 || len(n.pending)+len(n.demands)+len(n.parents) == 0 {
		return
	}
	// Name servers are being asked, or endpoints checked.
	n.settles = true
	r := n.resolver
	r.waits.Go(func() {
		select {
		case <-n.cluster.Settled():
			r.box.do(n.changed)
		case <-r.stop:
		}
	})
}

// awaited says what is waited for.
func (n *clusterNode) awaited() string {
	var s string
	switch {
	case !n.configured:
		s = fmt.Sprintf("cluster %q", n.name)
	case n.eds != nil && n.assigned:
		s = fmt.Sprintf("health checks of cluster %q", n.name)
	case len(n.below) > 0:
		s = fmt.Sprintf("the clusters of aggregate %q", n.name)
	case n.eds != nil:
		s = fmt.Sprintf("endpoints %q of cluster %q", n.edsName, n.name)
	default:
		s = fmt.Sprintf("addresses of cluster %q", n.name)
	}
	if n.waiting != nil {
		s += fmt.Sprintf(" (%v)", n.waiting)
	}
	return s
}
