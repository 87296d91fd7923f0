package mesh

import "google.golang.org/grpc"

// HTTPTargets is how many targets requests alone keep.
func HTTPTargets(m *Mesh) int { return m.http.current.Load().count() }

// ServerUnary is the interceptor that ServerOptions gives a server's unary calls.
func ServerUnary(m *Mesh, listener string) grpc.UnaryServerInterceptor {
	return m.server(listener).unary
}

// Kept is how many bytes of requests m keeps to send them again.
func Kept(m *Mesh) int64 { return m.buffers.Used() }
