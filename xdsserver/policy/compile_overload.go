package policy

import (
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// loadShedType is the type of the configuration of load shedding: a TypedStruct, which
// package resolver documents as LoadShed.
const loadShedType = "type.googleapis.com/weft.LoadShed"

// typedConfig is the filter's configuration.
func (f *Filter) typedConfig() *anypb.Any {
	switch {
	case f.AdaptiveConcurrency != nil:
		return pack(f.AdaptiveConcurrency.message())
	case f.AdmissionControl != nil:
		return pack(f.AdmissionControl.message())
	case f.LoadShed != nil:
		return typedStruct(loadShedType, f.LoadShed.fields())
	}
	return f.Config
}

// dispensable reports whether a client that does not know the filter does well without
// it: it keeps calls back, and what it protects is not left to it alone.
func (f *Filter) dispensable() bool { return f.AdaptiveConcurrency != nil || f.AdmissionControl != nil }

// typedConfig is the override, which is not one that disables the filter.
func (o *FilterOverride) typedConfig() *anypb.Any {
	if o.Share != nil {
		return typedStruct(loadShedType, map[string]*structpb.Value{"share": percentValue(*o.Share)})
	}
	return o.Config
}

func typedStruct(typeURL string, fields map[string]*structpb.Value) *anypb.Any {
	return pack(&xdsv3.TypedStruct{TypeUrl: typeURL, Value: &structpb.Struct{Fields: fields}})
}

func (a *AdaptiveConcurrency) message() *adaptivev3.AdaptiveConcurrency {
	update, rtt := 100*time.Millisecond, a.MinRTT
	if a.ConcurrencyUpdateInterval != nil {
		update = *a.ConcurrencyUpdateInterval
	}
	if rtt == nil {
		rtt = &MinRTT{}
	}
	interval := optionalDuration(rtt.Interval)
	if interval == nil && rtt.FixedValue == nil {
		interval = durationpb.New(time.Minute)
	}
	m := &adaptivev3.AdaptiveConcurrency{
		ConcurrencyControllerConfig: &adaptivev3.AdaptiveConcurrency_GradientControllerConfig{
			GradientControllerConfig: &adaptivev3.GradientControllerConfig{
				SampleAggregatePercentile: percent(a.SampleAggregatePercentile),
				ConcurrencyLimitParams: &adaptivev3.GradientControllerConfig_ConcurrencyLimitCalculationParams{
					MaxConcurrencyLimit:       optionalUint32(a.MaxConcurrencyLimit),
					MinConcurrencyLimit:       optionalUint32(a.MinConcurrencyLimit),
					ConcurrencyUpdateInterval: durationpb.New(update),
				},
				MinRttCalcParams: &adaptivev3.GradientControllerConfig_MinimumRTTCalculationParams{
					Interval:       interval,
					FixedValue:     optionalDuration(rtt.FixedValue),
					RequestCount:   optionalUint32(rtt.RequestCount),
					Jitter:         percent(rtt.Jitter),
					MinConcurrency: optionalUint32(rtt.MinConcurrency),
					Buffer:         percent(rtt.Buffer),
				},
			},
		},
	}
	if a.ConcurrencyLimitExceededStatus != nil {
		m.ConcurrencyLimitExceededStatus = &typev3.HttpStatus{Code: typev3.StatusCode(*a.ConcurrencyLimitExceededStatus)}
	}
	return m
}

func (a *AdmissionControl) message() *admissionv3.AdmissionControl {
	criteria := &admissionv3.AdmissionControl_SuccessCriteria{}
	m := &admissionv3.AdmissionControl{
		SamplingWindow:          optionalDuration(a.SamplingWindow),
		SrThreshold:             runtimePercent(a.SRThreshold),
		MaxRejectionProbability: runtimePercent(a.MaxRejectionProbability),
		EvaluationCriteria:      &admissionv3.AdmissionControl_SuccessCriteria_{SuccessCriteria: criteria},
	}
	// Envoy requires the keys, by which nothing is configured that is not here.
	const key = "admission_control."
	if a.Aggression != nil {
		m.Aggression = &corev3.RuntimeDouble{DefaultValue: *a.Aggression, RuntimeKey: key + "aggression"}
	}
	if a.RPSThreshold != nil {
		m.RpsThreshold = &corev3.RuntimeUInt32{DefaultValue: *a.RPSThreshold, RuntimeKey: key + "rps_threshold"}
	}
	if m.SrThreshold != nil {
		m.SrThreshold.RuntimeKey = key + "sr_threshold"
	}
	if m.MaxRejectionProbability != nil {
		m.MaxRejectionProbability.RuntimeKey = key + "max_rejection_probability"
	}
	if c := a.SuccessCriteria; c != nil {
		if len(c.HTTPSuccessStatus) > 0 {
			criteria.HttpCriteria = &admissionv3.AdmissionControl_SuccessCriteria_HttpCriteria{}
		}
		for _, r := range c.HTTPSuccessStatus {
			criteria.HttpCriteria.HttpSuccessStatus = append(criteria.HttpCriteria.HttpSuccessStatus,
				&typev3.Int32Range{Start: int32(r.Start), End: int32(r.End)})
		}
		if len(c.GRPCSuccessStatus) > 0 {
			criteria.GrpcCriteria = &admissionv3.AdmissionControl_SuccessCriteria_GrpcCriteria{GrpcSuccessStatus: c.GRPCSuccessStatus}
		}
	}
	return m
}

func (l *LoadShed) fields() map[string]*structpb.Value {
	fields := map[string]*structpb.Value{"max_requests": structpb.NewNumberValue(float64(l.MaxRequests))}
	if l.Share != nil {
		fields["share"] = percentValue(*l.Share)
	}
	if l.PriorityHeader != "" {
		shares := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(l.Shares))}
		for value, share := range l.Shares {
			shares.Fields[value] = percentValue(share)
		}
		fields["priority_header"] = structpb.NewStringValue(l.PriorityHeader)
		fields["shares"] = structpb.NewStructValue(shares)
	}
	if q := l.Queue; q != nil {
		queue := &structpb.Struct{Fields: map[string]*structpb.Value{"size": structpb.NewNumberValue(float64(q.Size))}}
		setInterval(queue.Fields, "interval", q.Interval)
		setInterval(queue.Fields, "target", q.Target)
		fields["queue"] = structpb.NewStructValue(queue)
	}
	setInterval(fields, "retry_after", l.RetryAfter)
	return fields
}

func setInterval(fields map[string]*structpb.Value, name string, d *time.Duration) {
	if d != nil {
		fields[name] = structpb.NewStringValue(d.String())
	}
}

func percentValue(f Fraction) *structpb.Value { return structpb.NewNumberValue(float64(f) / 10_000) }

func percent(f *Fraction) *typev3.Percent {
	if f == nil {
		return nil
	}
	return &typev3.Percent{Value: float64(*f) / 10_000}
}

func runtimePercent(f *Fraction) *corev3.RuntimePercent {
	if f == nil {
		return nil
	}
	return &corev3.RuntimePercent{DefaultValue: percent(f)}
}
