package resilience

import (
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
)

// Conditions say which results of an attempt are retried. They are Envoy's retry_on
// tokens (x-envoy-retry-on and x-envoy-retry-grpc-on), of which gRFC A44 has the
// gRPC statuses; the zero value retries nothing.
//
// A result that policy does not name is not retried, whatever the method: that the
// request may have reached a server is for whoever names it to weigh. ConnectFailure,
// RefusedStream and ResetBeforeRequest name only results of requests that no server
// processed.
type Conditions struct {
	On Condition
	// StatusCodes are the HTTP statuses of RetriableStatusCodes.
	StatusCodes []uint32
	// Response, of RetriableHeaders, reports whether an answer with this status has
	// one of the headers.
	Response func(status int, h Headers) bool
}

// Condition is a set of retry_on tokens.
type Condition uint32

// The tokens.
const (
	// On5xx: any 5xx answer, and whatever OnReset names.
	On5xx Condition = 1 << iota
	// OnGatewayError: 502, 503 or 504, and whatever OnReset names.
	OnGatewayError
	// OnReset: no answer: the connection was lost, or the attempt timed out.
	OnReset
	// OnResetBeforeRequest: no answer, and nothing was sent.
	OnResetBeforeRequest
	// OnConnectFailure: no connection could be made.
	OnConnectFailure
	// OnEnvoyRateLimited: an answer with x-envoy-ratelimited, which without this
	// token is never retried.
	OnEnvoyRateLimited
	// OnRetriable4xx: 409.
	OnRetriable4xx
	// OnRefusedStream: the server did not process the request.
	OnRefusedStream
	// OnRetriableStatusCodes: one of Conditions.StatusCodes.
	OnRetriableStatusCodes
	// OnRetriableHeaders: Conditions.Response says so.
	OnRetriableHeaders

	// The gRPC statuses, those that a client makes itself included. An attempt that
	// timed out is one of DEADLINE_EXCEEDED. Of an HTTP answer it is what the header
	// grpc-status says.
	OnCancelled
	OnDeadlineExceeded
	OnInternal
	OnResourceExhausted
	OnUnavailable
)

// Tokens are the conditions by the names that they have in retry_on.
var Tokens = map[string]Condition{
	"5xx":                    On5xx,
	"gateway-error":          OnGatewayError,
	"reset":                  OnReset,
	"reset-before-request":   OnResetBeforeRequest,
	"connect-failure":        OnConnectFailure,
	"envoy-ratelimited":      OnEnvoyRateLimited,
	"retriable-4xx":          OnRetriable4xx,
	"refused-stream":         OnRefusedStream,
	"retriable-status-codes": OnRetriableStatusCodes,
	"retriable-headers":      OnRetriableHeaders,
	"cancelled":              OnCancelled,
	"deadline-exceeded":      OnDeadlineExceeded,
	"internal":               OnInternal,
	"resource-exhausted":     OnResourceExhausted,
	"unavailable":            OnUnavailable,
}

const (
	onAnyReset = On5xx | OnGatewayError | OnReset
	onCode     = OnCancelled | OnDeadlineExceeded | OnInternal | OnResourceExhausted | OnUnavailable

	// In the form that Headers.Header is asked for.
	headerRateLimited = "X-Envoy-Ratelimited"
	headerGRPCStatus  = "Grpc-Status"
)

func (c *Conditions) has(tokens Condition) bool { return c.On&tokens != 0 }

// Retries reports whether policy retries a result.
func (c *Conditions) Retries(r *Result) bool {
	if r.Partial || r.Kind == Refused || r.Kind == Canceled {
		return false
	}
	if r.Kind == Answered {
		return c.retriesAnswer(r)
	}
	switch {
	case c.has(onAnyReset),
		r.Kind == ConnectFailed && c.has(OnConnectFailure),
		r.Kind == RefusedStream && c.has(OnRefusedStream),
		r.NotSent && c.has(OnResetBeforeRequest):
		return true
	}
	return r.GRPC && c.retriesCode(r.Code)
}

// Passes reports whether an HTTP answer is plainly none that policy retries, which most
// answers are. Of one that it does not let pass, Retries decides. The headers are by their
// names in net/http's canonical form.
func (c *Conditions) Passes(status int, headers map[string][]string) bool {
	if status < 200 || status >= 400 || c.has(OnEnvoyRateLimited|OnRetriableStatusCodes|OnRetriableHeaders) {
		return false
	}
	if !c.has(onCode) {
		return true
	}
	return headers[headerGRPCStatus] == nil
}

func (c *Conditions) retriesAnswer(r *Result) bool {
	again := c.names(r)
	if !again && !c.has(OnEnvoyRateLimited) || r.Headers == nil {
		return again // without a look at the headers, which may cost
	}
	if _, ok := r.Headers.Header(headerRateLimited); ok {
		return c.has(OnEnvoyRateLimited)
	}
	return again
}

// names reports whether a token names an answer.
func (c *Conditions) names(r *Result) bool {
	if c.has(OnRetriableHeaders) && c.Response != nil && r.Headers != nil && c.Response(r.Status, r.Headers) {
		return true
	}
	if r.GRPC {
		return c.retriesCode(r.Code)
	}
	switch s := r.Status; {
	case s < 400:
	case s >= 500 && s <= 599 && c.has(On5xx),
		s >= 502 && s <= 504 && c.has(OnGatewayError),
		s == 409 && c.has(OnRetriable4xx):
		return true
	}
	if c.has(OnRetriableStatusCodes) && slices.Contains(c.StatusCodes, uint32(r.Status)) {
		return true
	}
	return c.has(onCode) && r.Headers != nil && c.retriesHeader(r.Headers)
}

// retriesHeader reports whether a token names the status of an answer of gRPC's that has
// nothing else, which a caller gets by HTTP.
func (c *Conditions) retriesHeader(h Headers) bool {
	text, ok := h.Header(headerGRPCStatus)
	if !ok {
		return false
	}
	code, err := strconv.ParseUint(text, 10, 32)
	return err == nil && c.retriesCode(codes.Code(code))
}

func (c *Conditions) retriesCode(code codes.Code) bool {
	switch code {
	case codes.Canceled:
		return c.has(OnCancelled)
	case codes.DeadlineExceeded:
		return c.has(OnDeadlineExceeded)
	case codes.Internal:
		return c.has(OnInternal)
	case codes.ResourceExhausted:
		return c.has(OnResourceExhausted)
	case codes.Unavailable:
		return c.has(OnUnavailable)
	}
	return false
}

// Failed reports whether a result is no success, as gRFC A6 counts them: what is not
// retried is not a success for that.
func (r *Result) Failed() bool {
	switch {
	case r.Kind != Answered:
		return true
	case r.GRPC:
		return r.Code != codes.OK
	default:
		return r.Status >= 500
	}
}
