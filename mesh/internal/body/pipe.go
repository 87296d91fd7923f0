// Package body is what the adapters of both protocols have bodies pass filters by.
package body

import (
	"io"
	"sync"
)

// Pipe is a body whose pieces somebody writes, one at a time: a piece waits until it is
// read. It makes a filter.Body of what an application sends.
type Pipe struct {
	pieces chan []byte
	ended  chan struct{}
	closed chan struct{}
	end    sync.Once
	close  sync.Once
}

// NewPipe returns an open pipe.
func NewPipe() *Pipe {
	return &Pipe{pieces: make(chan []byte), ended: make(chan struct{}), closed: make(chan struct{})}
}

// Write hands over a piece, which is not to be changed any more. The error is
// io.ErrClosedPipe once nobody reads. It must not be called at the same time as itself or
// End, nor after that.
func (p *Pipe) Write(piece []byte) error {
	select {
	case p.pieces <- piece:
		return nil
	case <-p.closed:
		return io.ErrClosedPipe
	}
}

// End says that no piece is to come.
func (p *Pipe) End() { p.end.Do(func() { close(p.ended) }) }

// Next implements filter.Body.
func (p *Pipe) Next() ([]byte, error) {
	select {
	case piece := <-p.pieces:
		return piece, nil
	case <-p.ended:
		return nil, io.EOF
	case <-p.closed:
		return nil, io.ErrClosedPipe
	}
}

// Close implements filter.Body. It may be called more than once.
func (p *Pipe) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}
