package resilience

import (
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

// ErrFault is why a call failed that policy aborts on purpose.
var ErrFault = errors.New("a fault that policy injects")

// Faults are what goes wrong with calls on purpose, and with which share of them (gRFC
// A33, envoy.extensions.filters.http.fault.v3.HTTPFault). Every fault is drawn by itself: a
// call may meet several, and is then delayed before it is aborted. The zero value has none.
type Faults struct {
	Delay      DelayFault
	Abort      AbortFault
	Throughput ThroughputFault
}

// DelayFault holds calls up before they go on.
type DelayFault struct {
	Share Fraction
	// For is how long. Nothing is delayed by zero or less.
	For time.Duration
}

// AbortFault ends calls, which nobody but policy then answers.
type AbortFault struct {
	Share Fraction
	// Status is the HTTP status of the answer, 200 to 599, which stands for a gRPC status
	// too. Zero means Code, and for HTTP 200.
	Status int
	// Code is the status of a gRPC call, if Status is zero. OK is a call that ends well
	// without a message.
	Code codes.Code
}

// ThroughputFault slows responses down.
type ThroughputFault struct {
	Share Fraction
	// BytesPerSecond is how fast the body of one response goes. Zero slows nothing.
	BytesPerSecond uint64
}

// Fraction is a share of calls: Numerator of each Denominator, or all if it is more. A
// denominator of zero is none (envoy.type.v3.FractionalPercent).
type Fraction struct{ Numerator, Denominator uint32 }

// Hit reports whether a call that drew this number is of the share.
func (f Fraction) Hit(drawn uint64) bool {
	return f.Denominator != 0 && drawn%uint64(f.Denominator) < uint64(f.Numerator)
}

// AtMost is the share with a lower numerator, if n is one: who makes a call may ask for
// fewer faults than policy has, not for more.
func (f Fraction) AtMost(n uint32) Fraction {
	f.Numerator = min(f.Numerator, n)
	return f
}

// Fault is what goes wrong with one call. The zero value is nothing.
type Fault struct {
	Delay          time.Duration
	Abort          bool
	BytesPerSecond uint64
}

// Draw decides on one call. random is called for each fault that there is.
func (f *Faults) Draw(random func() uint64) Fault {
	var fault Fault
	if t := &f.Throughput; t.BytesPerSecond > 0 && t.Share.drawn(random) {
		fault.BytesPerSecond = t.BytesPerSecond
	}
	if d := &f.Delay; d.For > 0 && d.Share.drawn(random) {
		fault.Delay = d.For
	}
	fault.Abort = f.Abort.Share.drawn(random)
	return fault
}

func (f Fraction) drawn(random func() uint64) bool { return f.Numerator > 0 && f.Hit(random()) }

// ActiveFaults counts the calls that meet a fault right now. Its zero value has none. It is
// safe for concurrent use.
type ActiveFaults struct{ n atomic.Int64 }

// Enter counts a call, unless there are as many as may be: then it must go on without
// faults. Leave is due for each that was counted.
func (a *ActiveFaults) Enter(most uint32) bool {
	for {
		n := a.n.Load()
		if n >= int64(most) {
			return false
		}
		if a.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Leave ends the faults of a call.
func (a *ActiveFaults) Leave() { a.n.Add(-1) }
