package mesh

import "github.com/weft-mesh/weft/mesh/internal/call"

// The reasons for which a mesh refuses a call, for errors.Is. Under gRPC the error
// is also a status; each line says its code.
var (
	// ErrNoRoute: policy has no way for the call: no such target, virtual host or
	// route, or a route to a cluster that does not exist or that this version cannot
	// follow. UNAVAILABLE, as in gRFC A27.
	ErrNoRoute = call.ErrNoRoute
	// ErrNoEndpoints: the call's cluster has no endpoint. UNAVAILABLE.
	ErrNoEndpoints = call.ErrNoEndpoints
	// ErrUnavailable: no endpoint of the call's cluster accepts a connection; the
	// error wraps the last connection's. UNAVAILABLE.
	ErrUnavailable = call.ErrUnavailable
	// ErrOverloaded: a limit, a breaker or a drop policy of the call's cluster refused it,
	// or a filter did: a rate limit, adaptive concurrency or admission control. Of a
	// filter an HTTP client gets a response and no error; this is what errors.Is says of
	// the reply that filter.ReplyIn finds there. UNAVAILABLE, or what the rate limit says.
	ErrOverloaded = call.ErrOverloaded
	// ErrClosed: the mesh was closed before the call began. CANCELLED, as of a
	// closed grpc.ClientConn.
	ErrClosed = call.ErrClosed
)
