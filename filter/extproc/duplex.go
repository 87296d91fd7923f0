package extproc

import (
	"errors"
	"fmt"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

// comes takes a piece that the server has go on in a duplex mode, in which it sends as many
// as it likes when it likes. It waits until there is room for more.
func (d *direction) comes(in *servicev3.ProcessingResponse, common *servicev3.CommonResponse) error {
	m := common.GetBodyMutation().GetStreamedResponse()
	switch {
	case d.grpc && d.ended:
		return nil // to what was sent before it was known that the server ends the body
	case d.awaitsHeader():
		return unexpected(d.name(headerEvent), in)
	case m == nil:
		return fmt.Errorf("the server answered %s without the streamed_response that %v asks for", d.name(bodyEvent), d.mode)
	case common.GetStatus() != servicev3.CommonResponse_CONTINUE:
		return fmt.Errorf("the server answered %s with status %v, which %v has not", d.name(bodyEvent), common.GetStatus(), d.mode)
	case m.GetGrpcMessageCompressed():
		return errors.New("the server sent a compressed message")
	case d.ended || d.direct:
		return fmt.Errorf("the server answered %s after its end", d.name(bodyEvent))
	case m.GetDrainComplete() && !d.drained:
		return errors.New("the server has drained what it was not asked to")
	}
	d.came++
	last := m.GetEndOfStream() && (!d.grpc || d == &d.stream.request) // a gRPC response ends with its trailer
	none := len(m.GetBody()) == 0 && (!d.grpc || m.GetDrainComplete() || m.GetEndOfStream() && m.GetEndOfStreamWithoutMessage())
	if !none && !d.closed {
		d.goesOn(m.GetBody(), false)
	}
	d.ended = last
	d.direct = m.GetDrainComplete()
	d.stream.moved.Broadcast()
	for d.size >= maxBuffered && !d.stream.over && !d.closed {
		d.stuck = true
		d.stream.moved.Wait()
	}
	d.stuck = false
	return nil
}

// drain does what the server asks to be spared: further pieces of bodies
// (request_drain_requests, request_drain_responses, and request_drain of older servers). It
// reports whether the server asks.
func (s *stream) drain(in *servicev3.ProcessingResponse) bool {
	all := in.GetRequestDrain() // gRFC A93 has it
	requests, responses := in.GetRequestDrainRequests(), in.GetRequestDrainResponses()
	for d, asked := range map[*direction]bool{&s.request: all || requests, &s.response: all || responses} {
		if !asked || !duplex(d.mode) || d.draining || d.fed || d.ended {
			continue
		}
		d.draining = true
		if !all {
			go d.sayDrained()
		}
	}
	if all && !s.halved {
		s.halved = true
		go s.halfClose()
	}
	return all || requests || responses
}

// sayDrained tells the server that no further piece comes.
func (d *direction) sayDrained() {
	s := d.stream
	s.mu.Lock()
	d.drained = true
	event := d.event(&servicev3.HttpBody{DrainComplete: true})
	s.mu.Unlock()
	s.post(d, event, nil)
}

// halfClose says that nothing more is sent on the stream.
func (s *stream) halfClose() {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.to != nil {
		_ = s.to.CloseSend()
	}
}

// lost reports whether pieces would be missing in the body if the call went on without the
// server, whose stream ended well or not: it has them, and they were not kept.
func (d *direction) lost(well bool) bool {
	switch {
	case !duplex(d.mode) || d.sent == 0 || d.ended || d.direct:
		return false
	case well:
		return d.sent > d.came && !d.stream.halved
	default:
		return d.sent > d.came || d.fed || d.draining
	}
}
