package mesh

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/message"
	"github.com/weft-mesh/weft/mesh/internal/body"
)

// passedStream is a stream of which filters replace the messages. What is sent passes them
// in a goroutine, which the end of the stream ends.
type passedStream struct {
	*followedStream
	ctx     context.Context // the call's
	conn    *grpc.ClientConn
	servers bool // the response has any number of messages

	sends    *body.Pipe  // nil if what is sent passes no filter
	sent     filter.Body // what they make of it
	sentLike *messageLike

	receiving sync.Mutex // by Header and RecvMsg
	like      *messageLike
	received  filter.Body // what they make of what is received; nil if that passes none
	arrived   bool        // it is known which

	mu        sync.Mutex
	finished  bool // grpc has
	delivered bool // the application got the end
	err       error
	end       func(error) // nil once it was called
	unwatch   func() bool
}

// pass has the messages of a stream pass the filters; nil if none of them wants to see
// any. end is what ends the call.
func (r *rpc) pass(f *followed, conn *grpc.ClientConn, desc *grpc.StreamDesc, end func(error)) *passedStream {
	given, made := r.call.RequestBody()
	if _, response := r.call.Bodies(); given == made && !response {
		return nil
	}
	s := &passedStream{ctx: r.Context, conn: conn, servers: desc.ServerStreams, like: newMessageLike(), sentLike: newMessageLike(), end: end}
	s.followedStream = &followedStream{followed: f}
	if given != made {
		s.sends, s.sent = given.(*body.Pipe), made
	}
	s.unwatch = context.AfterFunc(s.ctx, s.conclude)
	return s
}

// over starts what passes the filters over a stream that was opened.
func (s *passedStream) over(stream grpc.ClientStream) *passedStream {
	s.ClientStream = stream
	if s.sends != nil {
		go s.pass()
	}
	return s
}

// pass has what the application sends pass the filters.
func (s *passedStream) pass() {
	for {
		piece, err := s.sent.Next()
		var m any
		if err == nil {
			m, err = s.sentLike.decode(piece)
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = s.followedStream.CloseSend()
			return
		case err != nil:
			s.fail(err)
			return
		}
		if s.followedStream.SendMsg(m) != nil { // receiving says why
			_ = s.sent.Close()
			return
		}
	}
}

// fail ends the call for what a filter did to a body.
func (s *passedStream) fail(err error) {
	s.mu.Lock()
	over := s.finished
	s.mu.Unlock()
	if over {
		return
	}
	f := s.followed
	f.mu.Lock()
	if f.err == nil && !f.ended {
		f.err = f.rpc.call.BodyFailed(err)
	}
	f.mu.Unlock()
	f.cancel()
}

func (s *passedStream) SendMsg(m any) error {
	if s.sends == nil {
		return s.followedStream.SendMsg(m)
	}
	piece, err := message.Encode(m)
	if err != nil {
		s.fail(err)
		return status.Error(codes.Internal, "weft: "+err.Error())
	}
	s.sentLike.set(m)
	if s.sends.Write(piece) != nil {
		return io.EOF
	}
	return nil
}

func (s *passedStream) CloseSend() error {
	if s.sends == nil {
		return s.followedStream.CloseSend()
	}
	s.sends.End()
	return nil
}

// Header has the header pass the filters, who get the body with it.
func (s *passedStream) Header() (metadata.MD, error) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	return s.arrive()
}

// arrive waits for the header. The caller holds s.receiving.
func (s *passedStream) arrive() (metadata.MD, error) {
	if s.arrived {
		return s.followedStream.Header()
	}
	s.arrived = true
	c := &s.followed.rpc.call
	c.ShowBody(&receivedBody{stream: s})
	md, err := s.followedStream.Header()
	if given, made := c.ResponseBody(); err == nil && made != nil && given != made {
		s.received = made
	}
	return md, err
}

func (s *passedStream) RecvMsg(m any) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	err := s.recv(m)
	if err != nil || !s.servers {
		s.deliver()
	}
	if err != nil {
		return s.followed.refused(err) // the trailer's filters may say more
	}
	return nil
}

func (s *passedStream) recv(m any) error {
	s.like.set(m)
	if !s.arrived {
		if _, err := s.arrive(); err != nil {
			return s.followed.refused(err)
		}
	}
	if s.received == nil {
		return s.followedStream.RecvMsg(m)
	}
	piece, err := s.received.Next()
	if err == nil && !s.servers {
		if _, more := s.received.Next(); more == nil {
			err = errors.New("a filter made more than one message of a response's only one")
		} else if !errors.Is(more, io.EOF) {
			err = more
		}
	}
	var one any
	if err == nil {
		one, err = s.like.decode(piece)
	}
	switch {
	case err == nil:
		message.Give(m, one)
		return nil
	case errors.Is(err, io.EOF):
		return err
	}
	s.fail(err)
	return s.followed.refused(err)
}

// deliver says that the application got the end of the response.
func (s *passedStream) deliver() {
	s.mu.Lock()
	s.delivered = true
	s.mu.Unlock()
	s.conclude()
}

// finish is called when grpc is finished with the stream, which the filters may be not:
// then the call ends when the application has what they make of it, or gives up: by its
// context, or by closing the channel.
func (s *passedStream) finish(err error) {
	s.mu.Lock()
	s.finished, s.err = true, err
	s.delivered = s.delivered || s.conn.GetState() == connectivity.Shutdown
	s.mu.Unlock()
	if s.sends != nil {
		_ = s.sends.Close()
	}
	s.conclude()
}

func (s *passedStream) conclude() {
	s.mu.Lock()
	end := s.end
	if !s.finished || !s.delivered && s.ctx.Err() == nil {
		end = nil
	} else {
		s.end = nil
	}
	err := s.err
	s.mu.Unlock()
	if end != nil {
		s.unwatch()
		end(err)
	}
}

// receivedBody is what a stream receives, as filters get it.
type receivedBody struct {
	stream *passedStream
	read   bool  // a message
	err    error // the end
}

func (b *receivedBody) Next() ([]byte, error) {
	s := b.stream
	if b.err != nil {
		return nil, b.err
	}
	if b.err = s.like.wait(s.ctx); b.err == nil && s.like.of == nil {
		b.err = errUnlike
	}
	if b.err != nil {
		return nil, b.err
	}
	m := message.New(s.like.of)
	if b.err = io.EOF; s.servers || !b.read {
		b.err = s.ClientStream.RecvMsg(m)
	}
	b.read = true
	if b.err == nil {
		return message.Encode(m)
	}
	if errors.Is(b.err, io.EOF) {
		s.followed.rpc.call.Trailed(filter.OwnMetadata(s.ClientStream.Trailer().Copy()))
	}
	return nil, b.err
}

func (b *receivedBody) Close() error { return nil }

var _ grpc.ClientStream = (*passedStream)(nil)
