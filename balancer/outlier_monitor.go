package balancer

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// monitor is what outlier detection knows of an endpoint.
type monitor struct {
	detector *detector
	endpoint *Endpoint

	// Written by calls. Failures in a row:
	errors, gateway, local atomic.Uint32
	// and all since the last sweep; origin is of what never got an answer, if that is
	// split.
	answers, origin tallies
	trips           atomic.Uint32 // thresholds that were reached and not yet dealt with

	// Guarded by the cluster's mu.
	ejectedAt, restoredAt time.Time
	lasts                 uint32 // of the next or present ejection, in base times
	jitter                time.Duration
}

// The bits of monitor.trips.
const (
	tripErrors = 1 << iota
	tripGateway
	tripLocal
)

// tallies counts calls, all in the upper half and those that failed in the lower, so
// that a sweep reads and clears them in one step.
type tallies struct{ counts atomic.Uint64 }

func (t *tallies) add(failed bool) {
	n := uint64(1) << 32
	if failed {
		n++
	}
	t.counts.Add(n)
}

func (t *tallies) take() (total, failed uint32) {
	n := t.counts.Swap(0)
	return uint32(n >> 32), uint32(n)
}

// learn takes in what became of a call. It takes no lock.
func (m *monitor) learn(o Outcome, grpc bool) {
	config := m.detector.config.Load()
	if o.Err == nil {
		status, failed := o.Code, o.Code >= httpError
		if grpc {
			status, failed = statusOfGRPC(o.Code), o.Code != 0
		}
		if status == 0 {
			return
		}
		m.answered(config, status, failed)
		if config.SplitLocalOrigin {
			m.origin.add(false)
			end(&m.local)
		}
		return
	}
	if errors.Is(o.Err, context.Canceled) || errors.Is(o.Err, ErrUnsent) {
		return
	}
	if config.SplitLocalOrigin {
		m.origin.add(true)
		m.count(&m.local, config.ConsecutiveLocal, tripLocal)
		return
	}
	status := httpServiceUnavailable
	if isTimeout(o.Err) {
		status = httpGatewayTimeout
	}
	m.answered(config, status, true)
}

// answered counts an answer.
func (m *monitor) answered(config *OutlierDetection, status int, failed bool) {
	m.answers.add(failed)
	if status < httpError {
		end(&m.errors)
		end(&m.gateway)
		return
	}
	switch status {
	case httpBadGateway, httpServiceUnavailable, httpGatewayTimeout:
		m.count(&m.gateway, config.ConsecutiveGateway, tripGateway)
	default:
		end(&m.gateway)
	}
	m.count(&m.errors, config.Consecutive5xx, tripErrors)
}

// count counts a failure of a row.
func (m *monitor) count(row *atomic.Uint32, rule Consecutive, trip uint32) {
	if n := row.Add(1); rule.Threshold > 0 && n >= rule.Threshold && rule.Enforcing > 0 {
		m.trips.Or(trip)
		m.detector.tripped()
	}
}

// end ends a row. Most often there is none, and the line stays shared.
func end(row *atomic.Uint32) {
	if row.Load() != 0 {
		row.Store(0)
	}
}

// forgive forgets the failures in a row.
func (m *monitor) forgive() {
	end(&m.errors)
	end(&m.gateway)
	end(&m.local)
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// The statuses that matter, by number: balancer knows neither protocol's package.
const (
	httpError              = 500
	httpBadGateway         = 502
	httpServiceUnavailable = 503
	httpGatewayTimeout     = 504
)

// httpOfGRPC has the HTTP statuses that Envoy takes gRPC's for, by their number
// (envoy source/common/grpc/common.cc). Others are a 500.
var httpOfGRPC = [...]int{
	0:  200, // OK
	1:  499, // CANCELLED
	2:  500, // UNKNOWN
	3:  400, // INVALID_ARGUMENT
	4:  504, // DEADLINE_EXCEEDED
	5:  404, // NOT_FOUND
	6:  409, // ALREADY_EXISTS
	7:  403, // PERMISSION_DENIED
	8:  429, // RESOURCE_EXHAUSTED
	9:  400, // FAILED_PRECONDITION
	10: 409, // ABORTED
	11: 400, // OUT_OF_RANGE
	12: 501, // UNIMPLEMENTED
	13: 500, // INTERNAL
	14: 503, // UNAVAILABLE
	15: 500, // DATA_LOSS
	16: 401, // UNAUTHENTICATED
}

func statusOfGRPC(code int) int {
	if code < 0 || code >= len(httpOfGRPC) {
		return httpError
	}
	return httpOfGRPC[code]
}
