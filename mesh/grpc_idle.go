package mesh

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/mesh/internal/call"
)

// idleUnary bounds a unary RPC by the idle timeout of its route. Its answer comes whole, so
// that nothing is seen to come before it ends.
func (r *rpc) idleUnary() {
	d := r.call.IdleTimeout()
	if d == 0 {
		return
	}
	ctx, stop := context.WithTimeout(r.Context, d)
	end := r.cancel
	r.Context, r.cancel = ctx, func() {
		stop()
		if end != nil {
			end()
		}
	}
}

// idleStream is a stream of which something has to come or go now and then.
type idleStream struct {
	grpc.ClientStream
	ctx   context.Context // the call's
	bound *call.Bound
}

// idle bounds a stream; nil if nothing does.
func (r *rpc) idle() *idleStream {
	ctx, b := r.call.Idle(r.Context)
	if b == nil {
		return nil
	}
	r.Context = ctx
	r.ends(b)
	return &idleStream{ctx: ctx, bound: b}
}

func (s *idleStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	s.bound.Progress()
	return s.explain(err)
}

func (s *idleStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.bound.Progress()
	return s.explain(err)
}

// explain puts the reason in place of the cancellation of a stream that was given up.
func (s *idleStream) explain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if why := call.Exceeded(s.ctx); why != nil {
		return status.Error(codes.DeadlineExceeded, "weft: "+why.Error())
	}
	return err
}
