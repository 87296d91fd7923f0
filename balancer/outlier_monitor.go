package balancer

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// monitor is what outlier detection knows of an endpoint, beside Endpoint.answers, which are
// all since the last sweep, and Endpoint.rows.
type monitor struct {
	detector *detector
	endpoint *Endpoint

	// Written by calls: what never got an answer, if that is split, in a row and since the
	// last sweep.
	local  atomic.Uint32
	origin tallies
	trips  atomic.Uint32 // thresholds that were reached and not yet dealt with

	// Guarded by the cluster's mu.
	ejectedAt, restoredAt time.Time
	lasts                 uint32 // of the next or present ejection, in base times
	jitter                time.Duration
}

// rows are failures in a row.
type rows struct{ errors, gateway atomic.Uint32 }

// splitsOrigin is a bit of Endpoint.active: policy has calls without an answer split.
const splitsOrigin = 1 << 61

func (e *Endpoint) splitOrigin(on bool) {
	switch is := e.active.Load()&splitsOrigin != 0; {
	case on && !is:
		e.active.Or(splitsOrigin)
	case is && !on:
		e.active.And(^int64(splitsOrigin))
	}
}

// newMonitor has outlier detection begin with an endpoint.
func newMonitor(d *detector, e *Endpoint) *monitor {
	e.tally()
	e.answers.take()
	m := &monitor{detector: d, endpoint: e}
	m.forgive()
	return m
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

// Succeeded reports whether an answer came, and neither outlier detection nor breakers take
// it for a failure, nor leave it out.
func (o Outcome) Succeeded(grpc bool) bool {
	if grpc {
		return o.Err == nil && o.Code == 0
	}
	return o.Err == nil && o.Code > 0 && o.Code < httpError
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
	m.endpoint.answers.add(failed)
	rows := &m.endpoint.rows
	if status < httpError {
		end(&rows.errors)
		end(&rows.gateway)
		return
	}
	switch status {
	case httpBadGateway, httpServiceUnavailable, httpGatewayTimeout:
		m.count(&rows.gateway, config.ConsecutiveGateway, tripGateway)
	default:
		end(&rows.gateway)
	}
	m.count(&rows.errors, config.Consecutive5xx, tripErrors)
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
	end(&m.endpoint.rows.errors)
	end(&m.endpoint.rows.gateway)
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
