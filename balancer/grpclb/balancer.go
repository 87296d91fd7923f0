package grpclb

import (
	"fmt"
	"sync"

	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	gresolver "google.golang.org/grpc/resolver"

	"github.com/weft-mesh/weft/balancer"
)

// Name is what service config calls this balancer.
const Name = "weft_experimental"

// ServiceConfig selects this balancer; for grpc.WithDefaultServiceConfig.
const ServiceConfig = `{"loadBalancingConfig":[{"` + Name + `":{}}]}`

func init() { gbalancer.Register(builder{}) }

type clustersKey struct{}

// WithClusters returns a copy of state that tells the channel's balancer which
// clusters its calls may be routed to. The slice must not be changed afterwards.
func WithClusters(state gresolver.State, clusters []*balancer.Cluster) gresolver.State {
	state.Attributes = state.Attributes.WithValue(clustersKey{}, clusterList{clusters})
	return state
}

// clusterList is comparable by grpc's attributes, as a slice is not.
type clusterList struct{ clusters []*balancer.Cluster }

func (l clusterList) Equal(o any) bool { return false }

type builder struct{}

func (builder) Name() string { return Name }

func (builder) Build(cc gbalancer.ClientConn, o gbalancer.BuildOptions) gbalancer.Balancer {
	return &channel{cc: cc, target: o.Target.Endpoint()}
}

// channel balances one ClientConn while it is not idle.
type channel struct {
	cc     gbalancer.ClientConn
	target string // what the application dialled, "orders:8080"

	// mu orders publications and guards the fields below. Views call publish from
	// goroutines of their own.
	mu     sync.Mutex
	views  map[*balancer.Cluster]*balancer.View // replaced, never changed
	closed bool
}

// UpdateClientConnState opens views of new clusters, publishes, and closes the
// views of those that went away.
func (c *channel) UpdateClientConnState(s gbalancer.ClientConnState) error {
	list, ok := s.ResolverState.Attributes.Value(clustersKey{}).(clusterList)
	if !ok {
		return fmt.Errorf("%w: the resolver named no clusters; %s works only under mesh.Dial", gbalancer.ErrBadResolverState, Name)
	}
	c.mu.Lock()
	old := c.views
	c.mu.Unlock()

	views := make(map[*balancer.Cluster]*balancer.View, len(list.clusters))
	for _, cluster := range list.clusters {
		if views[cluster] != nil {
			continue
		}
		v := old[cluster]
		if v == nil {
			v = cluster.View(connector{c.cc, c.target}, balancer.ViewOptions{GRPC: true, Changed: c.publish})
		}
		views[cluster] = v
	}
	c.mu.Lock()
	c.views = views
	c.mu.Unlock()
	c.publish()
	for cluster, v := range old {
		if views[cluster] == nil {
			v.Close()
		}
	}
	return nil
}

// publish hands grpc a picker. Each one wakes the calls that wait for a change,
// so it is called whenever a view's answer may have changed.
func (c *channel) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.cc.UpdateState(gbalancer.State{
		ConnectivityState: aggregate(c.views),
		Picker:            newPicker(c.views),
	})
}

// aggregate says of a channel what is best among its clusters: one that works
// makes it READY.
func aggregate(views map[*balancer.Cluster]*balancer.View) connectivity.State {
	var ready, connecting, idle bool
	for _, v := range views {
		switch state, _ := v.State(); state {
		case balancer.Ready:
			ready = true
		case balancer.Connecting:
			connecting = true
		case balancer.Idle:
			idle = true
		}
	}
	switch {
	case ready:
		return connectivity.Ready
	case connecting || len(views) == 0:
		return connectivity.Connecting
	case idle:
		return connectivity.Idle
	default:
		return connectivity.TransientFailure
	}
}

// ResolverError keeps what the channel has: the mesh reports errors through tables.
func (c *channel) ResolverError(error) {}

// UpdateSubConnState is not called: every SubConn has a listener.
func (c *channel) UpdateSubConnState(gbalancer.SubConn, gbalancer.SubConnState) {}

// ExitIdle does nothing: views connect by their policy.
func (c *channel) ExitIdle() {}

// Close closes the views and with them the SubConns.
func (c *channel) Close() {
	c.mu.Lock()
	c.closed = true
	views := c.views
	c.views = nil
	c.mu.Unlock()
	for _, v := range views {
		v.Close()
	}
}
