package mesh

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/internal/message"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resilience"
)

// retriedStream is a stream that is tried again until its first response message, or its
// header, has come (gRFC A6, committed). Until then it keeps what was sent, as long as that
// is not too much. Streams are not hedged.
type retriedStream struct {
	rpc    *rpc
	ctx    context.Context // the call's
	series *call.Series
	method string
	desc   *grpc.StreamDesc
	cc     *grpc.ClientConn
	open   grpc.Streamer
	opts   []grpc.CallOption
	finish []func(error) // when the call ends
	unstop func() bool   // stops watching ctx

	// flowing is the last attempt, once a message was received of it as that: messages go
	// its way from then on, without a look at what follows.
	flowing atomic.Pointer[streamAttempt]

	mu        sync.Mutex
	current   *streamAttempt
	committed bool
	sent      []any // while not committed
	closed    bool  // CloseSend was called; changed with ending held, too
	failure   error // of the call, if no attempt got an answer

	// The end of attempts, and of what they send again, which comes in any goroutine, with mu
	// held or not: that is held until there is another attempt.
	ending sync.Mutex
	last   *streamAttempt // whose end is the call's; nil before it is committed
	over   bool
}

// retryStream opens a stream whose policy may have it tried again.
func (r *rpc) retryStream(desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts []grpc.CallOption) (grpc.ClientStream, error) {
	s := &retriedStream{rpc: r, ctx: r.Context, method: method, desc: desc, cc: cc, open: open}
	s.opts, s.finish = apart(opts)
	r.call.Track(nil)
	s.series = r.call.Series(s.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unstop = context.AfterFunc(s.ctx, s.abandoned)
	a, err := s.attempt(1)
	if err != nil {
		if a, err = s.again(a, err); err != nil {
			return nil, err
		}
	}
	if s.current = a; !r.call.Retriable() {
		s.commit(a, nil)
	}
	return s, nil
}

// attempt opens the n-th attempt and sends it what was sent before.
func (s *retriedStream) attempt(n int) (*streamAttempt, error) {
	a := &streamAttempt{rpc: &rpc{call: s.rpc.call.Fork(), changed: s.rpc.changed}, stream: s, done: make(chan struct{})}
	a.lb.Init(a, &a.call.Attempt)
	forget(s.opts)
	ctx, cancel := context.WithCancel(s.ctx)
	ctx, a.bound = s.rpc.call.Bound(ctx, false)
	a.cancel = cancel
	a.rpc.Context = s.rpc.number(ctx, n)
	var err error
	a.ClientStream, err = s.open(a, s.desc, s.cc, s.method, append(s.opts[:len(s.opts):len(s.opts)], grpc.OnFinish(a.finished))...)
	if err != nil {
		return a, err
	}
	if n > 1 {
		_ = a.Context() // commits it, so that grpc does not send it again by itself; see notTransparently
	}
	switch {
	case len(s.sent) > 0:
		a.replayed = make(chan struct{})
		go a.replay(s.sent)
	case s.closed:
		_ = a.ClientStream.CloseSend()
		a.sentAll()
	}
	return a, nil
}

// again replaces an attempt that failed. Without a further attempt the error is the
// call's. The caller holds s.mu, so that nothing is sent until it is known where to.
func (s *retriedStream) again(a *streamAttempt, err error) (*streamAttempt, error) {
	for {
		<-a.done
		result := a.result(s.ctx, err, &a.ended)
		if result.Kind == resilience.TimedOut {
			err = timedOut(a.rpc.Context)
		}
		n := 0
		if s.rpc.call.Retriable() {
			n = s.series.Again(&result, a.drop)
		}
		switch {
		case n == 0:
			err = a.explain(err)
			s.failure = err
			s.commit(a, err)
			return nil, err
		case n < 0:
			err = contextError(s.ctx)
			s.failure = err
			s.commit(nil, err)
			return nil, err
		}
		if a, err = s.attempt(n); err == nil {
			return a, nil
		}
	}
}

// commit makes the attempt the last. With an error the call has ended. The caller holds
// s.mu.
func (s *retriedStream) commit(a *streamAttempt, err error) {
	if s.committed {
		return
	}
	s.committed, s.sent = true, nil
	s.rpc.call.Forget()
	s.series.Close()
	s.ending.Lock()
	s.last = a
	ended := err != nil
	if a != nil {
		select {
		case <-a.done:
			ended = true
			if err == nil {
				err = a.err
			}
		default:
		}
	}
	s.ending.Unlock()
	if ended {
		s.end(err)
	}
}

// abandoned sees to the end of a call whose context ended, and that is not used any more.
func (s *retriedStream) abandoned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.committed {
		s.commit(s.current, nil) // which grpc ends
	}
}

