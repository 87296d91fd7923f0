package resolver

import (
	"context"
	"math/rand/v2"
	"time"

	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// adaptiveConcurrencyKind bounds the calls in flight by how long calls take
// (envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency; the
// algorithm is [resilience.Gradient]'s). The limit is one for all calls that pass the
// filter of a listener, on whatever route and by either protocol, and begins anew when
// the listener changes. Routes cannot override it, only disable it.
//
// A call is measured from the filter on to its end, with all its attempts: a stream for as
// long as it lasts, and a response until its body was read. Of a call that the
// caller gives up, nothing is learned. One that runs into its deadline counts, also
// where it is the caller's own, which Envoy cannot tell from giving up: a server that
// answers nobody in time has more calls than it can serve.
type adaptiveConcurrencyKind struct{}

func (adaptiveConcurrencyKind) Types() []string {
	return []string{filterTypes + "adaptive_concurrency.v3.AdaptiveConcurrency"}
}

var (
	adaptiveFields  = fieldNames("gradient_controller_config", "enabled", "concurrency_limit_exceeded_status")
	gradientFields  = fieldNames("sample_aggregate_percentile", "concurrency_limit_params", "min_rtt_calc_params")
	limitFields     = fieldNames("max_concurrency_limit", "min_concurrency_limit", "concurrency_update_interval")
	minRTTFields    = fieldNames("interval", "fixed_value", "request_count", "jitter", "min_concurrency", "buffer")
	gradientDefault = resilience.GradientConfig{MaxLimit: 1000, RequestCount: 50, MinConcurrency: 3}
)

func (adaptiveConcurrencyKind) Parse(c *filter.Config) (any, error) {
	p := filterDecoder(c)
	var m adaptivev3.AdaptiveConcurrency
	if c.Override {
		return nil, p.errorf("%w in overrides", ErrUnsupported)
	}
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	p.warnUnread(&m, adaptiveFields)
	if m.GetGradientControllerConfig() == nil {
		return nil, p.to("gradient_controller_config").errorf("must be set")
	}
	gradient, err := p.to("gradient_controller_config").gradient(m.GetGradientControllerConfig())
	if err != nil {
		return nil, err
	}
	status, err := p.to("concurrency_limit_exceeded_status").refusalStatus(m.GetConcurrencyLimitExceededStatus())
	if err != nil {
		return nil, err
	}
	f := &adaptiveConcurrency{refusal: newRefusal(status, "reached concurrency limit", "adaptive concurrency")}
	if switchedOn(m.GetEnabled()) {
		f.gradient = resilience.NewGradient(gradient, time.Now(), rand.Float64)
	}
	return f, nil
}

func (adaptiveConcurrencyKind) New(config any, _ []any) (filter.Filter, error) {
	if f := config.(*adaptiveConcurrency); f.gradient != nil {
		return f, nil
	}
	return nil, nil
}

// gradient reads a controller's configuration.
func (p *path) gradient(m *adaptivev3.GradientControllerConfig) (c resilience.GradientConfig, err error) {
	c = gradientDefault
	p.warnUnread(m, gradientFields)
	if c.Percentile, err = p.share("sample_aggregate_percentile", m.GetSampleAggregatePercentile(), 50); err != nil {
		return c, err
	}
	limit, rtt := m.GetConcurrencyLimitParams(), m.GetMinRttCalcParams()
	if limit == nil {
		return c, p.to("concurrency_limit_params").errorf("must be set")
	}
	if rtt == nil {
		return c, p.to("min_rtt_calc_params").errorf("must be set")
	}
	q := p.to("min_rtt_calc_params")
	if err := q.minRTT(rtt, &c); err != nil {
		return c, err
	}
	q = p.to("concurrency_limit_params")
	q.warnUnread(limit, limitFields)
	if c.MaxLimit, err = q.atLeastOne("max_concurrency_limit", limit.GetMaxConcurrencyLimit(), c.MaxLimit); err != nil {
		return c, err
	}
	if c.MinLimit, err = q.atLeastOne("min_concurrency_limit", limit.GetMinConcurrencyLimit(), c.MinConcurrency); err != nil {
		return c, err
	}
	var ok bool
	if c.UpdateInterval, ok, err = q.interval("concurrency_update_interval", limit.GetConcurrencyUpdateInterval(), 1); err == nil && !ok {
		err = q.to("concurrency_update_interval").errorf("must be set")
	}
	return c, err
}

// minRTT reads how the latency without load is known. A fixed value wins.
func (p *path) minRTT(m *adaptivev3.GradientControllerConfig_MinimumRTTCalculationParams, c *resilience.GradientConfig) (err error) {
	p.warnUnread(m, minRTTFields)
	if c.RequestCount, err = p.atLeastOne("request_count", m.GetRequestCount(), c.RequestCount); err != nil {
		return err
	}
	if c.MinConcurrency, err = p.atLeastOne("min_concurrency", m.GetMinConcurrency(), c.MinConcurrency); err != nil {
		return err
	}
	if c.Jitter, err = p.share("jitter", m.GetJitter(), 15); err != nil {
		return err
	}
	if c.Buffer, err = p.share("buffer", m.GetBuffer(), 25); err != nil {
		return err
	}
	var measured, fixed bool
	if c.MinRTTInterval, measured, err = p.interval("interval", m.GetInterval(), time.Millisecond); err != nil {
		return err
	}
	if c.FixedMinRTT, fixed, err = p.interval("fixed_value", m.GetFixedValue(), 1); err != nil {
		return err
	}
	if !measured && !fixed {
		return p.errorf("must have interval or fixed_value")
	}
	return nil
}

// adaptiveConcurrency is the filter. Without a controller it is none.
type adaptiveConcurrency struct {
	gradient *resilience.Gradient
	refusal  *refusal
}

func (f *adaptiveConcurrency) Request(_ context.Context, r *filter.Request) (filter.Follower, error) {
	now := time.Now()
	if !f.gradient.Admit(now) {
		return nil, f.refusal.of(r)
	}
	return &measuredCall{f.gradient, now}, nil
}

// measuredCall follows one call.
type measuredCall struct {
	gradient *resilience.Gradient
	began    time.Time
}

func (c *measuredCall) End(o filter.Outcome) {
	if gaveUp(o) {
		c.gradient.Cancel()
		return
	}
	c.gradient.Done(c.began, time.Now())
}
