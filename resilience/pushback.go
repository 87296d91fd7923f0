package resilience

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Pushback is what a server says about when to come back. The zero value says nothing.
type Pushback struct {
	// Given says that the server said something.
	Given bool
	// Never says that it asked not to be retried at all.
	Never bool
	// After is how long it asked to wait, from its answer on; not negative.
	After time.Duration
}

// GRPCPushback is the trailer by which a gRPC server pushes back (gRFC A6).
const GRPCPushback = "grpc-retry-pushback-ms"

// ParseGRPCPushback reads the values of [GRPCPushback]. What is negative, not a number
// of 32 bits, or given more than once asks not to be retried (gRFC A6).
func ParseGRPCPushback(values []string) Pushback {
	switch len(values) {
	case 0:
		return Pushback{}
	case 1:
		ms, err := strconv.ParseInt(values[0], 10, 32)
		if err == nil && ms >= 0 {
			return Pushback{Given: true, After: time.Duration(ms) * time.Millisecond}
		}
	}
	return Pushback{Given: true, Never: true}
}

// ResetHeader is a response header that says when a rate limit ends
// (envoy.config.route.v3.RetryPolicy.ResetHeader).
type ResetHeader struct {
	// Name is the header's name, compared without regard to case.
	Name string
	// UnixTime says that the value is seconds since 1970, not seconds from now.
	UnixTime bool
}

// RateLimitedBackoff takes the place of [Backoff] after an answer that says when to
// come back (envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff).
type RateLimitedBackoff struct {
	// Headers are tried in order; the first that says a time counts.
	Headers []ResetHeader
	// Max is the longest wait that is accepted; an answer that asks for more is
	// retried by the ordinary backoff. Zero means 300 s.
	Max time.Duration
}

// defaultRateLimitedMax is Envoy's.
const defaultRateLimitedMax = 300 * time.Second

// Delay returns how long an answer asks to wait, and up to half as much again so that
// callers do not come back together (Envoy); false if it does not say, or too long.
func (b *RateLimitedBackoff) Delay(now time.Time, h Headers) (time.Duration, bool) {
	if b == nil || h == nil {
		return 0, false
	}
	most := b.Max
	if most <= 0 {
		most = defaultRateLimitedMax
	}
	for _, header := range b.Headers {
		values := h.Values(header.Name)
		if len(values) == 0 {
			continue
		}
		d, ok := header.parse(now, strings.TrimSpace(values[0]))
		if ok && d <= most {
			d = min(d, longestWait)
			return d + rand.N(d/2+1), true
		}
	}
	return 0, false
}

// parse reads the wait out of a header's value. A date, which HTTP allows in
// Retry-After (RFC 9110, section 10.2.3), is understood wherever seconds are.
func (r ResetHeader) parse(now time.Time, value string) (time.Duration, bool) {
	n, err := strconv.ParseUint(value, 10, 33)
	switch {
	case err == nil && !r.UnixTime:
		return time.Duration(n) * time.Second, true
	case err == nil:
		d := time.Unix(int64(n), 0).Sub(now)
		return d, d > 0
	case r.UnixTime:
		return 0, false
	}
	at, err := time.Parse(httpDate, value)
	d := at.Sub(now)
	return d, err == nil && d > 0
}

// httpDate is the form that RFC 9110, section 5.6.7 has senders write.
const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"
