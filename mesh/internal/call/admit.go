package call

import (
	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

// An attempt counts among the requests of the cluster that its endpoint belongs to, from
// Pick to Done. For an aggregate that is one of its clusters, whose limits hold, as in Envoy
// and under gRFC A37; of its own, only those of retries do, which are counted before there
// is an endpoint. The attempt is counted there too, so that a retry budget has something to
// be a share of.

// dismiss counts an attempt no more at the call's own cluster.
func (c *Call) dismiss() {
	c.Cluster.Limits().Release(resilience.Requests, c.route.Priority())
}

// exceeded is why an attempt is not let in there.
func (c *Call) exceeded() error {
	return c.Cluster.Limits().Exceeded(c.Cluster.Name(), resilience.Requests, c.route.Priority())
}

// admitTo counts an attempt that has picked an endpoint of another cluster than the call's.
// A link that is refused is let go of.
func (c *Call) admitTo(link *balancer.Link) error {
	of, priority := link.Endpoint().Cluster(), c.route.Priority()
	if of.Limits().Acquire(resilience.Requests, priority) {
		return nil
	}
	link.Done(balancer.Outcome{Err: balancer.ErrUnsent})
	return of.Limits().Exceeded(of.Name(), resilience.Requests, priority)
}
