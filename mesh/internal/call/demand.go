package call

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
)

// demand finds the cluster that the call itself names, and waits for it within ctx if
// it is the first call that does.
func (c *Call) demand(ctx context.Context, table *resolver.Table) error {
	name := c.to.ClusterName(&c.Request)
	if c.Cluster = table.Demanded(name); c.Cluster != nil {
		return nil
	}
	var err error
	if c.Cluster, err = c.Target.Demand(ctx, name); err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", c.route, err)
	switch {
	case errors.Is(err, resolver.ErrDemand):
		return c.Target.refuse(ErrNoRoute, c.notFound(), err)
	case errors.Is(err, context.DeadlineExceeded):
		return c.Target.refuse(ErrUnavailable, codes.DeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return c.Target.refuse(ErrUnavailable, codes.Canceled, err)
	}
	return c.Target.refuse(ErrUnavailable, codes.Unavailable, err)
}

// notFound is the status of a gRPC call whose cluster does not exist.
func (c *Call) notFound() codes.Code {
	return (&filter.Reply{Status: c.route.NotFound}).GRPCStatus().Code()
}
