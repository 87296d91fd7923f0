package policy

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	omithostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// defaultBaseInterval is Envoy's upstream.base_retry_backoff_ms.
const defaultBaseInterval = 25 * time.Millisecond

// What xDS has no field for goes as metadata, under names that package resolver
// documents and other clients ignore.
const (
	hedgeMetadata    = "weft.hedge"
	throttleMetadata = "weft.retry_throttle"
)

// retries sets what a route says of attempts.
func retries(route *routev3.Route, action *routev3.RouteAction, r *Route) {
	if r.Priority == PriorityHigh {
		action.Priority = corev3.RoutingPriority_HIGH
	}
	action.RetryPolicy = retryPolicy(r.Retry)
	if r.Retry != nil && r.Retry.BufferLimit != nil {
		route.PerRequestBufferLimitBytes = optionalUint32(r.Retry.BufferLimit)
	}
	h := r.Hedge
	if h == nil {
		return
	}
	if h.OnPerTryTimeout {
		action.HedgePolicy = &routev3.HedgePolicy{HedgeOnPerTryTimeout: true}
	}
	fields := map[string]*structpb.Value{}
	if h.Delay != nil {
		fields["delay"] = structpb.NewStringValue(h.Delay.String())
	}
	if h.Quantile != nil {
		fields["quantile"] = structpb.NewNumberValue(float64(*h.Quantile) / 1_000_000)
	}
	if len(fields) > 0 {
		route.Metadata = metadata(hedgeMetadata, fields)
	}
}

func metadata(name string, fields map[string]*structpb.Value) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{name: {Fields: fields}}}
}

func retryPolicy(r *Retry) *routev3.RetryPolicy {
	if r == nil {
		return nil
	}
	m := &routev3.RetryPolicy{
		RetryOn:              r.retryOn(),
		RetriableStatusCodes: r.StatusCodes,
		PerTryTimeout:        optionalDuration(r.PerTryTimeout),
		PerTryIdleTimeout:    optionalDuration(r.PerTryIdleTimeout),
	}
	if r.Attempts != nil {
		m.NumRetries = wrapperspb.UInt32(*r.Attempts - 1)
	}
	for _, name := range sortedKeys(r.Headers) {
		m.RetriableHeaders = append(m.RetriableHeaders, headerMatcher(name, r.Headers[name]))
	}
	for _, name := range sortedKeys(r.RequestHeaders) {
		m.RetriableRequestHeaders = append(m.RetriableRequestHeaders, headerMatcher(name, r.RequestHeaders[name]))
	}
	for _, method := range r.Methods {
		m.RetriableRequestHeaders = append(m.RetriableRequestHeaders, headerMatcher(":method", &HeaderMatch{Exact: &method}))
	}
	if b := r.BackOff; b != nil {
		// xDS requires the base.
		m.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(defaultBaseInterval), MaxInterval: optionalDuration(b.MaxInterval)}
		if b.BaseInterval != nil {
			m.RetryBackOff.BaseInterval = durationpb.New(*b.BaseInterval)
		}
	}
	if b := r.RateLimitedBackOff; b != nil {
		m.RateLimitedRetryBackOff = &routev3.RetryPolicy_RateLimitedRetryBackOff{MaxInterval: optionalDuration(b.MaxInterval)}
		for _, name := range sortedKeys(b.ResetHeaders) {
			header := &routev3.RetryPolicy_ResetHeader{Name: name}
			if b.ResetHeaders[name] == ResetUnixTimestamp {
				header.Format = routev3.RetryPolicy_UNIX_TIMESTAMP
			}
			m.RateLimitedRetryBackOff.ResetHeaders = append(m.RateLimitedRetryBackOff.ResetHeaders, header)
		}
	}
	if r.PreviousHosts == nil || *r.PreviousHosts {
		m.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&previoushostsv3.PreviousHostsPredicate{})},
		}}
	}
	for _, labels := range r.OmitHosts {
		m.RetryHostPredicate = append(m.RetryHostPredicate, &routev3.RetryPolicy_RetryHostPredicate{
			Name:       "envoy.retry_host_predicates.omit_host_metadata",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&omithostsv3.OmitHostMetadataConfig{MetadataMatch: labels.metadata()})},
		})
	}
	if p := r.PreviousPriorities; p != nil {
		config := &prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 1}
		if p.UpdateFrequency != nil {
			config.UpdateFrequency = int32(*p.UpdateFrequency)
		}
		m.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name:       "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: pack(config)},
		}
	}
	if len(m.RetryHostPredicate) > 0 {
		m.HostSelectionRetryMaxAttempts = hostSelectionAttempts
	}
	return m
}

// hostSelectionAttempts is how often Envoy draws an endpoint that a retry may go to
// before it takes what it got. Weft's clients look for one.
const hostSelectionAttempts = 5

// circuitBreakers are the limits, at each priority that has any.
func circuitBreakers(l *Limits) *clusterv3.CircuitBreakers {
	if l == nil {
		return nil
	}
	b := &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     optionalUint32(l.MaxConnections),
		MaxPendingRequests: optionalUint32(l.MaxPendingRequests),
		MaxRequests:        optionalUint32(l.MaxRequests),
		MaxRetries:         optionalUint32(l.MaxRetries),
		RetryBudget:        retryBudget(l.RetryBudget),
	}}}
	if h := l.High; h != nil {
		b.Thresholds = append(b.Thresholds, &clusterv3.CircuitBreakers_Thresholds{
			Priority:           corev3.RoutingPriority_HIGH,
			MaxConnections:     optionalUint32(h.MaxConnections),
			MaxPendingRequests: optionalUint32(h.MaxPendingRequests),
			MaxRequests:        optionalUint32(h.MaxRequests),
			MaxRetries:         optionalUint32(h.MaxRetries),
			RetryBudget:        retryBudget(h.RetryBudget),
		})
	}
	return b
}

func retryBudget(b *RetryBudget) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	if b == nil {
		return nil
	}
	m := &clusterv3.CircuitBreakers_Thresholds_RetryBudget{MinRetryConcurrency: optionalUint32(b.MinRetryConcurrency)}
	if b.BudgetPercent != nil {
		m.BudgetPercent = &typev3.Percent{Value: float64(*b.BudgetPercent) / 10_000}
	}
	return m
}

// retryThrottling is metadata of a cluster, nil for none.
func retryThrottling(l *Limits) *corev3.Metadata {
	if l == nil || l.RetryThrottling == nil {
		return nil
	}
	return metadata(throttleMetadata, map[string]*structpb.Value{
		"max_tokens":  structpb.NewNumberValue(float64(l.RetryThrottling.MaxTokens)),
		"token_ratio": structpb.NewNumberValue(float64(l.RetryThrottling.TokenRatio) / 1_000_000),
	})
}
