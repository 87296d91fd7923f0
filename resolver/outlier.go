package resolver

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/balancer"
)

var outlierFields = fieldNames("consecutive_5xx", "interval", "base_ejection_time", "max_ejection_percent",
	"enforcing_consecutive_5xx", "enforcing_success_rate", "success_rate_minimum_hosts", "success_rate_request_volume",
	"success_rate_stdev_factor", "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure",
	"split_external_local_origin_errors", "consecutive_local_origin_failure",
	"enforcing_consecutive_local_origin_failure", "enforcing_local_origin_success_rate",
	"failure_percentage_threshold", "enforcing_failure_percentage", "enforcing_failure_percentage_local_origin",
	"failure_percentage_minimum_hosts", "failure_percentage_request_volume", "max_ejection_time",
	"max_ejection_time_jitter", "successful_active_health_check_uneject_host", "always_eject_one_host")

// Envoy's defaults (envoy.config.cluster.v3.OutlierDetection).
const (
	outlierInterval         = 10 * time.Second
	outlierBaseEjectionTime = 30 * time.Second
	outlierMaxEjectionTime  = 300 * time.Second
)

// outlierDetection reads outlier_detection.
func (p *path) outlierDetection(m *clusterv3.Cluster, c *balancer.Config) error {
	o := m.GetOutlierDetection()
	if o == nil {
		return nil
	}
	p = p.to("outlier_detection")
	p.warnUnread(o, outlierFields)
	r := limits{path: p}
	d := &balancer.OutlierDetection{
		Interval:              r.duration("interval", o.GetInterval(), outlierInterval),
		BaseEjectionTime:      r.duration("base_ejection_time", o.GetBaseEjectionTime(), outlierBaseEjectionTime),
		MaxEjectionTime:       r.duration("max_ejection_time", o.GetMaxEjectionTime(), outlierMaxEjectionTime),
		MaxEjectionTimeJitter: r.duration("max_ejection_time_jitter", o.GetMaxEjectionTimeJitter(), 0),
		MaxEjectionPercent:    r.percent("max_ejection_percent", o.GetMaxEjectionPercent(), 10),
		AlwaysEjectOne:        o.GetAlwaysEjectOneHost().GetValue(),
		Consecutive5xx: balancer.Consecutive{
			Threshold: number(o.GetConsecutive_5Xx(), 5),
			Enforcing: r.percent("enforcing_consecutive_5xx", o.GetEnforcingConsecutive_5Xx(), 100),
		},
		ConsecutiveGateway: balancer.Consecutive{
			Threshold: number(o.GetConsecutiveGatewayFailure(), 5),
			Enforcing: r.percent("enforcing_consecutive_gateway_failure", o.GetEnforcingConsecutiveGatewayFailure(), 0),
		},
		SplitLocalOrigin: o.GetSplitExternalLocalOriginErrors(),
		ConsecutiveLocal: balancer.Consecutive{
			Threshold: number(o.GetConsecutiveLocalOriginFailure(), 5),
			Enforcing: r.percent("enforcing_consecutive_local_origin_failure", o.GetEnforcingConsecutiveLocalOriginFailure(), 100),
		},
		SuccessRate: balancer.SuccessRate{
			MinimumHosts:   number(o.GetSuccessRateMinimumHosts(), 5),
			RequestVolume:  number(o.GetSuccessRateRequestVolume(), 100),
			StdevFactor:    number(o.GetSuccessRateStdevFactor(), 1900),
			Enforcing:      r.percent("enforcing_success_rate", o.GetEnforcingSuccessRate(), 100),
			EnforcingLocal: r.percent("enforcing_local_origin_success_rate", o.GetEnforcingLocalOriginSuccessRate(), 100),
		},
		FailurePercentage: balancer.FailurePercentage{
			Threshold:      r.percent("failure_percentage_threshold", o.GetFailurePercentageThreshold(), 85),
			MinimumHosts:   number(o.GetFailurePercentageMinimumHosts(), 5),
			RequestVolume:  number(o.GetFailurePercentageRequestVolume(), 50),
			Enforcing:      r.percent("enforcing_failure_percentage", o.GetEnforcingFailurePercentage(), 0),
			EnforcingLocal: r.percent("enforcing_failure_percentage_local_origin", o.GetEnforcingFailurePercentageLocalOrigin(), 0),
		},
		UnejectOnCheck: o.GetSuccessfulActiveHealthCheckUnejectHost() == nil || o.GetSuccessfulActiveHealthCheckUnejectHost().GetValue(),
	}
	if r.err == nil && d.Interval <= 0 {
		r.err = p.to("interval").errorf("must be more than 0")
	}
	c.OutlierDetection = d
	return r.err
}

func number(v *wrapperspb.UInt32Value, unset uint32) uint32 {
	if v == nil {
		return unset
	}
	return v.GetValue()
}

// limits reads values with defaults and keeps the first error.
type limits struct {
	path *path
	err  error
}

// longestTime is longer than any time that is acted on. Sums of a few do not overflow.
const longestTime = math.MaxInt64 / 8

func (r *limits) duration(field string, m *durationpb.Duration, unset time.Duration) time.Duration {
	d, err := r.path.duration(field, m)
	switch {
	case err != nil:
		r.fail(err)
	case !d.set:
		return unset
	}
	return min(d.d, longestTime)
}

func (r *limits) percent(field string, v *wrapperspb.UInt32Value, unset uint32) uint32 {
	n := number(v, unset)
	if n > 100 {
		r.fail(r.path.to(field).errorf("%d is not a percentage", n))
	}
	return n
}

func (r *limits) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
