package extproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

const method = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

// stream is a call's stream to the server. Nothing runs beside the call: a timer
// cancels what it waits for.
type stream struct {
	config *config
	ctx    context.Context // of the stream
	cancel context.CancelFunc
	filter.Stream
	over bool // nothing more is sent
}

func newStream(ctx context.Context, c *config) *stream {
	if c.observes {
		ctx = context.WithoutCancel(ctx) // the stream outlives the call
	}
	s := &stream{config: c}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// ask sends an event and returns what the server says of it: nothing if it only
// observes, or has ended the stream. The error ends the call.
func (s *stream) ask(ctx context.Context, event *servicev3.ProcessingRequest) (*servicev3.ProcessingResponse, error) {
	if s.over {
		return nil, nil
	}
	answer, err := s.exchange(ctx, event)
	if err == nil {
		return answer, nil
	}
	return nil, s.fail(ctx, err)
}

// fail ends the stream for what went wrong. The error, if any, ends the call.
func (s *stream) fail(ctx context.Context, err error) error {
	s.over = true
	s.cancel()
	switch {
	case errors.Is(err, io.EOF):
		return nil // the server has no more to say
	case ctx.Err() != nil:
		return ctx.Err()
	case s.config.failOpen:
		return nil
	}
	return s.config.failure(err)
}

// exchange is ask for a stream that is not over. io.EOF says that it ended well.
func (s *stream) exchange(ctx context.Context, event *servicev3.ProcessingRequest) (*servicev3.ProcessingResponse, error) {
	late := time.AfterFunc(s.config.timeout, s.cancel)
	defer late.Stop()
	defer context.AfterFunc(ctx, s.cancel)()
	in, err := s.roundTrip(event, late)
	if !late.Stop() && !errors.Is(err, io.EOF) {
		return nil, errLate
	}
	return in, err
}

func (s *stream) roundTrip(event *servicev3.ProcessingRequest, late *time.Timer) (*servicev3.ProcessingResponse, error) {
	event.ObservabilityMode = s.config.observes
	if s.Stream == nil {
		one, err := s.config.service.Stream(s.ctx, method)
		if err != nil {
			return nil, err
		}
		s.Stream = one
		event.ProtocolConfig = &servicev3.ProtocolConfiguration{} // bodies: NONE
	}
	err := s.Send(event)
	switch {
	case errors.Is(err, io.EOF): // Recv says why
		for err = nil; err == nil; {
			err = s.Recv(&servicev3.ProcessingResponse{})
		}
		return nil, err
	case err != nil || s.config.observes:
		return nil, err
	}
	for extended := false; ; {
		in := &servicev3.ProcessingResponse{}
		if err := s.Recv(in); err != nil {
			return nil, err
		}
		more := in.GetOverrideMessageTimeout()
		if in.GetResponse() != nil || more == nil {
			return in, nil
		}
		// Once per event, as in Envoy.
		if d := more.AsDuration(); !extended && d >= time.Millisecond && d <= s.config.maxTimeout && late.Stop() {
			late.Reset(d)
			extended = true
		}
	}
}

// end ends the stream with its call, or when there is nothing left to send. One that
// observes has time to be read.
func (s *stream) end() {
	if s.over {
		return
	}
	s.over = true
	if s.Stream != nil {
		_ = s.CloseSend()
		if s.config.observes && s.config.linger > 0 {
			time.AfterFunc(s.config.linger, s.cancel)
			return
		}
	}
	s.cancel()
}

// unexpected is the error for an answer that is not to the event.
func unexpected(event string, in *servicev3.ProcessingResponse) error {
	return fmt.Errorf("the server answered %s with %T", event, in.GetResponse())
}
