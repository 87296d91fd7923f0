package mesh

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/pause"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// holdMessage holds a message back as a filter wants it, within ctx.
func holdMessage(ctx context.Context, paced filter.PacedFollower, m any) error {
	if err := pause.For(ctx, call.MessageWait(paced, m)); err != nil {
		return status.FromContextError(err).Err()
	}
	return nil
}

// pacedStream is a stream whose messages a filter holds back when they have been received.
type pacedStream struct {
	grpc.ClientStream
	ctx      context.Context //nolint:containedctx // the caller's: the stream's own may have ended before its last message went
	deadline time.Time       // by policy, too; zero for none
	paced    filter.PacedFollower
}

func newPacedStream(ctx context.Context, r *rpc, s grpc.ClientStream, paced filter.PacedFollower) *pacedStream {
	p := &pacedStream{ClientStream: s, ctx: ctx, paced: paced}
	p.deadline, _ = r.Context.Deadline()
	return p
}

func (s *pacedStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	ctx := s.ctx
	if !s.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, s.deadline)
		defer cancel()
	}
	return holdMessage(ctx, s.paced, m)
}

// emptyStream is a stream that policy answers with OK and no message (gRFC A33).
type emptyStream struct{ ctx context.Context } //nolint:containedctx // a stream has its context

func newEmptyStream(ctx context.Context, opts []grpc.CallOption) emptyStream {
	_, finish := apart(opts)
	for _, f := range finish {
		f(nil)
	}
	return emptyStream{ctx}
}

func (emptyStream) Header() (metadata.MD, error) { return nil, nil }
func (emptyStream) Trailer() metadata.MD         { return nil }
func (emptyStream) CloseSend() error             { return nil }
func (s emptyStream) Context() context.Context   { return s.ctx }
func (emptyStream) SendMsg(any) error            { return io.EOF }
func (emptyStream) RecvMsg(any) error            { return io.EOF }

// empty reports whether err is the answer of a stream that ends well without a message.
func empty(err error, desc *grpc.StreamDesc) bool {
	reply := filter.ReplyOf(err)
	return reply != nil && reply.Empty && desc.ServerStreams
}
