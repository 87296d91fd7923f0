package mesh

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	gbalancer "google.golang.org/grpc/balancer"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// streamAttempt is one attempt of a stream. It has an rpc of its own, because what is left
// of an attempt may still use its context.
type streamAttempt struct {
	grpc.ClientStream
	*rpc
	ended
	stream *retriedStream
	bound  *call.Bound
	cancel context.CancelFunc

	receiving sync.Mutex // Header receives too, perhaps while the application does
	received  bool       // a message; Header receives no more. Changed with receiving held

	// replayed is closed, under stream.ending, when what was sent before was sent again;
	// nil for nothing.
	replayed chan struct{}

	once sync.Once
	done chan struct{} // closed when grpc is finished with it
	err  error         // then
}

// replay sends what was sent before, beside who receives: a server may take no more before
// its answers are taken.
func (a *streamAttempt) replay(sent []any) {
	for _, m := range sent {
		if a.ClientStream.SendMsg(m) != nil {
			break // receiving says why
		}
	}
	s := a.stream
	s.ending.Lock()
	close(a.replayed)
	closed := s.closed
	s.ending.Unlock()
	if closed {
		_ = a.ClientStream.CloseSend()
		a.sentAll()
	}
}

// replaying reports whether replay is under way. The caller holds stream.ending.
func (a *streamAttempt) replaying() bool {
	select {
	case <-a.replayed:
		return false
	default:
		return a.replayed != nil
	}
}

// SendMsg sends what comes after what was sent before.
func (a *streamAttempt) SendMsg(m any) error {
	if a.replayed != nil {
		<-a.replayed
	}
	return a.ClientStream.SendMsg(m)
}

// finished is called by grpc when it is finished with the attempt.
func (a *streamAttempt) finished(err error) {
	a.once.Do(func() {
		a.err = err
		s := a.stream
		s.ending.Lock()
		close(a.done)
		last := s.last == a
		s.ending.Unlock()
		if last {
			s.end(err)
		}
	})
}

// drop ends the attempt and reports its outcome.
func (a *streamAttempt) drop() {
	a.endStream(a.err)
	a.bound.Stop()
	a.cancel()
}

// Pick is of a grpclb.Caller.
func (a *streamAttempt) Pick(v *balancer.View) (*balancer.Link, string, error) {
	a.ended = ended{}
	return a.rpc.Pick(v)
}

// Failed takes what grpc knows of the attempt.
func (a *streamAttempt) Failed(info gbalancer.DoneInfo) {
	a.saw(info)
	a.heed(info)
}

// Context is the stream's; both parts of an attempt have one.
func (a *streamAttempt) Context() context.Context { return a.ClientStream.Context() }

// receive receives a message; one does at a time.
func (a *streamAttempt) receive(m any) error {
	a.receiving.Lock()
	defer a.receiving.Unlock()
	err := a.receiveLocked(m)
	if err == nil {
		a.received = true
	}
	return err
}

// receiveStatus receives the status of an attempt without a header, unless a message has
// come of it after all.
func (a *streamAttempt) receiveStatus() error {
	a.receiving.Lock()
	defer a.receiving.Unlock()
	if a.received {
		return nil
	}
	return a.receiveLocked(nil)
}

func (a *streamAttempt) receiveLocked(m any) error {
	err := a.ClientStream.RecvMsg(m)
	if errors.Is(err, io.EOF) {
		// grpc says so, too, of a stream that it opened again by itself and that failed before
		// all was sent again. Its status comes after.
		err = a.ClientStream.RecvMsg(m)
	}
	return err
}

// sentAll says that the attempt's request has ended. An answer that comes in time is not
// cut off, even though the application has yet to receive it.
func (a *streamAttempt) sentAll() {
	a.bound.Sent()
	if !a.bound.Counts() {
		return
	}
	go func() {
		_, _ = a.ClientStream.Header()
		a.bound.Answered()
	}()
}
