package extproc

import (
	"errors"
	"io"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

// body is a body that goes to the server in pieces, and on as the server has it. A
// goroutine sends it, while whoever reads it takes what comes back.
type body struct {
	*direction
	source filter.Body
	begun  bool

	// trailer reports whether a trailer came after the body. send sends it, and waits for the
	// answer. Nil for requests, and where trailers are not sent.
	trailer func() (came bool)
	send    func()
	done    func() // is called when the end was read; may be nil
}

// begin starts sending. It is called before the body is read, or by who reads it.
func (b *body) begin() {
	if !b.begun {
		b.begun = true
		b.stream.mu.Lock()
		b.running = true
		b.stream.mu.Unlock()
		go b.feed()
	}
}

func (b *body) Next() ([]byte, error) {
	b.begin()
	piece, err := b.await()
	if errors.Is(err, io.EOF) && b.done != nil {
		b.done()
	}
	return piece, err
}

// await waits for a piece to go on.
func (b *body) await() ([]byte, error) {
	s := b.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.over && s.err != nil && !b.ended:
			return nil, s.err
		case len(b.pieces) > 0:
			return b.next(), nil
		case b.ended:
			return nil, io.EOF
		case b.failed != nil:
			return nil, b.failed
		case b.closed:
			return nil, errEnded
		}
		s.moved.Wait()
	}
}

func (b *body) Close() error {
	s := b.stream
	s.mu.Lock()
	b.closed, b.running = true, false
	b.pieces, b.size = nil, 0
	s.moved.Broadcast()
	s.mu.Unlock()
	return b.source.Close()
}

// feed sends the body until its end. Once nobody wants to see it, it goes on as it is.
func (b *body) feed() {
	for {
		piece, err := b.source.Next()
		switch {
		case errors.Is(err, io.EOF):
			b.finish()
			return
		case err != nil:
			b.stream.mu.Lock()
			b.failed = err
			b.stream.moved.Broadcast()
			b.stream.mu.Unlock()
			return
		case len(piece) == 0 && !b.grpc:
			continue
		case !b.take(piece):
			return
		}
	}
}

// take has a piece sent, or go on. It reports whether another one is wanted.
func (b *body) take(piece []byte) bool {
	s, d := b.stream, b.direction
	for {
		s.mu.Lock()
		for !d.passes() && d.held+d.size >= maxBuffered || d.draining && !d.passes() {
			s.moved.Wait()
		}
		if d.passes() {
			defer s.mu.Unlock()
			return d.pass(piece)
		}
		event := d.event(&servicev3.HttpBody{Body: piece})
		s.mu.Unlock()
		if s.post(d, event, &expected{about: bodyEvent, streamed: true, piece: piece}) {
			return true
		}
	}
}

// passes reports whether pieces are not sent any more.
func (d *direction) passes() bool { return d.stream.over || d.direct || d.ended || d.closed }

// pass has a piece go on as it is, once there is room, unless nobody wants it. It reports
// whether another one is wanted; what comes after an end that the server has set is read
// and dropped.
func (d *direction) pass(piece []byte) bool {
	if d.ended {
		return !d.closed
	}
	for d.size >= maxBuffered && !d.closed && d.stream.err == nil {
		d.stream.moved.Wait()
	}
	if d.closed || d.stream.err != nil {
		return false
	}
	d.goesOn(piece, false)
	d.stream.moved.Broadcast()
	return true
}

// finish says that there are no more pieces.
func (b *body) finish() {
	s, d := b.stream, b.direction
	trailer := b.trailer != nil && b.trailer()
	for {
		s.mu.Lock()
		for d.draining && !d.passes() {
			s.moved.Wait()
		}
		if d.passes() || trailer && !duplex(d.mode) {
			d.settle()
			s.mu.Unlock()
			return
		}
		event := d.event(&servicev3.HttpBody{EndOfStream: true, EndOfStreamWithoutMessage: d.grpc})
		response := d == &s.response
		if d.grpc && response && !(trailer && b.send != nil) {
			d.fed, s.halved = true, true
		}
		s.mu.Unlock()
		switch {
		case trailer && b.send != nil: // it is the end of the body
			b.send()
			s.mu.Lock()
			d.settle()
			s.mu.Unlock()
			return
		case d.grpc && response: // of which no event tells
			s.halfClose()
			return
		case s.post(d, event, &expected{about: bodyEvent, streamed: true, last: true}):
			return
		}
	}
}

// settle ends the body with the last piece that is to be answered.
func (d *direction) settle() {
	if n := len(d.expects); n > 0 && d.expects[n-1].streamed {
		d.expects[n-1].last = true
	} else if d.stream.err == nil {
		d.ended = true
	}
	d.stream.moved.Broadcast()
}

// observed is a body that goes to the server on its way.
type observed struct {
	*direction
	filter.Body
	ended   bool
	trailer func() bool // as that of body
	left    int         // bytes until the end; -1 if only Next can say that it is there
}

// observe is b with the length that it stays at, if that is known. The server is told of the
// end with the last piece then, as Envoy does: who sends a body of known length may ask for
// what comes after it when the answer is there already, or not at all.
func observe(b *observed) filter.Body {
	b.left = -1
	length, ok := filter.BodyLen(b.Body)
	if !ok {
		return b
	}
	if b.trailer == nil && !b.grpc {
		b.left = length
	}
	return sized{b, length}
}

type sized struct {
	*observed
	length int
}

func (b sized) Len() int { return b.length }

func (b *observed) Next() ([]byte, error) {
	piece, err := b.Body.Next()
	s := b.stream
	switch {
	case errors.Is(err, io.EOF):
		if b.ended || b.trailer != nil && (b.grpc || b.trailer()) {
			break
		}
		b.ended = true
		s.post(b.direction, b.event(&servicev3.HttpBody{EndOfStream: true, EndOfStreamWithoutMessage: b.grpc}), nil)
	case err == nil && (len(piece) > 0 || b.grpc):
		if b.left > 0 {
			b.left = max(b.left-len(piece), 0)
			b.ended = b.left == 0
		}
		s.post(b.direction, b.event(&servicev3.HttpBody{Body: piece, EndOfStream: b.ended}), nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	return piece, err
}
