package resolver

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	overridehostv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/weft-mesh/weft/balancer"
)

var (
	overrideHostFields   = fieldNames("override_host_sources", "fallback_policy")
	overrideSourceFields = fieldNames("header")
)

// overrideHost reads
// envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost. Metadata of a
// request is nothing that a call has here: as a source of hosts it never has one.
func (p *path) overrideHost(m *overridehostv3.OverrideHost, c *balancer.Config, depth int) error {
	if len(m.GetOverrideHostSources()) == 0 {
		return p.to("override_host_sources").errorf("must not be empty")
	}
	for i, source := range m.GetOverrideHostSources() {
		q := p.at("override_host_sources", i)
		q.warnUnread(source, overrideSourceFields)
		name := source.GetHeader()
		switch {
		case (name != "") == (source.GetMetadata() != nil):
			return q.errorf("must have header or metadata, and not both")
		case name == "":
			continue
		case !httpguts.ValidHeaderFieldName(name):
			return q.to("header").errorf("%q is not the name of a header", name)
		}
		c.OverrideHeaders = append(c.OverrideHeaders, balancer.HeaderKey(*NewHeaderName(name)))
	}
	return p.to("fallback_policy").typedPolicy(m.GetFallbackPolicy(), c, depth+1)
}

// overrideHealth reads common_lb_config.override_host_status.
func (p *path) overrideHealth(m *corev3.HealthStatusSet, c *balancer.Config) error {
	if m == nil {
		return nil
	}
	if len(m.GetStatuses()) == 0 {
		c.OverrideHealth = balancer.NoHealth
	}
	for i, status := range m.GetStatuses() {
		h, err := health(status)
		if err != nil {
			return p.at("statuses", i).errorf("%w", err)
		}
		c.OverrideHealth |= balancer.Healths(h)
	}
	return nil
}
