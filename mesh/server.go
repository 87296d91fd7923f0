package mesh

import (
	"context"
	"log/slog"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh/internal/call"
)

// ServerOptions has a gRPC server go by the policy of a server listener: its calls pass
// the listener's filters before the server's own interceptors of later options, and its
// methods.
//
// listener is the address that the server listens on, "0.0.0.0:8080", if the bootstrap
// has a server_listener_resource_name_template (gRFC A36), which it is put into; else a
// name, such as the service's, and the Listener is "inbound/" with that name behind it.
// The listener's own address is not looked at.
//
// A call is served only by policy. It waits within its context until there is some, and
// is refused with UNAVAILABLE if the listener does not exist, asks for what this version
// cannot do on servers (TLS, filter chains that match connections), has no route for the
// call, or if the mesh was closed; the log says why. A program that has no policy for its
// server does without ServerOptions.
//
// Calls to methods that the server does not have are answered by grpc before any filter.
// The first message of a unary call is read before the filters see the call. The mesh
// keeps the listener up to date until it is closed.
func (m *Mesh) ServerOptions(listener string) []grpc.ServerOption {
	s := m.server(listener)
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}
}

// Handler has requests go by the policy of a server listener before they reach next, as
// [Mesh.ServerOptions] has it for gRPC. Requests that are refused are answered with 503,
// or with 404 if policy has no route for them.
//
// The http.ResponseWriter that next gets can do what the server's can: flush, hijack, and
// what else http.ResponseController finds. Filters do not see what is written to a
// hijacked connection.
func (m *Mesh) Handler(listener string, next http.Handler) http.Handler {
	return &handler{server: m.server(listener), next: next}
}

// server is a listener and the calls that come in by it.
type server struct {
	name   string
	target *call.Target // nil if there can be none
	log    *slog.Logger
	err    error // why there can be none
}

func (m *Mesh) server(listener string) *server {
	name, err := m.names.ofServer(listener)
	if err != nil {
		m.log.Error("server has no policy: calls are refused", "listener", listener, "error", err)
		return &server{name: listener, log: m.log, err: err}
	}
	return &server{name: listener, target: m.acquire(name), log: m.log}
}

// accept routes a call that came in. The error is for its caller, and the call has then
// ended.
func (s *server) accept(ctx context.Context, c *call.Call) error {
	if s.err != nil {
		return call.Outside(&call.Error{Kind: call.ErrRefused, Code: codes.Unavailable, Target: s.name, Err: s.err})
	}
	c.Target = s.target
	if err := c.Accept(ctx); err != nil {
		return s.outside(c, err)
	}
	return nil
}

// outside is what the caller gets to know of err. The rest is for the log.
func (s *server) outside(c *call.Call, err error) error {
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("call refused", "listener", s.name, "path", c.Request.Path, "error", err)
	}
	return call.Outside(err)
}
