package call

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
)

// Change is what the call's route changes of it. Its methods are safe on nil, which
// changes nothing.
func (c *Call) Change() *resolver.Change {
	if c.to == nil {
		return nil
	}
	return c.to.Change
}

// Answer is what the call's route answers itself; nil if it sends the call to a
// cluster. A gRPC call has none: it fails with the answer's status.
func (c *Call) Answer() *resolver.Answer { return c.route.Answer() }

// answered is what a gRPC call ends with that its route answers itself.
func (c *Call) answered() error {
	a := c.Answer()
	switch {
	case a == nil || !c.Request.GRPC:
		return nil
	case a.Redirect:
		return c.Target.refuse(ErrNoRoute, codes.Unavailable,
			fmt.Errorf("%w for gRPC: the route of %s is a redirect", resolver.ErrUnsupported, c.Request.Path))
	}
	return (&filter.Reply{Status: a.Status, Body: string(a.Body)}).GRPCStatus().Err()
}

// isStatus reports whether err says its own gRPC status.
func isStatus(err error) bool {
	_, ok := status.FromError(err)
	return ok
}
