package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/weft-mesh/weft/resolver/xds"
)

// transport is the connection to one server.
type transport struct {
	target  string
	options []grpc.DialOption
	release func() // frees the credentials

	mu     sync.Mutex
	conn   *grpc.ClientConn
	closed bool
}

var errClosed = errors.New("the transport is closed")

// NewStream opens a stream. It returns when there is a connection, or with the
// reason why there is none.
func (t *transport) NewStream(ctx context.Context, method string) (xds.Stream, error) {
	conn, err := t.current()
	if err != nil {
		return nil, err
	}
	desc := grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	// Without WaitForReady this waits for a connection attempt but not for the
	// attempts after it, and so has an error to tell.
	s, err := conn.NewStream(ctx, &desc, method)
	if err != nil {
		return nil, err
	}
	return stream{s}, nil
}

// current returns the connection to use. One that has failed is replaced by a new
// one, which connects at once: how long to wait between two attempts is the xDS
// client's to say, and gRPC's own waiting would add to it.
func (t *transport) current() (*grpc.ClientConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	if t.conn.GetState() == connectivity.TransientFailure {
		conn, err := grpc.NewClient(t.target, t.options...)
		if err != nil {
			return nil, fmt.Errorf("xds server %s: %w", t.target, err)
		}
		t.conn.Close()
		t.conn = conn
	}
	return t.conn, nil
}

func (t *transport) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	t.conn.Close()
	t.release()
}

// stream is a gRPC stream of serialized messages.
type stream struct{ s grpc.ClientStream }

func (s stream) Send(b []byte) error { return s.s.SendMsg(b) }

func (s stream) Recv() ([]byte, error) {
	var b []byte
	if err := s.s.RecvMsg(&b); err != nil {
		return nil, err
	}
	return b, nil
}