// end tells of the end of the call, once.
func (s *retriedStream) end(err error) {
	s.ending.Lock()
	last, over := s.last, s.over
	s.over = true
	s.ending.Unlock()
	if over {
		return
	}
	s.unstop()
	if last != nil {
		last.drop()
		err = last.timeout(err)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil {
		s.rpc.call.Succeeded(0) // not before its status is known (gRFC A6)
	}
	for _, f := range s.finish {
		f(err)
	}
}

// now returns the attempt in use, and whether it is the last.
func (s *retriedStream) now() (*streamAttempt, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.committed
}

// replace is called when an attempt failed that was not the last, and returns the error of
// the call; nil if there is another attempt in use.
func (s *retriedStream) replace(a *streamAttempt, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != a {
		return nil
	}
	if s.committed {
		return err
	}
	next, err := s.again(a, err)
	if next != nil {
		s.current = next
	}
	return err
}

// answered is called when the attempt has got an answer. It reports whether that is the
// call's.
func (s *retriedStream) answered(a *streamAttempt) bool {
	a.bound.Answered()
	a.call.Answered()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != a {
		return false
	}
	s.commit(a, nil)
	return true
}

// SendMsg sends a message, and keeps it unless its size cannot be told, as of a
// grpc.PreparedMsg, which commits the call. That it did not get through shows when the stream
// is received from.
func (s *retriedStream) SendMsg(m any) error {
	if a := s.flowing.Load(); a != nil {
		err := a.SendMsg(m)
		a.bound.Progress()
		return err
	}
	s.mu.Lock()
	a, last := s.current, s.committed
	if !last {
		if size, ok := message.Size(m); ok && s.rpc.call.Keep(size) {
			s.sent = append(s.sent, m)
		} else {
			s.commit(a, nil)
			last = true
		}
	}
	s.mu.Unlock()
	err := a.SendMsg(m)
	switch {
	case errors.Is(err, io.EOF) && !last:
		return nil
	case err != nil && !last: // not the server's doing
		s.mu.Lock()
		s.commit(a, err)
		s.mu.Unlock()
	}
	a.bound.Progress()
	return err
}

func (s *retriedStream) CloseSend() error {
	s.mu.Lock()
	s.ending.Lock()
	s.closed = true
	a, replaying := s.current, s.current.replaying()
	s.ending.Unlock()
	s.mu.Unlock()
	if replaying {
		return nil // it is closed behind what was sent before
	}
	a.sentAll()
	return a.CloseSend()
}

func (s *retriedStream) RecvMsg(m any) error {
	if a := s.flowing.Load(); a != nil {
		err := a.ClientStream.RecvMsg(m)
		a.bound.Progress()
		if err != nil {
			err = a.timeout(err)
		}
		return err
	}
	for {
		a, last := s.now()
		if err := s.failed(); err != nil {
			return err
		}
		err := a.receive(m)
		if last {
			if a.bound.Progress(); err == nil {
				s.flowing.Store(a)
			}
			return a.timeout(err)
		}
		if err == nil || errors.Is(err, io.EOF) {
			if s.answered(a) {
				return err
			}
			continue
		}
		if err = s.replace(a, err); err != nil {
			return err
		}
	}
}

// failed returns the error of a call that is over without an answer.
func (s *retriedStream) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// timeout puts the reason in place of the cancellation of an attempt that was given up.
func (a *streamAttempt) timeout(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && call.TimedOut(a.rpc.Context) != nil {
		return timedOut(a.rpc.Context)
	}
	return err
}

// Header returns nothing for a call that fails, as grpc's does; RecvMsg says why.
func (s *retriedStream) Header() (metadata.MD, error) {
	for {
		a, last := s.now()
		md, err := a.Header()
		if last {
			return md, err
		}
		if err == nil && md == nil {
			// No header will come but a status, which only receiving tells.
			if err = a.receiveStatus(); errors.Is(err, io.EOF) {
				err = nil
			}
		}
		if err == nil {
			if s.answered(a) {
				return md, nil
			}
			continue
		}
		if err = s.replace(a, err); err != nil {
			return nil, nil //nolint:nilerr // as of a grpc.ClientStream: RecvMsg tells of the failure
		}
	}
}

func (s *retriedStream) Trailer() metadata.MD {
	a, _ := s.now()
	return a.Trailer()
}

func (s *retriedStream) Context() context.Context {
	a, _ := s.now()
	return a.Context()
}
