package resolver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// What the filters that keep calls back have in common: adaptive concurrency, admission
// control and load shedding.

// refusal is how such a filter refuses calls.
type refusal struct {
	cause  error // a resilience.ErrLimit
	status int
	body   string // as Envoy has it
	header map[string][]string
}

func newRefusal(status int, body, cause string) *refusal {
	return &refusal{cause: fmt.Errorf("%w: %s", resilience.ErrLimit, cause), status: status, body: body}
}

// of is the error with which the filter ends a call, which answers it as Envoy does. The
// status of a gRPC client is that of any other limit, which names the target.
func (f *refusal) of(r *filter.Request) error {
	if r.GRPC && !r.Server {
		return f.cause
	}
	return &filter.Reply{Status: f.status, Body: f.body, Header: f.header, Err: f.cause}
}

// gaveUp reports whether a call ended because its caller did not want it any more, which
// says nothing of who was called.
func gaveUp(o filter.Outcome) bool {
	return o.Code == codes.Canceled || errors.Is(o.Err, context.Canceled)
}

// longestInterval is where longer ones end, so that sums of them do not overflow.
const longestInterval = 365 * 24 * time.Hour

// interval reads a duration of at least least; unset is zero, and ok is false.
func (p *path) interval(field string, m *durationpb.Duration, least time.Duration) (d time.Duration, ok bool, err error) {
	v, err := p.duration(field, m)
	if err == nil && v.set && v.d < least {
		err = p.to(field).errorf("%s is less than %s", v.d, least)
	}
	return min(v.d, longestInterval), v.set, err
}

// atLeastOne reads a number that is not zero.
func (p *path) atLeastOne(field string, m *wrapperspb.UInt32Value, unset uint32) (uint32, error) {
	switch {
	case m == nil:
		return unset, nil
	case m.GetValue() == 0:
		return 0, p.to(field).errorf("must be at least 1")
	}
	return m.GetValue(), nil
}

// share reads a percentage, as a number from 0 to 1.
func (p *path) share(field string, m *typev3.Percent, unset float64) (float64, error) {
	if m == nil {
		return unset / 100, nil
	}
	v := m.GetValue()
	if math.IsNaN(v) || v < 0 || v > 100 {
		return 0, p.to(field).errorf("%v is not a percentage", v)
	}
	return v / 100, nil
}

// switchedOn reads a flag. There is no runtime that could change it.
func switchedOn(m *corev3.RuntimeFeatureFlag) bool {
	return m.GetDefaultValue() == nil || m.GetDefaultValue().GetValue()
}

// refusalStatus reads the HTTP status of answers that refuse. Those under 400 would not, and
// stand for 503 (AdaptiveConcurrency.concurrency_limit_exceeded_status).
func (p *path) refusalStatus(m *typev3.HttpStatus) (int, error) {
	switch code := int(m.GetCode()); {
	case code > 599 || code < 0:
		return 0, p.to("code").errorf("%d is not an HTTP status", code)
	case code >= 400:
		return code, nil
	default:
		return 503, nil
	}
}
