package extproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

const method = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

// stream is a call's stream to the server. What the server answers is received in a
// goroutine of its own, which the end of the stream's context ends: both directions of a
// call wait for answers, and a timer for one that is late.
type stream struct {
	config   *config
	protocol *servicev3.ProtocolConfiguration // for the first event
	call     context.Context
	ctx      context.Context // of the stream
	cancel   context.CancelFunc
	unwatch  func() bool // stops watching call

	sending sync.Mutex    // held while an event is sent
	to      filter.Stream // nil before the first event; guarded by sending

	mu                sync.Mutex
	moved             sync.Cond // whatever is below changed
	over              bool      // nothing more is sent, and no answer awaited
	err               error     // with which the call ends; nil if it goes on without the server
	request, response direction
	halved            bool                                      // nothing more is sent, and the server ends the stream when it is done (request_drain)
	override          func(*servicev3.ProcessingResponse) error // does a mode_override
}

func newStream(ctx context.Context, c *config, grpc bool) *stream {
	s := &stream{config: c, call: ctx}
	s.moved.L = &s.mu
	if c.observes {
		ctx = context.WithoutCancel(ctx) // the stream outlives the call
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	for _, d := range []*direction{&s.request, &s.response} {
		d.stream, d.grpc = s, grpc
	}
	return s
}

// watch has the end of the call end the stream, before anything is sent.
func (s *stream) watch() {
	s.unwatch = context.AfterFunc(s.call, func() {
		if !s.config.observes {
			s.broken(s.call.Err())
		}
	})
}

// post sends an event of a direction, with what is kept of it until it is answered: nil
// for one that has no answer of its own. It reports whether there is still somebody to send
// it to; what goes wrong then shows in await.
func (s *stream) post(d *direction, event *servicev3.ProcessingRequest, e *expected) bool {
	event.ObservabilityMode = s.config.observes
	s.sending.Lock()
	defer s.sending.Unlock()
	s.mu.Lock()
	sends := !s.over && (e == nil || s.config.observes || d.expect(e))
	s.mu.Unlock()
	if !sends {
		return false
	}
	late := s.hurry()
	err := s.transmit(event)
	switch {
	case late != nil && !late.Stop():
		s.broken(errLate)
	case err != nil:
		s.broken(err)
	}
	return true
}

// hurry bounds an event that is only sent.
func (s *stream) hurry() *time.Timer {
	if !s.config.observes {
		return nil
	}
	return time.AfterFunc(s.config.timeout, s.cancel)
}

// transmit sends an event, the first on a new stream. The caller holds s.sending.
func (s *stream) transmit(event *servicev3.ProcessingRequest) error {
	if s.to == nil {
		to, err := s.config.service.Stream(s.ctx, method)
		if err != nil {
			return err
		}
		s.to, event.ProtocolConfig = to, s.protocol
		if !s.config.observes {
			go s.receive(to)
		}
	}
	err := s.to.Send(event)
	if !errors.Is(err, io.EOF) {
		return err
	}
	if !s.config.observes {
		return nil // receiving says why
	}
	for err = nil; err == nil; {
		err = s.to.Recv(&servicev3.ProcessingResponse{})
	}
	return err
}

// receive takes the server's answers until the stream ends.
func (s *stream) receive(from filter.Stream) {
	for {
		in := &servicev3.ProcessingResponse{}
		err := from.Recv(in)
		if err == nil {
			err = s.answered(in)
		}
		if err != nil {
			s.broken(err)
			return
		}
	}
}

// await waits for the answer to an event: nothing if the call goes on without the server.
// The error ends the call.
func (s *stream) await(e *expected) (*servicev3.ProcessingResponse, error) {
	if s.config.observes {
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for e.answer == nil && !s.over {
		s.moved.Wait()
	}
	if e.answer != nil {
		return e.answer, nil
	}
	return nil, s.err
}

// ask sends an event and waits for its answer, as post and await.
func (s *stream) ask(d *direction, event *servicev3.ProcessingRequest, k about) (*servicev3.ProcessingResponse, error) {
	e := &expected{about: k}
	s.post(d, event, e)
	return s.await(e)
}

// broken ends the stream for what went wrong; io.EOF if the server has no more to say.
func (s *stream) broken(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	ok := errors.Is(err, io.EOF)
	lost := s.request.lost(ok) || s.response.lost(ok)
	reply := filter.ReplyOf(err)
	switch {
	case s.call.Err() != nil:
		s.err = s.call.Err()
	case reply != nil:
		s.err = reply
	case ok && !lost:
	case ok:
		s.err = s.config.failure(errors.New("the server ended its stream in the middle of a body"))
	case s.config.failOpen && !lost:
	default:
		s.err = s.config.failure(err)
	}
	s.stop()
}

// stop ends what is sent and awaited. The caller holds s.mu.
func (s *stream) stop() {
	s.over = true
	s.request.release()
	s.response.release()
	s.moved.Broadcast()
	s.cancel()
}

// fail ends the stream for what the server answered, and returns the error of the call, if
// it has one.
func (s *stream) fail(err error) error {
	s.broken(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// isOver reports whether nothing more is sent.
func (s *stream) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// errEnded is what reads of a body get that go on after its call.
var errEnded = errors.New("the call is over")

// end ends the stream with its call, or when there is nothing left to send, for which
// err is nil. One that observes has time to be read.
func (s *stream) end(err error) {
	s.unwatch()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.err = err
	if s.sending.TryLock() { // else somebody is held up sending
		defer s.sending.Unlock()
		if s.to != nil {
			_ = s.to.CloseSend()
		}
		if s.to != nil && s.config.observes && s.config.linger > 0 {
			time.AfterFunc(s.config.linger, s.cancel)
			s.over = true
			return
		}
	}
	s.stop()
}

// unexpected is the error for an answer that is not to the event.
func unexpected(event string, in *servicev3.ProcessingResponse) error {
	return fmt.Errorf("the server answered %s with %T", event, in.GetResponse())
}
