package resolver

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// faultHeaders says which faults the headers of requests choose (header_delay,
// header_abort and header_limit of Envoy's fault filter). Without a header that says what,
// or with one that makes no sense, there is no such fault. A header for the percentage sets
// its numerator, and only ever a lower one.
type faultHeaders struct{ delay, abort, throughput bool }

var (
	faultDelayHeader      = NewHeaderName("x-envoy-fault-delay-request")
	faultDelayPercent     = NewHeaderName("x-envoy-fault-delay-request-percentage")
	faultAbortHeader      = NewHeaderName("x-envoy-fault-abort-request")
	faultAbortGRPCHeader  = NewHeaderName("x-envoy-fault-abort-grpc-request")
	faultAbortPercent     = NewHeaderName("x-envoy-fault-abort-request-percentage")
	faultThroughputHeader = NewHeaderName("x-envoy-fault-throughput-response")
	faultThroughputPart   = NewHeaderName("x-envoy-fault-throughput-response-percentage")
)

func (f faultHeaders) any() bool { return f != faultHeaders{} }

// ask sets the faults that a request chooses.
func (f faultHeaders) ask(faults *resilience.Faults, h *filter.Header) {
	if f.delay {
		d := &faults.Delay
		if d.For = faultDelay(h); d.For > 0 {
			d.Share = faultShare(d.Share, h, faultDelayPercent)
		}
	}
	if f.abort {
		a := &faults.Abort
		if status, ok := faultNumber(h, faultAbortHeader, 64); ok && status >= 200 && status < 600 {
			a.Status = int(status)
		} else if code, ok := faultNumber(h, faultAbortGRPCHeader, 64); ok {
			a.Code = codeOf(code)
		} else {
			a.Share = resilience.Fraction{}
		}
		a.Share = faultShare(a.Share, h, faultAbortPercent)
	}
	if f.throughput {
		t := &faults.Throughput
		kib, _ := faultNumber(h, faultThroughputHeader, 64)
		if t.BytesPerSecond = bytesOf(kib); kib > 0 {
			t.Share = faultShare(t.Share, h, faultThroughputPart)
		}
	}
}

// faultDelay is the delay that a request asks for, in milliseconds.
func faultDelay(h *filter.Header) time.Duration {
	ms, _ := faultNumber(h, faultDelayHeader, 64)
	if ms > math.MaxInt64/uint64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

func faultShare(configured resilience.Fraction, h *filter.Header, n *HeaderName) resilience.Fraction {
	if asked, ok := faultNumber(h, n, 32); ok {
		return configured.AtMost(uint32(asked))
	}
	return configured
}

// faultNumber reads a number of up to so many bits; of several values the first counts. As
// in Envoy, it may have a plus sign, and blanks around it.
func faultNumber(h *filter.Header, name *HeaderName, bits int) (uint64, bool) {
	text := h.Get(name)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.Trim(text, " \t\n\v\f\r"), "+"), 10, bits)
	return n, err == nil
}
