package mesh

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/message"
	"github.com/weft-mesh/weft/mesh/internal/body"
)

// inboundBody is what a server receives of a stream, as filters get it: when the handler
// asks for the first message, it is known of which type they are.
type inboundBody struct {
	stream grpc.ServerStream
	like   *messageLike
}

func (b *inboundBody) Next() ([]byte, error) {
	if err := b.like.wait(b.stream.Context()); err != nil {
		return nil, err
	}
	if b.like.of == nil {
		return nil, errUnlike
	}
	m := message.New(b.like.of)
	if err := b.stream.RecvMsg(m); err != nil {
		return nil, err
	}
	return message.Encode(m)
}

func (b *inboundBody) Close() error { return nil }

// passInbound has the message of a unary call be what the filters make of it.
func (r *inboundRPC) passInbound(m any) (any, error) {
	given, made := r.call.RequestBody()
	if given == made {
		return m, nil
	}
	return onlyMessage(made, m)
}

// outbound is what a server sends of a response, on its way past filters in a goroutine.
// The end of the RPC's context ends it, else the end of the response does.
type outbound struct {
	pipe *body.Pipe
	like *messageLike
	done chan struct{} // closed when the goroutine has ended
	err  error         // then: what a filter did to the body
}

// showBody shows the response's body to filters, who get the header next.
func (p *inboundResponse) showBody() {
	if _, wanted := p.rpc.call.Bodies(); wanted {
		p.out = &outbound{pipe: body.NewPipe(), like: newMessageLike()}
		p.rpc.call.ShowBody(p.out.pipe)
	}
}

// passBody has what filters made of the response's body go to sink, if they made one.
func (p *inboundResponse) passBody() {
	given, made := p.rpc.call.ResponseBody()
	if p.out == nil {
		return
	}
	if made == nil || given == made {
		p.out = nil
		return
	}
	o := p.out
	o.done = make(chan struct{})
	go func() {
		defer close(o.done)
		stop := context.AfterFunc(p.rpc.ctx, func() { _ = o.pipe.Close() })
		defer stop()
		if err := o.pass(made, p.sink); !errors.Is(err, io.EOF) {
			o.err = err
			p.broken()
		}
		_ = o.pipe.Close()
		_ = made.Close()
	}()
}

// pass returns why there is no more to pass, io.EOF at the end.
func (o *outbound) pass(made filter.Body, sink func(any) error) error {
	for {
		piece, err := made.Next()
		if err != nil {
			return err
		}
		m, err := o.like.decode(piece)
		if err != nil {
			return err
		}
		if err := sink(m); err != nil {
			return err
		}
	}
}

// send has a message of the handler's pass the filters.
func (o *outbound) send(m any) error {
	piece, err := message.Encode(m)
	if err != nil {
		return status.Error(codes.Internal, "weft: "+err.Error())
	}
	o.like.set(m)
	if o.pipe.Write(piece) != nil {
		return status.Error(codes.Canceled, "weft: a filter ended the response")
	}
	return nil
}

// ends has what was sent of the response, and its trailer, pass the filters, and returns
// what a filter did to it.
func (p *inboundResponse) ends(o *outbound, trailer filter.Header) error {
	p.rpc.call.Trailed(trailer)
	o.pipe.End()
	<-o.done
	return o.err
}

// unaryReply is the reply of a unary call when it has passed the filters.
type unaryReply struct{ messages []any }

func (u *unaryReply) sink(m any) error {
	if len(u.messages) == 1 {
		return errors.New("a filter made more than one message of a unary call's")
	}
	u.messages = append(u.messages, m)
	return nil
}

// only returns the reply.
func (u *unaryReply) only() (any, error) {
	if len(u.messages) == 0 {
		return nil, status.Error(codes.Internal, "weft: a filter made no message of a unary call's")
	}
	return u.messages[0], nil
}
