package call

import (
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/resolver"
)

// Change is what the call's route changes of it. Its methods are safe on nil, which
// changes nothing.
func (c *Call) Change() *resolver.Change { return c.change }

// Answer is what the call's route answers itself; nil if it sends the call to a
// cluster. A gRPC call has none: it fails in Route with the answer's status.
func (c *Call) Answer() *resolver.Answer { return c.route.Answer() }

// answered ends the routing of a call that its route answers itself. An error is what
// a gRPC call ends with.
func (c *Call) answered(a *resolver.Answer) error {
	switch {
	case !c.Request.GRPC:
		return nil
	case a.Redirect:
		return c.Target.refuse(ErrNoRoute, codes.Unavailable,
			fmt.Errorf("%w for gRPC: the route of %s is a redirect", resolver.ErrUnsupported, c.Request.Path))
	}
	message := string(a.Body)
	if message == "" {
		message = fmt.Sprintf("policy answers %d %s", a.Status, http.StatusText(a.Status))
	}
	return status.Error(grpcCode(a.Status), message)
}

// grpcCode is the gRPC status of a response that has only an HTTP status
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func grpcCode(http int) codes.Code {
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

// isStatus reports whether err says its own gRPC status.
func isStatus(err error) bool {
	_, ok := status.FromError(err)
	return ok
}
