package policy

import "time"

// Fault is what goes wrong with calls on purpose, to see what becomes of who makes them
// (envoy.extensions.filters.http.fault.v3.HTTPFault; gRFC A33, whose clients know delay,
// abort and maxActiveFaults). Each of delay, abort and responseRateLimit is drawn by
// itself. Calls that are aborted are not retried.
type Fault struct {
	// Delay holds calls up before they go on.
	Delay *FaultDelay `policy:"delay"`
	// Abort answers calls without asking a backend.
	Abort *FaultAbort `policy:"abort"`
	// ResponseRateLimit slows the bodies of responses down, each by itself.
	ResponseRateLimit *FaultRateLimit `policy:"responseRateLimit"`

	// UpstreamCluster is the destination that calls must go to, as in the route's to. Not
	// given, any. Servers have none.
	UpstreamCluster string `policy:"upstreamCluster"`
	// DownstreamNodes are who must make calls, by the header
	// x-envoy-downstream-service-node. Not given, anyone.
	DownstreamNodes []string `policy:"downstreamNodes"`
	// Headers are compared with the call's headers, by name, as in a route's match. All
	// must match.
	Headers map[string]*HeaderMatch `policy:"headers"`

	// MaxActiveFaults is how many calls may meet a fault at a time, per client, counted
	// over all routes of the name. Those over it go on without. Not given means any number.
	MaxActiveFaults *uint32 `policy:"maxActiveFaults"`

	// Disabled, of a route, has no faults for its calls though the service has.
	Disabled bool `policy:"disabled"`
}

// FaultDelay is a delay: exactly one of fixedDelay and headerDelay is given
// (envoy.extensions.filters.common.fault.v3.FaultDelay).
type FaultDelay struct {
	// FixedDelay is how long calls are held up. Greater than zero.
	FixedDelay *time.Duration `policy:"fixedDelay"`
	// HeaderDelay lets the header x-envoy-fault-delay-request of a call say so, in
	// milliseconds, and x-envoy-fault-delay-request-percentage lower the percentage.
	HeaderDelay bool `policy:"headerDelay"`
	// Percentage is which part of the calls.
	Percentage Fraction `policy:"percentage,required"`
}

// FaultAbort is an answer: exactly one of httpStatus, grpcStatus and headerAbort is given
// (envoy.extensions.filters.http.fault.v3.FaultAbort).
type FaultAbort struct {
	// HTTPStatus is the status of the answer, 200 to 599. A gRPC call gets the status of
	// gRPC that stands for it: 503 is UNAVAILABLE.
	HTTPStatus *uint32 `policy:"httpStatus"`
	// GRPCStatus is the status that a gRPC call gets, by its number, 0 to 16. HTTP
	// requests get 200.
	GRPCStatus *uint32 `policy:"grpcStatus"`
	// HeaderAbort lets the headers x-envoy-fault-abort-request or
	// x-envoy-fault-abort-grpc-request of a call say which, and
	// x-envoy-fault-abort-request-percentage lower the percentage.
	HeaderAbort bool `policy:"headerAbort"`
	// ResponseBody is the body of the answer, and the message of a gRPC status. Not given
	// means: fault filter abort.
	ResponseBody string `policy:"responseBody"`
	// Percentage is which part of the calls.
	Percentage Fraction `policy:"percentage,required"`
}

// FaultRateLimit is how fast a response goes: exactly one of limitKbps and headerLimit is
// given (envoy.extensions.filters.common.fault.v3.FaultRateLimit).
type FaultRateLimit struct {
	// LimitKbps is in KiB a second, at least 1.
	LimitKbps *uint32 `policy:"limitKbps"`
	// HeaderLimit lets the header x-envoy-fault-throughput-response of a call say so, and
	// x-envoy-fault-throughput-response-percentage lower the percentage.
	HeaderLimit bool `policy:"headerLimit"`
	// Percentage is which part of the calls.
	Percentage Fraction `policy:"percentage,required"`
}
