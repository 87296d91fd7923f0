package resolver

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"

	"github.com/weft-mesh/weft/balancer"
)

const aggregateURL = "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig"

// maxAggregateDepth is how deep aggregates may be nested (gRFC A37's graph, bounded as
// gRPC bounds it).
const maxAggregateDepth = 16

func isAggregate(m *clusterv3.Cluster) bool {
	return m.GetClusterType().GetTypedConfig().GetTypeUrl() == aggregateURL
}

// aggregate reads a cluster that is made of others. Its own balancing policy, which
// Envoy wants to be CLUSTER_PROVIDED, says nothing (gRFC A75).
func (p *path) aggregate(m *clusterv3.Cluster, c *balancer.Config) error {
	q := p.to("cluster_type").to("typed_config")
	var config aggregatev3.ClusterConfig
	if err := m.GetClusterType().GetTypedConfig().UnmarshalTo(&config); err != nil {
		return q.errorf("%w", err)
	}
	if len(config.GetClusters()) == 0 {
		return q.to("clusters").errorf("must not be empty")
	}
	for i, name := range config.GetClusters() {
		if name == "" {
			return q.at("clusters", i).errorf("must not be empty")
		}
	}
	c.Discovery, c.Clusters = balancer.DiscoverAggregate, config.GetClusters()
	return nil
}

// What follows runs on the resolver's goroutine.

// setBelow has the node be made of the nodes of these clusters.
func (n *clusterNode) setBelow(names []string) {
	old := n.below
	n.below = n.resolver.nodes(names)
	for _, child := range n.below {
		child.parents[n] = true
	}
	for _, child := range old {
		gone := true
		for _, kept := range n.below {
			gone = gone && kept != child
		}
		if gone {
			delete(child.parents, n)
			child.unused()
		}
	}
	if len(n.below) > 0 {
		n.compose()
	}
}

// compose makes the aggregate of the clusters that it is to be made of, once all of
// them are ready. Until then it is what it was.
func (n *clusterNode) compose() {
	l := &leaves{seen: make(map[*clusterNode]bool)}
	l.add(n, 0)
	switch {
	case l.tooDeep:
		n.cluster.Fail(fmt.Errorf("aggregates are nested deeper than %d", maxAggregateDepth))
	case l.waits:
	case len(l.list) == 0:
		n.cluster.Fail(fmt.Errorf("the aggregate has no clusters but itself"))
	default:
		n.cluster.Compose(l.list)
	}
}

// leaves are the clusters of an aggregate that are none themselves, in order and each
// once (gRFC A37).
type leaves struct {
	list    []*balancer.Cluster
	seen    map[*clusterNode]bool
	waits   bool
	tooDeep bool
}

func (l *leaves) add(n *clusterNode, depth int) {
	switch {
	case l.seen[n]:
		return
	case depth == maxAggregateDepth:
		l.tooDeep = true
		return
	}
	l.seen[n] = true
	switch {
	case len(n.below) > 0:
		for _, child := range n.below {
			l.add(child, depth+1)
		}
	case n.ready(): // or it fails, and the next one stands in for it
		l.list = append(l.list, n.cluster)
	default:
		l.waits = true
	}
}

// changedBelow has the aggregates that the node is a part of look again.
func (n *clusterNode) changedBelow() {
	if n.telling { // the graph has a cycle
		return
	}
	n.telling = true
	defer func() { n.telling = false }()
	for parent := range n.parents {
		parent.compose()
		parent.changed()
	}
}

// inUse reports whether a table or a call needs the node, or an aggregate that does so.
func (n *clusterNode) inUse(seen map[*clusterNode]bool) bool {
	if len(n.users)+len(n.pending)+len(n.demands) > 0 || n.local {
		return true
	}
	for parent := range n.parents {
		if seen[parent] {
			continue
		}
		if seen == nil {
			seen = make(map[*clusterNode]bool)
		}
		seen[parent] = true
		if parent.inUse(seen) {
			return true
		}
	}
	return false
}
