package mesh

import (
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/message"
	"github.com/weft-mesh/weft/mesh/internal/body"
)

// onlyMessage reads the body of a unary call, which has one message.
func onlyMessage(b filter.Body, like any) (any, error) {
	piece, err := b.Next()
	if err == nil {
		if _, err = b.Next(); err == nil {
			err = errors.New("a filter made more than one message of a unary call's")
		}
	} else if errors.Is(err, io.EOF) {
		return nil, status.Error(codes.Internal, "weft: a filter made no message of a unary call's")
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	l := newMessageLike()
	l.set(like)
	return l.decode(piece)
}

// offer is the body of a call for its filters: of a unary call, the message m; else what
// the application will send.
func (r *rpc) offer(m any) filter.Body {
	if wanted, _ := r.call.Bodies(); !wanted {
		return nil
	}
	if m == nil {
		return body.NewPipe()
	}
	return &messageBody{message: m}
}

// messageBody is the body of one message.
type messageBody struct {
	message any
	read    bool
	ended   func() // at its end; may be nil
}

func (b *messageBody) Next() ([]byte, error) {
	if b.read {
		if b.ended != nil {
			b.ended()
		}
		return nil, io.EOF
	}
	b.read = true
	return message.Encode(b.message)
}

func (b *messageBody) Close() error { return nil }

// passUnary has the message of a unary call be what the filters make of it.
func (r *rpc) passUnary(m any) (any, error) {
	given, made := r.call.RequestBody()
	if given == made {
		return m, nil
	}
	passed, err := onlyMessage(made, m)
	if err != nil {
		err = r.call.BodyFailed(err)
	}
	return passed, err
}

// showReply shows the filters a unary call's reply, which they see between its header and
// its trailer.
func (f *followed) showReply() {
	if _, wanted := f.rpc.call.Bodies(); !wanted || f.reply == nil {
		return
	}
	f.rpc.call.ShowBody(&messageBody{message: f.reply, ended: func() {
		f.rpc.call.Trailed(filter.OwnMetadata(f.trailer))
	}})
}

// passReply puts what the filters made of the reply in its place.
func (f *followed) passReply() {
	given, made := f.rpc.call.ResponseBody()
	if given == made || f.err != nil || f.reply == nil {
		return
	}
	m, err := onlyMessage(made, f.reply)
	if err != nil {
		f.err = f.rpc.call.BodyFailed(err)
		return
	}
	message.Give(f.reply, m)
}
