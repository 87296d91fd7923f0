package policy

import (
	"cmp"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// defaultBaseEjectionTime is Envoy's.
const defaultBaseEjectionTime = 30 * time.Second

func outlierDetection(o *OutlierDetection) *clusterv3.OutlierDetection {
	if o == nil {
		return nil
	}
	always := o.MaxEjectionPercent == nil || *o.MaxEjectionPercent > 0
	if o.AlwaysEjectOneHost != nil {
		always = *o.AlwaysEjectOneHost
	}
	detection := &clusterv3.OutlierDetection{
		Interval:              optionalDuration(o.Interval),
		BaseEjectionTime:      optionalDuration(o.BaseEjectionTime),
		MaxEjectionTime:       optionalDuration(o.MaxEjectionTime),
		MaxEjectionTimeJitter: optionalDuration(o.MaxEjectionTimeJitter),
		MaxEjectionPercent:    optionalUint32(o.MaxEjectionPercent),
		AlwaysEjectOneHost:    wrapperspb.Bool(always),

		Consecutive_5Xx:                        optionalUint32(o.Consecutive5xx),
		EnforcingConsecutive_5Xx:               optionalUint32(o.EnforcingConsecutive5xx),
		SplitExternalLocalOriginErrors:         o.SplitExternalLocalOriginErrors,
		ConsecutiveLocalOriginFailure:          optionalUint32(o.ConsecutiveLocalOriginFailure),
		EnforcingConsecutiveLocalOriginFailure: optionalUint32(o.EnforcingConsecutiveLocalOriginFailure),

		SuccessRateMinimumHosts:         optionalUint32(o.SuccessRateMinimumHosts),
		SuccessRateRequestVolume:        optionalUint32(o.SuccessRateRequestVolume),
		SuccessRateStdevFactor:          optionalUint32(o.SuccessRateStdevFactor),
		EnforcingSuccessRate:            optionalUint32(o.EnforcingSuccessRate),
		EnforcingLocalOriginSuccessRate: optionalUint32(o.EnforcingLocalOriginSuccessRate),

		FailurePercentageThreshold:            optionalUint32(o.FailurePercentageThreshold),
		FailurePercentageMinimumHosts:         optionalUint32(o.FailurePercentageMinimumHosts),
		FailurePercentageRequestVolume:        optionalUint32(o.FailurePercentageRequestVolume),
		EnforcingFailurePercentage:            optionalUint32(o.EnforcingFailurePercentage),
		EnforcingFailurePercentageLocalOrigin: optionalUint32(o.EnforcingFailurePercentageLocalOrigin),
	}
	if base := durationOr(o.BaseEjectionTime, defaultBaseEjectionTime); o.MaxEjectionTime == nil && base > 5*time.Minute {
		detection.MaxEjectionTime = durationpb.New(base) // which clients take less for a mistake
	}
	if o.Consecutive5xx != nil && *o.Consecutive5xx == 0 {
		detection.Consecutive_5Xx = nil
		detection.EnforcingConsecutive_5Xx = wrapperspb.UInt32(0)
	}
	if n := o.ConsecutiveLocalOriginFailure; n != nil && *n == 0 {
		detection.ConsecutiveLocalOriginFailure = nil
		detection.EnforcingConsecutiveLocalOriginFailure = wrapperspb.UInt32(0)
	}
	// By default Envoy counts gateway failures and failure percentages and does not act.
	if n := o.ConsecutiveGatewayFailure; n != nil && *n > 0 {
		detection.ConsecutiveGatewayFailure = wrapperspb.UInt32(*n)
		detection.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(100)
		if o.EnforcingConsecutiveGatewayFailure != nil {
			detection.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(*o.EnforcingConsecutiveGatewayFailure)
		}
	}
	if o.FailurePercentageThreshold != nil && o.EnforcingFailurePercentage == nil {
		detection.EnforcingFailurePercentage = wrapperspb.UInt32(100)
	}
	if o.SuccessRate != nil && !*o.SuccessRate {
		detection.EnforcingSuccessRate = wrapperspb.UInt32(0)
		if o.SplitExternalLocalOriginErrors {
			detection.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
		}
	}
	if uneject := o.SuccessfulActiveHealthCheckUnejectHost; uneject != nil {
		detection.SuccessfulActiveHealthCheckUnejectHost = wrapperspb.Bool(*uneject)
	}
	return detection
}

func durationOr(d *time.Duration, unset time.Duration) time.Duration {
	if d == nil {
		return unset
	}
	return *d
}

// setHealthChecks has endpoints that policy takes away go at once. Envoy would else keep
// those that pass their checks.
func setHealthChecks(cluster *clusterv3.Cluster, name string, s *Service) {
	for i, c := range s.HealthChecks {
		check := healthCheck(c, name, s.Protocol)
		if len(s.HealthChecks) > 1 {
			check.Name = strconv.Itoa(i) // Envoy wants one then
		}
		cluster.HealthChecks = append(cluster.HealthChecks, check)
		cluster.IgnoreHealthOnHostRemoval = true
	}
}

func healthCheck(c *HealthCheck, service string, protocol Protocol) *corev3.HealthCheck {
	check := &corev3.HealthCheck{
		Interval:                 durationpb.New(durationOr(c.Interval, 5*time.Second)),
		Timeout:                  durationpb.New(durationOr(c.Timeout, time.Second)),
		UnhealthyThreshold:       wrapperspb.UInt32(3),
		HealthyThreshold:         wrapperspb.UInt32(2),
		InitialJitter:            optionalDuration(c.InitialJitter),
		IntervalJitter:           optionalDuration(c.IntervalJitter),
		IntervalJitterPercent:    c.IntervalJitterPercent,
		NoTrafficInterval:        optionalDuration(c.NoTrafficInterval),
		NoTrafficHealthyInterval: optionalDuration(c.NoTrafficHealthyInterval),
		UnhealthyInterval:        optionalDuration(c.UnhealthyInterval),
		UnhealthyEdgeInterval:    optionalDuration(c.UnhealthyEdgeInterval),
		HealthyEdgeInterval:      optionalDuration(c.HealthyEdgeInterval),
	}
	if c.UnhealthyThreshold != nil {
		check.UnhealthyThreshold = wrapperspb.UInt32(*c.UnhealthyThreshold)
	}
	if c.HealthyThreshold != nil {
		check.HealthyThreshold = wrapperspb.UInt32(*c.HealthyThreshold)
	}
	if c.ReuseConnection != nil {
		check.ReuseConnection = wrapperspb.Bool(*c.ReuseConnection)
	}
	switch {
	case c.HTTP != nil:
		check.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: c.HTTP.compile(service, protocol)}
	case c.GRPC != nil:
		check.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{
			ServiceName: c.GRPC.ServiceName,
			Authority:   cmp.Or(c.GRPC.Authority, service),
		}}
	case c.TCP != nil:
		check.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: c.TCP.compile()}
	}
	return check
}

