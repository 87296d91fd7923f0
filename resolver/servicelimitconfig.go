package resolver

import (
	"fmt"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"

	"github.com/weft-mesh/weft/filter"
)

var (
	serviceLimitFields = fieldNames("domain", "stage", "request_type", "timeout", "failure_mode_deny",
		"rate_limited_as_resource_exhausted", "rate_limit_service", "enable_x_ratelimit_headers",
		"disable_x_envoy_ratelimited_header", "rate_limited_status", "response_headers_to_add", "status_on_error",
		"stat_prefix", "filter_enabled", "filter_enforced", "failure_mode_deny_percent", "rate_limits",
		"enable_retry_after_header")
	serviceLimitOverrideFields = fieldNames("vh_rate_limits", "rate_limits", "domain")
)

// defaultLimitTimeout is Envoy's.
const defaultLimitTimeout = 20 * time.Millisecond

func (serviceLimitKind) Parse(c *filter.Config) (any, error) {
	p := filterDecoder(c)
	switch perRoute := filter.TypeName(c.TypeURL) == "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"; {
	case perRoute && c.Override:
		var m ratelimitv3.RateLimitPerRoute
		if err := c.Decode(&m); err != nil {
			return nil, err
		}
		return p.serviceLimitOverride(&m)
	case perRoute:
		return nil, p.errorf("RateLimitPerRoute is an override, not a filter")
	case c.Override:
		return nil, p.errorf("must be overridden by RateLimitPerRoute")
	}
	var m ratelimitv3.RateLimit
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	return p.serviceLimit(c, &m)
}

func (p *path) serviceLimit(c *filter.Config, m *ratelimitv3.RateLimit) (*serviceLimitConfig, error) {
	p.warnUnread(m, serviceLimitFields)
	v := &serviceLimitConfig{
		domain: m.GetDomain(), stage: m.GetStage(), timeout: defaultLimitTimeout, deny: m.GetFailureModeDeny(),
		status: limitedStatus(m.GetRateLimitedStatus()), statusOnError: 500, code: limitedCode(m.GetRateLimitedAsResourceExhausted()),
		xHeaders: m.GetEnableXRatelimitHeaders() == ratelimitv3.RateLimit_DRAFT_VERSION_03,
		noMark:   m.GetDisableXEnvoyRatelimitedHeader(), retryAfter: m.GetEnableRetryAfterHeader(),
		metadata: sync.OnceFunc(p.to("(dynamic_metadata of the service's answers)").warn),
	}
	switch m.GetRequestType() {
	case "", "both":
		v.internal, v.external = true, true
	case "internal":
		v.internal = true
	case "external":
		v.external = true
	default:
		return nil, p.to("request_type").errorf("%q is not internal, external or both", m.GetRequestType())
	}
	switch {
	case v.domain == "":
		return nil, p.to("domain").errorf("must not be empty")
	case v.stage > maxStage:
		return nil, p.to("stage").errorf("%d is more than %d", v.stage, maxStage)
	}
	timeout, err := p.duration("timeout", m.GetTimeout())
	if err != nil {
		return nil, err
	}
	if timeout.set {
		v.timeout = timeout.d
	}
	if s := m.GetStatusOnError(); s != nil {
		if v.statusOnError = int(s.GetCode()); v.statusOnError < 200 || v.statusOnError > 599 {
			return nil, p.to("status_on_error").to("code").errorf("%d is not from 200 to 599", v.statusOnError)
		}
	}
	for _, share := range []struct {
		field string
		from  *corev3.RuntimeFractionalPercent
		to    **fraction
	}{
		{"filter_enabled", m.GetFilterEnabled(), &v.enabled},
		{"filter_enforced", m.GetFilterEnforced(), &v.enforced},
		{"failure_mode_deny_percent", m.GetFailureModeDenyPercent(), &v.denies},
	} {
		if *share.to, err = p.to(share.field).limitShare(share.from); err != nil {
			return nil, err
		}
	}
	if v.response, err = p.limitHeaders("response_headers_to_add", m.GetResponseHeadersToAdd(), true); err != nil {
		return nil, err
	}
	if v.own, err = p.rateLimits(m.GetRateLimits(), ofServiceFilter); err != nil {
		return nil, err
	}
	q := p.to("rate_limit_service").to("grpc_service")
	switch service := m.GetRateLimitService().GetGrpcService(); {
	case service == nil:
		return nil, q.errorf("must be set")
	case service.GetEnvoyGrpc() != nil:
		q.to("envoy_grpc").warnFails() // the service fails, and the failure mode holds
	default:
		if v.service, err = c.Service(service); err != nil {
			return nil, fmt.Errorf("%s.%w", q, err)
		}
	}
	return v, nil
}

func (p *path) serviceLimitOverride(m *ratelimitv3.RateLimitPerRoute) (*serviceLimitOverride, error) {
	p.warnUnread(m, serviceLimitOverrideFields)
	v := &serviceLimitOverride{domain: m.GetDomain()}
	switch m.GetVhRateLimits() {
	case ratelimitv3.RateLimitPerRoute_OVERRIDE:
		v.host = unlessRouteHas
	case ratelimitv3.RateLimitPerRoute_INCLUDE:
		v.host = besideRoute
	case ratelimitv3.RateLimitPerRoute_IGNORE:
		v.host = never
	default:
		return nil, p.to("vh_rate_limits").errorf("unknown value %d", m.GetVhRateLimits())
	}
	var err error
	v.own, err = p.rateLimits(m.GetRateLimits(), ofServiceFilter)
	return v, err
}
