package filter

import (
	"context"
	"errors"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
)

// Services are the gRPC services beside the path of calls that filters may ask, as
// policy has them (gRFC A102). Its methods may be called from any goroutine.
type Services interface {
	// Service reads where a service is and how it is reached. It does not connect. The
	// error names the field that is bad; that the service must not be asked is one.
	Service(m *corev3.GrpcService) (Service, error)
}

// Service is a gRPC service that filters ask. Its methods may be called from any
// goroutine. They send nothing of what ctx has for the call that passes the filter: no
// metadata of the application's reach the service. Their errors are gRPC statuses.
type Service interface {
	// Call makes a unary call of a method, "/package.Service/Method".
	Call(ctx context.Context, method string, request, reply proto.Message) error
	// Stream opens a stream, within ctx, which the caller must cancel when it is done
	// with the stream. It waits for a connection.
	Stream(ctx context.Context, method string) (Stream, error)
}

// Stream is a stream of messages to and from a [Service]. One goroutine may send while
// another receives.
type Stream interface {
	// Send sends a message; io.EOF means that the stream has ended, for what Recv says.
	Send(proto.Message) error
	// Recv receives a message; io.EOF means that the stream ended well.
	Recv(proto.Message) error
	// CloseSend says that no more is sent.
	CloseSend() error
}

// ErrNoServices is the error for a service where there are none.
var ErrNoServices = errors.New("there are no gRPC services for filters here")

// Service reads a service that the configuration names, as [Services] does.
func (c *Config) Service(m *corev3.GrpcService) (Service, error) {
	if c.registry == nil || c.registry.services == nil {
		return nil, ErrNoServices
	}
	return c.registry.services.Service(m)
}

// WithServices returns a registry of the same kinds, whose configurations may name
// services.
func (r *Registry) WithServices(s Services) *Registry {
	with := *r
	with.services = s
	return &with
}