// compile names the service as the host: a subset's cluster has a name that is no host.
func (c *HTTPHealthCheck) compile(service string, protocol Protocol) *corev3.HealthCheck_HttpHealthCheck {
	check := &corev3.HealthCheck_HttpHealthCheck{
		Path:              c.Path,
		Host:              cmp.Or(c.Host, service),
		Method:            corev3.RequestMethod(corev3.RequestMethod_value[string(c.Method)]),
		ExpectedStatuses:  statusRanges(c.ExpectedStatuses),
		RetriableStatuses: statusRanges(c.RetriableStatuses),
	}
	if protocol == HTTP2 || protocol == GRPC {
		check.CodecClientType = typev3.CodecClientType_HTTP2
	}
	for _, name := range sortedKeys(c.Headers) {
		check.RequestHeadersToAdd = append(check.RequestHeadersToAdd, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: strings.ReplaceAll(c.Headers[name], "%", "%%")},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return check
}

func statusRanges(statuses []uint32) (ranges []*typev3.Int64Range) {
	for _, status := range statuses {
		ranges = append(ranges, &typev3.Int64Range{Start: int64(status), End: int64(status) + 1})
	}
	return ranges
}

func (c *TCPHealthCheck) compile() *corev3.HealthCheck_TcpHealthCheck {
	check := &corev3.HealthCheck_TcpHealthCheck{}
	if c.Send != "" {
		check.Send = textPayload(c.Send)
	}
	for _, text := range c.Receive {
		check.Receive = append(check.Receive, textPayload(text))
	}
	return check
}

func textPayload(text string) *corev3.HealthCheck_Payload {
	return &corev3.HealthCheck_Payload{Payload: &corev3.HealthCheck_Payload_Text{Text: hex.EncodeToString([]byte(text))}}
}
