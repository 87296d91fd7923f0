package resolver

import (
	"context"
	"math/rand/v2"
	"time"

	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// admissionControlKind refuses a share of the calls while many fail
// (envoy.extensions.filters.http.admission_control.v3.AdmissionControl; the algorithm is
// [resilience.Admission]'s). All calls that pass the filter of a listener count
// together, and begin anew when the listener changes. Routes cannot override it, only
// disable it.
//
// What counts is how a call ended for its caller, once, however often it was tried: retries
// that help keep calls from being refused. A call that the caller gave up does not count.
type admissionControlKind struct{}

func (admissionControlKind) Types() []string {
	return []string{filterTypes + "admission_control.v3.AdmissionControl"}
}

var (
	admissionFields = fieldNames("enabled", "success_criteria", "sampling_window", "aggression", "sr_threshold",
		"rps_threshold", "max_rejection_probability")
	// grpcSuccesses are the statuses that fewer calls would not change.
	grpcSuccesses = []uint32{
		uint32(codes.OK), uint32(codes.Canceled), uint32(codes.Unknown), uint32(codes.InvalidArgument),
		uint32(codes.NotFound), uint32(codes.AlreadyExists), uint32(codes.Unauthenticated),
		uint32(codes.FailedPrecondition), uint32(codes.OutOfRange), uint32(codes.PermissionDenied),
		uint32(codes.Unimplemented),
	}
)

func (admissionControlKind) Parse(c *filter.Config) (any, error) {
	p := filterDecoder(c)
	var m admissionv3.AdmissionControl
	if c.Override {
		return nil, p.errorf("%w in overrides", ErrUnsupported)
	}
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	p.warnUnread(&m, admissionFields)
	config, err := p.admission(&m)
	if err != nil {
		return nil, err
	}
	f := &admissionControl{refusal: newRefusal(503, "", "admission control")}
	if m.GetSuccessCriteria() == nil {
		return nil, p.to("success_criteria").errorf("must be set")
	}
	if err := p.to("success_criteria").successes(m.GetSuccessCriteria(), f); err != nil {
		return nil, err
	}
	if switchedOn(m.GetEnabled()) {
		f.admission = resilience.NewAdmission(config, time.Now())
	}
	return f, nil
}

func (admissionControlKind) New(config any, _ []any) (filter.Filter, error) {
	if f := config.(*admissionControl); f.admission != nil {
		return f, nil
	}
	return nil, nil
}

func (p *path) admission(m *admissionv3.AdmissionControl) (c resilience.AdmissionConfig, err error) {
	window, ok, err := p.interval("sampling_window", m.GetSamplingWindow(), 0)
	if err != nil {
		return c, err
	}
	if !ok {
		window = 30 * time.Second
	}
	c.Window = max(time.Second, window.Round(time.Second))
	c.Aggression = 1
	if v := m.GetAggression().GetDefaultValue(); v > 1 { // less counts as 1
		c.Aggression = v
	}
	if c.Threshold, err = p.share("sr_threshold.default_value", m.GetSrThreshold().GetDefaultValue(), 95); err != nil {
		return c, err
	}
	if m.GetSrThreshold() != nil && c.Threshold < 0.01 {
		return c, p.to("sr_threshold").errorf("is less than 1 %%")
	}
	c.MinRate = m.GetRpsThreshold().GetDefaultValue()
	c.MaxProbability, err = p.share("max_rejection_probability.default_value", m.GetMaxRejectionProbability().GetDefaultValue(), 80)
	return c, err
}

// successes reads which calls succeed.
func (p *path) successes(m *admissionv3.AdmissionControl_SuccessCriteria, f *admissionControl) error {
	f.http = []statusRange{{0, 500}}
	if http := m.GetHttpCriteria(); http != nil {
		q := p.to("http_criteria")
		if len(http.GetHttpSuccessStatus()) == 0 {
			return q.to("http_success_status").errorf("must not be empty")
		}
		f.http = nil
		for i, r := range http.GetHttpSuccessStatus() {
			if r.GetStart() < 100 || r.GetEnd() > 600 || r.GetStart() > r.GetEnd() {
				return q.at("http_success_status", i).errorf("%d to %d is not a range of HTTP statuses", r.GetStart(), r.GetEnd())
			}
			f.http = append(f.http, statusRange{int(r.GetStart()), int(r.GetEnd())})
		}
	}
	list := grpcSuccesses
	if grpc := m.GetGrpcCriteria(); grpc != nil {
		if list = grpc.GetGrpcSuccessStatus(); len(list) == 0 {
			return p.to("grpc_criteria").to("grpc_success_status").errorf("must not be empty")
		}
	}
	for i, code := range list {
		if code > uint32(codes.Unauthenticated) {
			return p.to("grpc_criteria").at("grpc_success_status", i).errorf("%d is not a gRPC status", code)
		}
		f.grpc |= 1 << code
	}
	return nil
}

// statusRange is a range of HTTP statuses, without its end.
type statusRange struct{ from, to int }

// admissionControl is the filter. Without an admission it is none.
type admissionControl struct {
	admission *resilience.Admission
	refusal   *refusal
	http      []statusRange
	grpc      uint32 // a bit for each status that is a success
}

func (f *admissionControl) Request(_ context.Context, r *filter.Request) (filter.Follower, error) {
	if p := f.admission.Probability(time.Now()); p > 0 && rand.Float64() < p {
		return nil, f.refusal.of(r)
	}
	return f.follower(r.GRPC), nil
}

func (f *admissionControl) follower(grpc bool) filter.Follower {
	if grpc {
		return (*admittedRPC)(f)
	}
	return (*admittedRequest)(f)
}

// admittedRPC and admittedRequest follow calls, of which they need to know nothing.
type (
	admittedRPC     admissionControl
	admittedRequest admissionControl
)

func (f *admittedRPC) End(o filter.Outcome) {
	if !gaveUp(o) {
		f.admission.Record(time.Now(), f.grpc&(1<<o.Code) != 0)
	}
}

func (f *admittedRequest) End(o filter.Outcome) {
	switch {
	case o.Status != 0: // whatever became of its body
		f.admission.Record(time.Now(), f.success(o.Status))
	case !gaveUp(o): // no response; without an error, the connection was hijacked
		f.admission.Record(time.Now(), o.Err == nil)
	}
}

func (f *admittedRequest) success(status int) bool {
	for _, r := range f.http {
		if r.from <= status && status < r.to {
			return true
		}
	}
	return false
}
