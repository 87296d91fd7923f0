package call

import (
	"errors"
	"strings"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
)

// override is the endpoint that the call is to go to: what a filter chose, else what the
// call names in a header that the cluster's policy goes by.
func (c *Call) override(v *balancer.View) balancer.Override {
	if p := c.passed; p != nil && p.request.Override.Address != "" {
		return balancer.Override{Addresses: p.request.Override.Address, Strict: p.request.Override.Strict}
	}
	headers := v.Overrides()
	if len(headers) == 0 || c.Request.Headers == nil {
		return balancer.Override{}
	}
	var addresses []string
	for i := range headers {
		// The first value of a header counts, as in Envoy.
		if list := c.Request.Headers.Values((*resolver.HeaderName)(&headers[i])); len(list) > 0 && list[0] != "" {
			addresses = append(addresses, list[0])
		}
	}
	return balancer.Override{Addresses: strings.Join(addresses, ","), AnyHealth: true}
}

// prefer has the call go to the cluster that a filter chose, if its route has it (gRFC
// A60).
func (c *Call) prefer() {
	p := c.passed
	if p == nil || p.request.Override.Cluster == "" || c.Cluster == nil || c.Cluster.Name() == p.request.Override.Cluster {
		return
	}
	if to := c.route.To(p.request.Override.Cluster); to != nil {
		c.Cluster, c.to = to.Cluster, to
	}
}

// overridden is the answer to a call whose endpoint is not in its cluster, if a filter
// said which; else nil.
func (c *Call) overridden(err error) error {
	var refused *balancer.OverrideError
	if c.passed == nil || c.passed.request.Override.Missing == 0 || !errors.As(err, &refused) || !refused.Missing {
		return nil
	}
	return &filter.Reply{Status: c.passed.request.Override.Missing, Err: c.Target.refuse(ErrNoEndpoints, 0, err)}
}
