package filter

import (
	"context"

	"google.golang.org/grpc/codes"
)

// Filter handles the calls of a route. It is used from any number of goroutines.
type Filter interface {
	// Request is called before a call goes out of a client, or reaches what a server has
	// for it, and may take its time within ctx.
	// It may change r, which is the call's own until Request returns, and is not to be kept
	// without a follower: it then becomes another call's.
	//
	// An error ends the call: as the answer, if it is a [Reply]; else the call fails
	// with it, and under gRPC with its status if it has one.
	//
	// A follower, also one that comes with an error, hears of the rest of the call.
	// Nil hears nothing. One that keeps nothing of the call can be the filter itself,
	// so that there is nothing to allocate.
	Request(ctx context.Context, r *Request) (Follower, error)
}

// Func is a filter that only looks at requests.
type Func func(ctx context.Context, r *Request) error

// Request calls f.
func (f Func) Request(ctx context.Context, r *Request) (Follower, error) { return nil, f(ctx, r) }

// Follower follows one call after its request. It may be a [ResponseFollower] and a
// [TrailerFollower] too. Its methods are called one after another.
type Follower interface {
	// End is called once, when the call is over, whatever became of it.
	End(Outcome)
}

// ResponseFollower is a [Follower] that sees the header of the response.
type ResponseFollower interface {
	Follower
	// Response is called when the header of a response is there, be it a backend's or
	// a [Reply]; not for a call that fails before. It may change r.Header. An error
	// takes the place of the response, as one of Request does.
	Response(ctx context.Context, r *Response) error
}

// TrailerFollower is a [Follower] that sees the trailer of the response.
type TrailerFollower interface {
	Follower
	// Trailer is called when the response's body has ended and a trailer came: always
	// so under gRPC, unless there was no response. It may change r.Trailer. A response of
	// gRPC that is nothing but a trailer (Trailers-Only) has no Status, and is no
	// [ResponseFollower]'s.
	Trailer(r *Response)
}

// Outcome is how a call ended.
type Outcome struct {
	// Status is the HTTP status of the response; 0 if there was none, and under gRPC.
	Status int
	// Code is the status of a gRPC call.
	Code codes.Code
	// Err is why there was no response, or why it broke off; under gRPC the error
	// that the caller gets.
	Err error
}
