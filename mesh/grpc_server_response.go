package mesh

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/message"
)

// headerSink takes the header and trailer of a response to its caller.
type headerSink interface {
	SetHeader(metadata.MD) error
	SendHeader(metadata.MD) error
	SetTrailer(metadata.MD) error
}

// transportSink is that of a unary call.
func transportSink(ctx context.Context) headerSink {
	if st := grpc.ServerTransportStreamFromContext(ctx); st != nil {
		return st
	}
	return noSink{}
}

// noSink is that of a call without a transport, to which no header can be given.
type noSink struct{}

func (noSink) SetHeader(metadata.MD) error  { return nil }
func (noSink) SendHeader(metadata.MD) error { return nil }
func (noSink) SetTrailer(metadata.MD) error { return nil }

type streamSink struct{ grpc.ServerStream }

func (s streamSink) SetTrailer(md metadata.MD) error {
	s.ServerStream.SetTrailer(md)
	return nil
}

// inboundResponse is the response of an RPC whose filters see it. It holds the header
// back until it would be sent, and the trailer until the end.
type inboundResponse struct {
	rpc    *inboundRPC
	server *server
	down   headerSink
	sink   func(any) error    // takes messages that filters made
	cancel context.CancelFunc // of the handler's context; nil where no filter sees bodies
	out    *outbound          // nil before the header has passed, and if filters leave the messages alone

	mu              sync.Mutex // handlers may send from several goroutines
	header, trailer metadata.MD
	sent            bool  // the header passed the filters
	err             error // in place of the response
}

func (p *inboundResponse) setHeader(md metadata.MD) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent {
		return p.down.SetHeader(md) // which knows what is wrong with that
	}
	p.header = metadata.Join(p.header, md)
	return nil
}

func (p *inboundResponse) setTrailer(md metadata.MD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trailer = metadata.Join(p.trailer, md)
}

// sendHeader sends the header, with md, unless a filter refuses it.
func (p *inboundResponse) sendHeader(md metadata.MD) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent {
		if p.err != nil {
			return p.err
		}
		return p.down.SendHeader(md)
	}
	header, err := p.respond(md)
	if err != nil {
		return err
	}
	return p.down.SendHeader(header)
}

// begin is called before a message is sent, which brings the header along.
func (p *inboundResponse) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent {
		return p.err
	}
	header, err := p.respond(nil)
	if err != nil || len(header) == 0 {
		return err
	}
	return p.down.SetHeader(header)
}

// respond has the header pass the filters. Called once, with mu held.
func (p *inboundResponse) respond(md metadata.MD) (metadata.MD, error) {
	p.sent = true
	p.showBody()
	header, err := p.rpc.call.Response(p.rpc.ctx, filter.OwnMetadata(metadata.Join(p.header, md)), 200)
	if err != nil {
		p.err = p.server.outside(&p.rpc.call, err)
		p.out = nil
		return nil, p.err
	}
	p.passBody()
	return header, nil
}

// finish has what is left of the response pass the filters, when the RPC ends with err,
// and returns what it ends with.
func (p *inboundResponse) finish(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sent {
		if header, refused := p.respond(nil); refused == nil && len(header) > 0 {
			_ = p.down.SetHeader(header) // the RPC is over already if this fails
		}
	}
	trailers := filter.OwnMetadata(metadata.Join(p.trailer, nil))
	if p.out != nil {
		p.failWith(p.ends(p.out, trailers))
	}
	if p.err != nil {
		err = p.err
	}
	if p.cancel != nil {
		p.cancel()
	}
	trailer := p.rpc.call.Trailer(trailers)
	if failed := p.rpc.call.TrailerFailed(); failed != nil && p.err == nil {
		err = p.server.outside(&p.rpc.call, failed)
	}
	if len(trailer) > 0 {
		_ = p.down.SetTrailer(trailer)
	}
	return err
}

// finishUnary is finish for a unary RPC, whose reply is there.
func (p *inboundResponse) finishUnary(reply any, err error, passed *unaryReply) (any, error) {
	if err == nil {
		if err = p.begin(); err == nil && p.out != nil {
			err = p.out.send(reply)
		}
	}
	if err = p.finish(err); err == nil && p.out != nil {
		return passed.only()
	}
	return reply, err
}

// failWith ends the RPC with what a filter did to a body. The caller holds p.mu.
func (p *inboundResponse) failWith(err error) {
	if err != nil && p.err == nil {
		p.err = p.server.outside(&p.rpc.call, p.rpc.call.BodyFailed(err))
	}
}

// fail is failWith while the handler is at work, which is to stop.
func (p *inboundResponse) fail(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failWith(err)
	p.broken()
	return p.err
}

// broken has the handler stop.
func (p *inboundResponse) broken() {
	if p.cancel != nil {
		p.cancel()
	}
}

// inboundTransport is what grpc.SetHeader and its like find in a handler's context.
type inboundTransport struct {
	grpc.ServerTransportStream
	response *inboundResponse
}

func (t inboundTransport) SetHeader(md metadata.MD) error  { return t.response.setHeader(md) }
func (t inboundTransport) SendHeader(md metadata.MD) error { return t.response.sendHeader(md) }
func (t inboundTransport) SetTrailer(md metadata.MD) error {
	t.response.setTrailer(md)
	return nil
}

// inboundStream is a stream that passed filters.
type inboundStream struct {
	grpc.ServerStream
	ctx      context.Context  //nolint:containedctx // a stream has its context
	response *inboundResponse // nil if no filter sees it
	paced    filter.PacedFollower

	received filter.Body // nil if filters leave what is received alone
	like     *messageLike
}

// pass has what is received be what filters made of it.
func (s *inboundStream) pass(given filter.Body) {
	if s.response == nil {
		return
	}
	if _, made := s.response.rpc.call.RequestBody(); made != nil && made != given {
		s.received, s.like = made, given.(*inboundBody).like
	}
}

func (s *inboundStream) RecvMsg(m any) error {
	if s.received == nil {
		return s.ServerStream.RecvMsg(m)
	}
	s.like.set(m)
	piece, err := s.received.Next()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err == nil {
		err = message.Decode(piece, m)
	}
	if err != nil {
		return s.response.fail(err)
	}
	return nil
}

// sink sends a message to the caller.
func (s *inboundStream) sink(m any) error {
	if s.paced != nil {
		if err := holdMessage(s.ctx, s.paced, m); err != nil {
			return err
		}
	}
	return s.ServerStream.SendMsg(m)
}

func (s *inboundStream) Context() context.Context { return s.ctx }

func (s *inboundStream) SetHeader(md metadata.MD) error {
	if s.response == nil {
		return s.ServerStream.SetHeader(md)
	}
	return s.response.setHeader(md)
}

func (s *inboundStream) SendHeader(md metadata.MD) error {
	if s.response == nil {
		return s.ServerStream.SendHeader(md)
	}
	return s.response.sendHeader(md)
}

func (s *inboundStream) SetTrailer(md metadata.MD) {
	if s.response == nil {
		s.ServerStream.SetTrailer(md)
		return
	}
	s.response.setTrailer(md)
}

func (s *inboundStream) SendMsg(m any) error {
	if s.response != nil {
		if err := s.response.begin(); err != nil {
			return err
		}
		if out := s.response.out; out != nil {
			return out.send(m)
		}
	}
	return s.sink(m)
}
