package resolver

import (
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// timeouts are a route's limits of time as policy has them.
type timeouts struct {
	timeout              time.Duration
	maxStreamDuration    optionalDuration
	grpcTimeoutHeaderMax optionalDuration
	idle                 optionalDuration
}

type optionalDuration struct {
	d   time.Duration
	set bool
}

// defaultTimeout is Envoy's, for a route that does not set one.
const defaultTimeout = 15 * time.Second

var maxStreamDurationFields = fieldNames("max_stream_duration", "grpc_timeout_header_max")

// timeouts reads the limits of time. max_grpc_timeout is the older form of
// grpc_timeout_header_max.
func (p *path) timeouts(a *routev3.RouteAction, t *timeouts) error {
	timeout, err := p.duration("timeout", a.GetTimeout())
	if err != nil {
		return err
	}
	t.timeout = defaultTimeout
	if timeout.set {
		t.timeout = timeout.d
	}
	if t.idle, err = p.duration("idle_timeout", a.GetIdleTimeout()); err != nil {
		return err
	}
	if t.grpcTimeoutHeaderMax, err = p.duration("max_grpc_timeout", a.GetMaxGrpcTimeout()); err != nil {
		return err
	}
	m := a.GetMaxStreamDuration()
	if m == nil {
		return nil
	}
	q := p.to("max_stream_duration")
	// grpc_timeout_header_offset has a proxy's time be up before its caller's. Here they
	// are one (gRFC A31).
	q.warnUnread(m, maxStreamDurationFields)
	if t.maxStreamDuration, err = q.duration("max_stream_duration", m.GetMaxStreamDuration()); err != nil {
		return err
	}
	if m.GetGrpcTimeoutHeaderMax() != nil {
		t.grpcTimeoutHeaderMax, err = q.duration("grpc_timeout_header_max", m.GetGrpcTimeoutHeaderMax())
	}
	return err
}

// duration reads a duration that must not be negative.
func (p *path) duration(field string, d *durationpb.Duration) (optionalDuration, error) {
	if d == nil {
		return optionalDuration{}, nil
	}
	if err := d.CheckValid(); err != nil {
		return optionalDuration{}, p.to(field).errorf("%w", err)
	}
	if d.AsDuration() < 0 {
		return optionalDuration{}, p.to(field).errorf("%s is negative", d.AsDuration())
	}
	return optionalDuration{d.AsDuration(), true}, nil
}
