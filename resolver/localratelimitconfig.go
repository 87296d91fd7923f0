package resolver

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

var localLimitFields = fieldNames("stat_prefix", "status", "token_bucket", "filter_enabled", "filter_enforced",
	"request_headers_to_add_when_not_enforced", "response_headers_to_add", "descriptors", "stage",
	"local_rate_limit_per_downstream_connection", "enable_x_ratelimit_headers", "vh_rate_limits",
	"always_consume_default_token_bucket", "rate_limited_as_resource_exhausted", "rate_limits",
	"max_dynamic_descriptors", "enable_retry_after_header")

const (
	// minFill is the shortest fill_interval, as in Envoy.
	minFill = 50 * time.Millisecond
	// maxLimitHeaders bounds the headers that a limit changes.
	maxLimitHeaders = 10
	// defaultDynamic and mostDynamic are of max_dynamic_descriptors; Envoy has no most.
	defaultDynamic, mostDynamic = 20, 1 << 20
)

func (localLimitKind) Parse(c *filter.Config) (any, error) {
	var m localratelimitv3.LocalRateLimit
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	return filterDecoder(c).localLimit(&m, c.Override)
}

func (p *path) localLimit(m *localratelimitv3.LocalRateLimit, override bool) (*localLimitConfig, error) {
	p.warnUnread(m, localLimitFields)
	c := &localLimitConfig{
		maxDynamic: defaultDynamic, stage: m.GetStage(),
		status: limitedStatus(m.GetStatus()), code: limitedCode(m.GetRateLimitedAsResourceExhausted()),
		always:     m.GetAlwaysConsumeDefaultTokenBucket() == nil || m.GetAlwaysConsumeDefaultTokenBucket().GetValue(),
		xHeaders:   m.GetEnableXRatelimitHeaders() == limitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03,
		retryAfter: m.GetEnableRetryAfterHeader(),
		began:      time.Now(),
	}
	switch m.GetVhRateLimits() {
	case limitv3.VhRateLimitsOptions_OVERRIDE:
		c.host = unlessRouteHas
	case limitv3.VhRateLimitsOptions_INCLUDE:
		c.host = besideRoute
	case limitv3.VhRateLimitsOptions_IGNORE:
		c.host = never
	default:
		return nil, p.to("vh_rate_limits").errorf("unknown value %d", m.GetVhRateLimits())
	}
	if c.stage > maxStage {
		return nil, p.to("stage").errorf("%d is more than %d", c.stage, maxStage)
	}
	var err error
	if c.enabled, err = p.to("filter_enabled").limitShare(m.GetFilterEnabled()); err != nil {
		return nil, err
	}
	if c.enforced, err = p.to("filter_enforced").limitShare(m.GetFilterEnforced()); err != nil {
		return nil, err
	}
	if c.request, err = p.limitHeaders("request_headers_to_add_when_not_enforced", m.GetRequestHeadersToAddWhenNotEnforced(), false); err != nil {
		return nil, err
	}
	if c.response, err = p.limitHeaders("response_headers_to_add", m.GetResponseHeadersToAdd(), true); err != nil {
		return nil, err
	}
	if c.own, err = p.rateLimits(m.GetRateLimits(), ofLocalFilter); err != nil {
		return nil, err
	}
	switch {
	case m.GetTokenBucket() != nil:
		if c.forAll, err = p.to("token_bucket").tokenBucket(m.GetTokenBucket()); err != nil {
			return nil, err
		}
	case override:
		return nil, p.to("token_bucket").errorf("must be set in an override")
	}
	if err := p.localDescriptors(m, c); err != nil {
		return nil, err
	}
	c.buckets = newLocalBuckets(c, 0)
	if m.GetLocalRateLimitPerDownstreamConnection() {
		c.ofPeer, err = lru.New[string, *localBuckets](maxPeers)
	}
	return c, err
}

func (p *path) localDescriptors(m *localratelimitv3.LocalRateLimit, c *localLimitConfig) error {
	if most := m.GetMaxDynamicDescriptors(); most != nil {
		if most.GetValue() < 1 || most.GetValue() > mostDynamic {
			return p.to("max_dynamic_descriptors").errorf("%d is not from 1 to %d", most.GetValue(), mostDynamic)
		}
		c.maxDynamic = int(most.GetValue())
	}
	seen := make(map[string]bool)
	for i, one := range m.GetDescriptors() {
		q := p.at("descriptors", i)
		if len(one.GetEntries()) == 0 {
			return q.to("entries").errorf("must not be empty")
		}
		d := localDescriptor{shadow: one.GetShadowMode()}
		for j, e := range one.GetEntries() {
			if e.GetKey() == "" {
				return q.at("entries", j).to("key").errorf("must not be empty")
			}
			d.entries = append(d.entries, limitEntry{e.GetKey(), e.GetValue()})
		}
		k := string(key(nil, d.entries))
		if seen[k] {
			return q.errorf("is the same as another descriptor")
		}
		seen[k] = true
		if one.GetTokenBucket() == nil {
			return q.to("token_bucket").errorf("must be set")
		}
		bucket, err := q.to("token_bucket").tokenBucket(one.GetTokenBucket())
		if err != nil {
			return err
		}
		d.bucket = *bucket
		c.descriptors = append(c.descriptors, d)
	}
	return nil
}

// tokenBucket reads an envoy.type.v3.TokenBucket.
func (p *path) tokenBucket(m *typev3.TokenBucket) (*resilience.BucketConfig, error) {
	c := &resilience.BucketConfig{Max: m.GetMaxTokens(), Fill: 1}
	if fill := m.GetTokensPerFill(); fill != nil {
		if c.Fill = fill.GetValue(); c.Fill == 0 {
			return nil, p.to("tokens_per_fill").errorf("must be more than 0")
		}
	}
	every, err := p.duration("fill_interval", m.GetFillInterval())
	switch {
	case err != nil:
		return nil, err
	case !every.set || every.d == 0:
		return nil, p.to("fill_interval").errorf("must be more than 0")
	case every.d < minFill && c.Max > 0:
		return nil, p.to("fill_interval").errorf("%v is less than %v", every.d, minFill)
	}
	c.Every = every.d
	return c, nil
}

// limitShare reads which share of the requests something is for; nil for none.
func (p *path) limitShare(m *corev3.RuntimeFractionalPercent) (*fraction, error) {
	if m == nil {
		return nil, nil
	}
	return p.to("default_value").fraction(m.GetDefaultValue())
}

// limitHeaders reads headers that a limit adds.
func (p *path) limitHeaders(field string, list []*corev3.HeaderValueOption, response bool) (headerMutation, error) {
	if len(list) > maxLimitHeaders {
		return nil, p.to(field).errorf("has %d headers, more than %d", len(list), maxLimitHeaders)
	}
	var m headerMutation
	for i, o := range list {
		op, err := p.at(field, i).headerOption(o, response, 0)
		if err != nil {
			return nil, err
		}
		if op.value != nil {
			m = append(m, op)
		}
	}
	return m.inPhases(), nil
}

// tooManyRequests is the HTTP status of calls over a limit, if policy gives no other.
const tooManyRequests = 429

// limitedStatus is the status of calls over a limit. One below 400 is 429, as in Envoy.
func limitedStatus(m *typev3.HttpStatus) int {
	if code := int(m.GetCode()); code >= 400 && code <= 599 {
		return code
	}
	return tooManyRequests
}

// limitedCode is the gRPC status of calls over a limit; OK for the one that stands for
// their HTTP status.
func limitedCode(exhausted bool) codes.Code {
	if exhausted {
		return codes.ResourceExhausted
	}
	return codes.OK
}
