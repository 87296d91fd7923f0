package policy

import (
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	insecurev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/insecure/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// The names of the filters that rate limits compile to.
const (
	localRateLimitFilter = "envoy.filters.http.local_ratelimit"
	rateLimitFilter      = "envoy.filters.http.ratelimit"
)

// rateLimitFilters are the filters of a name behind those of its rate limits. A client
// that does not know these makes its calls without; a server must not serve so.
func (c *compiler) rateLimitFilters(host string, filters []*Filter) []*Filter {
	_, server := inbound(host)
	local, service := c.scope.policy.hasRateLimits(host)
	var own *RateLimit
	if s := c.scope.policy.Services[host]; s != nil {
		own = s.RateLimit
	}
	var limits []*Filter
	if local {
		config := &localratelimitv3.LocalRateLimit{StatPrefix: host}
		if own != nil {
			config = localRateLimit(host, own, false)
		}
		limits = append(limits, &Filter{Name: localRateLimitFilter, Config: pack(config), Optional: !server})
	}
	if service {
		limits = append(limits, &Filter{Name: rateLimitFilter, Config: pack(serviceRateLimit(own)), Optional: !server})
	}
	return append(limits, filters...)
}

// hasRateLimits reports whether calls to a name may meet limits of the process and of a
// service.
func (p *Policy) hasRateLimits(host string) (local, service bool) {
	if s := p.Services[host]; s != nil && s.RateLimit != nil {
		local = s.RateLimit.TokenBucket != nil || len(s.RateLimit.Descriptors) > 0
		service = s.RateLimit.Service != nil
	}
	for _, r := range p.Routes[host] {
		local = local || r.RateLimit != nil && !r.RateLimit.Disabled
	}
	return local, service
}

// rateLimitOverrides adds what a route says of its limits.
func (c *compiler) rateLimitOverrides(host string, l *RateLimit, configs map[string]*anypb.Any) {
	if l == nil {
		return
	}
	_, server := inbound(host)
	local, service := c.scope.policy.hasRateLimits(host)
	if !l.Disabled {
		configs[localRateLimitFilter] = pack(&routev3.FilterConfig{Config: pack(localRateLimit(host, l, true)), IsOptional: !server})
		return
	}
	disabled := pack(&routev3.FilterConfig{Disabled: true, IsOptional: !server})
	if local {
		configs[localRateLimitFilter] = disabled
	}
	if service {
		configs[rateLimitFilter] = disabled
	}
}

// localRateLimit is a limit by buckets. An override must have one for all calls.
func localRateLimit(host string, l *RateLimit, override bool) *localratelimitv3.LocalRateLimit {
	all := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	m := &localratelimitv3.LocalRateLimit{
		StatPrefix: host, FilterEnabled: all, FilterEnforced: proto.CloneOf(all),
		Status:                                rateLimitStatus(l),
		MaxDynamicDescriptors:                 optionalUint32(l.MaxDynamicDescriptors),
		LocalRateLimitPerDownstreamConnection: l.PerConnection,
		RateLimitedAsResourceExhausted:        l.RateLimitedAsResourceExhausted,
	}
	if l.EnableXRatelimitHeaders {
		m.EnableXRatelimitHeaders = limitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03
	}
	switch {
	case l.TokenBucket != nil:
		m.TokenBucket = tokenBucket(l.TokenBucket)
	case override:
		m.TokenBucket = &typev3.TokenBucket{MaxTokens: math.MaxUint32, TokensPerFill: wrapperspb.UInt32(math.MaxUint32), FillInterval: durationpb.New(time.Second)}
		m.AlwaysConsumeDefaultTokenBucket = wrapperspb.Bool(false)
	}
	for _, d := range l.Descriptors {
		one := &limitv3.LocalRateLimitDescriptor{TokenBucket: tokenBucket(d.TokenBucket)}
		for _, e := range d.Entries {
			one.Entries = append(one.Entries, &limitv3.RateLimitDescriptor_Entry{Key: e.key(), Value: e.value()})
		}
		m.Descriptors = append(m.Descriptors, one)
	}
	m.RateLimits = rateLimitActions(l.Descriptors)
	return m
}

func serviceRateLimit(l *RateLimit) *ratelimitv3.RateLimit {
	s := l.Service
	m := &ratelimitv3.RateLimit{
		Domain: s.Domain, Timeout: optionalDuration(s.Timeout), FailureModeDeny: s.FailureMode == FailureDeny,
		RateLimitedAsResourceExhausted: l.RateLimitedAsResourceExhausted, RateLimitedStatus: rateLimitStatus(l),
		RateLimits: rateLimitActions(s.Descriptors),
		RateLimitService: &rlsv3.RateLimitServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
				TargetUri: s.Target, StatPrefix: s.Domain, ChannelCredentialsPlugin: []*anypb.Any{pack(&insecurev3.InsecureCredentials{})},
			}}},
		},
	}
	if l.EnableXRatelimitHeaders {
		m.EnableXRatelimitHeaders = ratelimitv3.RateLimit_DRAFT_VERSION_03
	}
	return m
}

func rateLimitStatus(l *RateLimit) *typev3.HttpStatus {
	if l.Status == nil {
		return nil
	}
	return &typev3.HttpStatus{Code: typev3.StatusCode(*l.Status)}
}

func tokenBucket(b *TokenBucket) *typev3.TokenBucket {
	return &typev3.TokenBucket{MaxTokens: b.MaxTokens, TokensPerFill: optionalUint32(b.TokensPerFill), FillInterval: durationpb.New(b.FillInterval)}
}

// rateLimitActions are what makes descriptors of calls. Descriptors that differ in the
// values of their entries are made once.
func rateLimitActions(list []*RateLimitDescriptor) (limits []*routev3.RateLimit) {
	for _, d := range list {
		one := &routev3.RateLimit{}
		for _, e := range d.Entries {
			one.Actions = append(one.Actions, e.action())
		}
		if !slices.ContainsFunc(limits, func(other *routev3.RateLimit) bool { return proto.Equal(one, other) }) {
			limits = append(limits, one)
		}
	}
	return limits
}

func (e *RateLimitEntry) action() *routev3.RateLimit_Action {
	switch {
	case e.Header != "":
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
			RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: strings.ToLower(e.Header), DescriptorKey: e.key()},
		}}
	case e.RemoteAddress:
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}}}
	default:
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
			GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorKey: e.key(), DescriptorValue: e.GenericKey},
		}}
	}
}

// key is what the entry is known by.
func (e *RateLimitEntry) key() string {
	switch {
	case e.RemoteAddress:
		return "remote_address"
	case e.Key != "":
		return e.Key
	case e.Header != "":
		return strings.ToLower(e.Header)
	default:
		return "generic_key"
	}
}

// value is the one that its bucket is for; empty for all.
func (e *RateLimitEntry) value() string {
	if e.GenericKey != "" {
		return e.GenericKey
	}
	return e.Value
}
