package resolver

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	omithostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

// omitted are the labels of endpoints that retries leave out as long as there are others
// (envoy.retry_host_predicates.omit_host_metadata, omit_canary_hosts): an endpoint that has
// all labels of one of the sets.
type omitted []map[string]balancer.Value

// hostPredicates reads which endpoints retries leave out. Envoy draws
// host_selection_retry_max_attempts times and then takes what it got; here other endpoints
// are looked for, whatever that says.
func (p *path) hostPredicates(m *routev3.RetryPolicy, r *resilience.Retry, to *attempts) error {
	for i, h := range m.GetRetryHostPredicate() {
		q := p.at("retry_host_predicate", i)
		switch typeName(h.GetTypedConfig().GetTypeUrl()) {
		case "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate":
			r.PreviousHosts = true
		case "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate":
			to.omitted = append(to.omitted, map[string]balancer.Value{"canary": balancer.True})
		case "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig":
			var config omithostsv3.OmitHostMetadataConfig
			if err := h.GetTypedConfig().UnmarshalTo(&config); err != nil {
				return q.to("typed_config").errorf("%w", err)
			}
			if labels := values(config.GetMetadataMatch().GetFilterMetadata()[labelsKey]); len(labels) > 0 {
				to.omitted = append(to.omitted, labels)
			}
		default:
			q.to(h.GetName()).warn()
		}
	}
	return nil
}

// retryPriority reads which priorities further attempts go to.
func (p *path) retryPriority(m *routev3.RetryPolicy_RetryPriority, r *resilience.Retry) error {
	if m == nil {
		return nil
	}
	p = p.to("retry_priority")
	if typeName(m.GetTypedConfig().GetTypeUrl()) != "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig" {
		p.warn()
		return nil
	}
	var config prioritiesv3.PreviousPrioritiesConfig
	if err := m.GetTypedConfig().UnmarshalTo(&config); err != nil {
		return p.to("typed_config").errorf("%w", err)
	}
	if config.GetUpdateFrequency() <= 0 {
		return p.to("typed_config").to("update_frequency").errorf("%d is not greater than zero", config.GetUpdateFrequency())
	}
	r.UpdateFrequency = int(config.GetUpdateFrequency())
	return nil
}

// Omits reports whether retries leave an endpoint with these labels out if they can.
func (r *Route) Omits(labels map[string]balancer.Value) bool {
	for _, set := range r.attempts.omitted {
		if has(labels, set) {
			return true
		}
	}
	return false
}

// OmitsAny reports whether there are endpoints that retries leave out.
func (r *Route) OmitsAny() bool { return len(r.attempts.omitted) > 0 }

func has(labels, set map[string]balancer.Value) bool {
	for key, want := range set {
		if got, ok := labels[key]; !ok || got != want {
			return false
		}
	}
	return true
}
