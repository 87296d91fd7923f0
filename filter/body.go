package filter

import (
	"io"
	"slices"
)

// Body is the body of a request or a response on its way past filters: HTTP's bytes in
// pieces of any length, gRPC's messages one by one, each encoded and without a frame.
//
// A filter that finds one in a [Request] or a [Response] may put another in its place,
// made of it or not. One goroutine at a time calls Next; Close may be called meanwhile.
type Body interface {
	// Next waits for the next piece, which is the caller's to keep. io.EOF says that the
	// body has ended; another error, that it broke off, and ends the call as an error of
	// [Filter.Request] does as long as there is no answer yet, else with the connection or
	// stream. Under gRPC, an empty piece is an empty message.
	Next() ([]byte, error)
	// Close says that nobody reads on, which ends Next and what the body is made of.
	Close() error
}

// BodyFilter is a [Filter] that may read or replace bodies. Others do not get them.
type BodyFilter interface {
	Filter
	// Bodies reports whether calls are to come with their request's body, and with their
	// response's. It always says the same.
	Bodies() (request, response bool)
}

// Bodies implements [BodyFilter].
func (c Chain) Bodies() (request, response bool) {
	for _, f := range c {
		if one, ok := f.(BodyFilter); ok {
			in, out := one.Bodies()
			request, response = request || in, response || out
		}
	}
	return request, response
}

// BodyOf is the body of one piece, whose length is known.
func BodyOf(piece []byte) Body { return &onePiece{piece: piece} }

type onePiece struct {
	piece []byte
	read  bool
}

func (b *onePiece) Len() int { return len(b.piece) }

func (b *onePiece) Next() ([]byte, error) {
	if b.read {
		return nil, io.EOF
	}
	b.read = true
	return b.piece, nil
}

func (b *onePiece) Close() error { return nil }

// BodyLen returns the length of a body that has not been read from, in bytes; false if
// it is not known. It is that of a body's Len method.
func BodyLen(b Body) (int, bool) {
	if sized, ok := b.(interface{ Len() int }); ok {
		return sized.Len(), true
	}
	return 0, false
}

// maxPiece bounds the pieces in which a reader's bytes come.
const maxPiece = 32 << 10

// BodyFrom is the body that r reads.
func BodyFrom(r io.ReadCloser) Body { return &readBody{ReadCloser: r} }

type readBody struct {
	io.ReadCloser
	buffer []byte
	err    error
}

func (b *readBody) Next() ([]byte, error) {
	if b.buffer == nil {
		b.buffer = make([]byte, maxPiece)
	}
	for b.err == nil {
		n, err := b.Read(b.buffer)
		if b.err = err; n > 0 {
			return slices.Clone(b.buffer[:n]), nil
		}
	}
	return nil, b.err
}

// BodyReader reads the pieces of a body as a stream of bytes, as those of HTTP are.
func BodyReader(b Body) io.ReadCloser { return &bodyReader{Body: b} }

type bodyReader struct {
	Body
	rest []byte
	err  error
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.Next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
