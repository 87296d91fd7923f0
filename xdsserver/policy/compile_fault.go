package policy

import (
	"google.golang.org/protobuf/types/known/durationpb"

	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
)

// faultFilter is the name of the filter that faults compile to.
const faultFilter = "envoy.filters.http.fault"

// faultFilters are the filters of a name behind that of its faults, which is the first: a
// call that is aborted is none for others. A service's own are the listener's, which routes
// override.
func (c *compiler) faultFilters(host string, filters []*Filter) []*Filter {
	if !c.scope.policy.hasFaults(host) {
		return filters
	}
	config := &faultv3.HTTPFault{}
	if s := c.scope.policy.Services[host]; s != nil {
		config = c.fault(host, s.Fault)
	}
	return append([]*Filter{{Name: faultFilter, Config: pack(config)}}, filters...)
}

// hasFaults reports whether calls to a name may meet faults.
func (p *Policy) hasFaults(host string) bool {
	if s := p.Services[host]; s != nil && s.Fault != nil {
		return true
	}
	for _, r := range p.Routes[host] {
		if r.Fault != nil {
			return true
		}
	}
	return false
}

// fault is a fault as xDS has it. None, and one that is disabled, is a configuration that
// says nothing: unlike a filter that is disabled, gRPC clients know that.
func (c *compiler) fault(host string, f *Fault) *faultv3.HTTPFault {
	m := &faultv3.HTTPFault{}
	if f == nil || f.Disabled {
		return m
	}
	if d := f.Delay; d != nil {
		m.Delay = &faultcommonv3.FaultDelay{Percentage: fractionalPercent(d.Percentage)}
		if d.HeaderDelay {
			m.Delay.FaultDelaySecifier = &faultcommonv3.FaultDelay_HeaderDelay_{HeaderDelay: &faultcommonv3.FaultDelay_HeaderDelay{}}
		} else {
			m.Delay.FaultDelaySecifier = &faultcommonv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(*d.FixedDelay)}
		}
	}
	if a := f.Abort; a != nil {
		m.Abort = &faultv3.FaultAbort{Percentage: fractionalPercent(a.Percentage), ResponseBody: a.ResponseBody}
		switch {
		case a.HeaderAbort:
			m.Abort.ErrorType = &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}}
		case a.GRPCStatus != nil:
			m.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: *a.GRPCStatus}
		default:
			m.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: *a.HTTPStatus}
		}
	}
	if l := f.ResponseRateLimit; l != nil {
		m.ResponseRateLimit = &faultcommonv3.FaultRateLimit{Percentage: fractionalPercent(l.Percentage)}
		if l.HeaderLimit {
			m.ResponseRateLimit.LimitType = &faultcommonv3.FaultRateLimit_HeaderLimit_{HeaderLimit: &faultcommonv3.FaultRateLimit_HeaderLimit{}}
		} else {
			m.ResponseRateLimit.LimitType = &faultcommonv3.FaultRateLimit_FixedLimit_{
				FixedLimit: &faultcommonv3.FaultRateLimit_FixedLimit{LimitKbps: uint64(*l.LimitKbps)},
			}
		}
	}
	if f.UpstreamCluster != "" {
		m.UpstreamCluster = c.scope.destinations(host, f.UpstreamCluster)[0].cluster
	}
	m.DownstreamNodes = f.DownstreamNodes
	for _, name := range sortedKeys(f.Headers) {
		m.Headers = append(m.Headers, headerMatcher(name, f.Headers[name]))
	}
	m.MaxActiveFaults = optionalUint32(f.MaxActiveFaults)
	return m
}
