package grpcservice

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/filter"
)

// service is a service as one configuration names it.
type service struct {
	conn     *grpc.ClientConn
	timeout  time.Duration // of a call or stream; zero for none
	metadata metadata.MD
}

// context is that of a call: with the service's metadata in place of those that the
// application gave its own call.
func (s *service) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = metadata.NewOutgoingContext(ctx, s.metadata)
	if s.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

func (s *service) Call(ctx context.Context, method string, request, reply proto.Message) error {
	ctx, cancel := s.context(ctx)
	defer cancel()
	return s.conn.Invoke(ctx, method, request, reply)
}

var bidirectional = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func (s *service) Stream(ctx context.Context, method string) (filter.Stream, error) {
	ctx, cancel := s.context(ctx)
	one, err := s.conn.NewStream(ctx, bidirectional, method)
	if err != nil {
		cancel()
		return nil, err
	}
	return &stream{one, s, cancel}, nil
}

// stream refers to its service, whose channel must live as long.
type stream struct {
	grpc.ClientStream
	service *service
	cancel  context.CancelFunc // of the service's timeout
}

func (s *stream) Send(m proto.Message) error { return s.SendMsg(m) }

func (s *stream) Recv(m proto.Message) error {
	err := s.RecvMsg(m)
	if err != nil {
		s.cancel()
	}
	return err
}
