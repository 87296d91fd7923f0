package call

import (
	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

// An attempt counts among the requests of the cluster that its endpoint belongs to. For an
// aggregate that is one of its clusters, whose limits hold, as in Envoy and under gRFC A37;
// of its own, only those of retries do, which are counted before there is an endpoint. The
// attempt is counted there too, so that a retry budget has something to be a share of.

// admit counts an attempt that is about to pick from v.
func (c *Call) admit(v *balancer.View) error {
	limits, priority := c.Cluster.Limits(), c.route.Priority()
	if v.Aggregates() {
		limits.Add(resilience.Requests, priority)
		return nil
	}
	if !limits.Acquire(resilience.Requests, priority) {
		return limits.Exceeded(c.Cluster.Name(), resilience.Requests, priority)
	}
	return nil
}

// admitTo counts an attempt that has picked. A link that is refused is let go of.
func (c *Call) admitTo(link *balancer.Link) error {
	of, priority := link.Endpoint().Cluster(), c.route.Priority()
	if of == c.Cluster || of.Limits().Acquire(resilience.Requests, priority) {
		return nil
	}
	link.Done(balancer.Outcome{Err: balancer.ErrUnsent})
	return of.Limits().Exceeded(of.Name(), resilience.Requests, priority)
}

// leave ends what admit and admitTo began.
func (c *Call) leave(link *balancer.Link) {
	priority := c.route.Priority()
	c.Cluster.Limits().Release(resilience.Requests, priority)
	if of := link.Endpoint().Cluster(); of != c.Cluster {
		of.Limits().Release(resilience.Requests, priority)
	}
}
