package mesh

import (
	"fmt"

	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

// readdressed refuses a call to an endpoint of an ORIGINAL_DST cluster that says its
// address in a header, where policy has calls do that: a channel is connected to the
// address that it was dialled with, and the call must not go there instead.
func (r *rpc) readdressed(e *balancer.Endpoint, to *balancer.OriginalDst) error {
	if to.Header == "" {
		return nil
	}
	if named := metadata.ValueFromOutgoingContext(r.Context, to.Header); len(named) > 0 {
		return r.call.Refused(fmt.Errorf("%w: cluster %q takes the address of a gRPC call from its header %s",
			resolver.ErrUnsupported, e.Cluster().Name(), to.Header))
	}
	return nil
}
