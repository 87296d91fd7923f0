package filter

import (
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reply is an answer that is not a backend's: the error with which a [Filter] answers a
// call itself, as Envoy's local replies do. An HTTP client gets a response, not an error,
// in which [ReplyIn] finds the reply.
type Reply struct {
	// Status is the HTTP status, 200 to 599. Zero means 500.
	Status int
	// Code is the status of a gRPC call. OK means the one that stands for Status.
	Code codes.Code
	// Empty has a gRPC call end well, without a message, whatever Code says: a caller that
	// waits for just one message gets INTERNAL for that.
	Empty bool
	// Body is the body of the HTTP response, in plain text, and the message of the
	// gRPC status; may be empty.
	Body string
	// Header are more headers of the HTTP response, by name in any case.
	Header map[string][]string
	// Err is why, for errors.Is and errors.As; may be nil.
	Err error
}

// HTTPStatus returns Status, or 500.
func (r *Reply) HTTPStatus() int {
	if r.Status == 0 {
		return http.StatusInternalServerError
	}
	return r.Status
}

// GRPCStatus returns the gRPC status. By this method, a reply is a status under gRPC.
func (r *Reply) GRPCStatus() *status.Status {
	if r.Empty {
		return status.New(codes.Internal, "policy answers OK without a message, where there must be one")
	}
	code := r.Code
	if code == codes.OK {
		code = codeOf(r.HTTPStatus())
	}
	message := r.Body
	if message == "" {
		message = fmt.Sprintf("policy answers %d %s", r.HTTPStatus(), http.StatusText(r.HTTPStatus()))
	}
	return status.New(code, message)
}

func (r *Reply) Error() string { return r.GRPCStatus().Err().Error() }

// Unwrap returns Err; of nil, nil.
func (r *Reply) Unwrap() error {
	if r == nil {
		return nil
	}
	return r.Err
}

// ReplyOf returns the reply that err is, or nil.
func ReplyOf(err error) *Reply {
	if err == nil { // which errors.As would allocate for
		return nil
	}
	var r *Reply
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// codeOf is the gRPC status of a response that has only an HTTP status
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func codeOf(http int) codes.Code {
	switch http {
	case 400, 431:
		return codes.Internal
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.Unimplemented
	case 429, 502, 503, 504:
		return codes.Unavailable
	default:
		return codes.Unknown
	}
}
