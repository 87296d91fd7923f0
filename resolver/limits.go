package resolver

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

var thresholdsFields = fieldNames("priority", "max_connections", "max_pending_requests", "max_requests", "max_retries",
	"retry_budget", "track_remaining")

// limits reads circuit_breakers, but for what bounds one endpoint. Of several thresholds for one priority the first
// counts (Envoy; gRFC A32).
func (p *path) limits(m *clusterv3.Cluster, c *balancer.Config) error {
	limits := resilience.DefaultLimits
	b := m.GetCircuitBreakers()
	q := p.to("circuit_breakers")
	var seen [2]bool
	for i, t := range b.GetThresholds() {
		at := q.at("thresholds", i)
		at.warnUnread(t, thresholdsFields)
		priority, err := at.to("priority").priority(t.GetPriority())
		if err != nil {
			return err
		}
		if seen[priority] {
			continue
		}
		seen[priority] = true
		if limits.Thresholds[priority], err = at.thresholds(t); err != nil {
			return err
		}
	}
	throttle, err := p.to("metadata").throttle(m)
	if err != nil {
		return err
	}
	limits.Throttle = throttle
	if len(b.GetThresholds()) > 0 || throttle != nil {
		c.Limits = &limits
	}
	return nil
}

// priority reads a RoutingPriority.
func (p *path) priority(v corev3.RoutingPriority) (resilience.Priority, error) {
	switch v {
	case corev3.RoutingPriority_DEFAULT:
		return resilience.PriorityDefault, nil
	case corev3.RoutingPriority_HIGH:
		return resilience.PriorityHigh, nil
	default:
		return 0, p.errorf("unknown value %d", v)
	}
}

func (p *path) thresholds(m *clusterv3.CircuitBreakers_Thresholds) (resilience.Thresholds, error) {
	t := resilience.DefaultThresholds
	if v := m.GetMaxConnections(); v != nil {
		t.MaxConnections = v.GetValue()
	}
	if v := m.GetMaxPendingRequests(); v != nil {
		t.MaxPending = v.GetValue()
	}
	if v := m.GetMaxRequests(); v != nil {
		t.MaxRequests = v.GetValue()
	}
	if v := m.GetMaxRetries(); v != nil {
		t.MaxRetries = v.GetValue()
	}
	budget := m.GetRetryBudget()
	if budget == nil {
		return t, nil
	}
	t.Budget = &resilience.Budget{Percent: resilience.DefaultBudgetPercent, MinConcurrency: resilience.DefaultBudgetMinConcurrency}
	if v := budget.GetBudgetPercent(); v != nil {
		if n := v.GetValue(); math.IsNaN(n) || n < 0 || n > 100 {
			return t, p.to("retry_budget").to("budget_percent").errorf("%v is not a percentage", n)
		}
		t.Budget.Percent = v.GetValue()
	}
	if v := budget.GetMinRetryConcurrency(); v != nil {
		t.Budget.MinConcurrency = v.GetValue()
	}
	return t, nil
}

// ThrottleMetadata is the name under which a cluster's metadata carry gRFC A6's
// retryThrottling, for which xDS has no field. Who does not know it ignores it.
//
//	max_tokens: 10      1 to 1000
//	token_ratio: 0.1    above 0, to three decimal places
const ThrottleMetadata = "weft.retry_throttle"

func (p *path) throttle(m *clusterv3.Cluster) (*resilience.ThrottleConfig, error) {
	s := m.GetMetadata().GetFilterMetadata()[ThrottleMetadata]
	if s == nil {
		return nil, nil
	}
	q := p.to(ThrottleMetadata)
	most := s.GetFields()["max_tokens"].GetNumberValue()
	if !(most >= 1 && most <= 1000) || most != float64(int(most)) {
		return nil, q.to("max_tokens").errorf("%v is not a whole number from 1 to 1000", most)
	}
	ratio := s.GetFields()["token_ratio"].GetNumberValue()
	if !(ratio >= 0.001 && ratio <= 1000) {
		return nil, q.to("token_ratio").errorf("%v is not from 0.001 to 1000", ratio)
	}
	return &resilience.ThrottleConfig{MaxTokens: uint32(most), Ratio: uint32(math.Round(ratio * 1000))}, nil
}
