package call

import (
	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

// Every call earns and pays tokens of its cluster's throttle, whatever its route (gRFC A6):
// what a failure pays is for retries on other routes to notice. Of calls that policy may
// have tried again, attempts count; of others what is below. Nothing names their
// failures retriable, so that they pay only if the server asks not to be retried. Copies
// for mirroring count nowhere.

// Throttled reports whether the call's cluster has a throttle that counts servers' pushback
// of it by PushedBack.
func (c *Call) Throttled() bool {
	return c.Cluster.Limits().Throttle() != nil && !c.copied && (c.route.Attempts() == nil || !c.Retriable())
}

// PushedBack says that the server of an attempt pushed back so.
func (c *Call) PushedBack(p resilience.Pushback) {
	if p.Never && c.Throttled() {
		c.Cluster.Limits().Throttle().Failed()
	}
}

// earn counts the outcome of the only attempt of a call without a retry policy.
func (c *Call) earn(t *resilience.Throttle, o balancer.Outcome) {
	if o.Err != nil || c.copied || c.route.Attempts() != nil {
		return
	}
	if c.Request.GRPC && o.Code == 0 || !c.Request.GRPC && o.Code < 500 {
		t.Succeeded()
	}
}
