package extproc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// about is what of a request or a response an event is about.
type about int

const (
	headerEvent about = iota
	bodyEvent
	trailerEvent
)

var kindNames = [...]string{"headers", "body", "trailers"}

// expected is an event that was sent and is to be answered.
type expected struct {
	about
	answer *servicev3.ProcessingResponse

	streamed bool   // a piece of a body that goes on when it is answered
	piece    []byte // that piece
	last     bool   // after which there is none
}

// maxBuffered bounds what is kept of a body, in bytes, before the last piece of it that is
// taken: 1 MiB, as Envoy's per_connection_buffer_limit_bytes is by default.
const maxBuffered = 1 << 20

// direction is the request or the response of a call, as far as it is processed. All but
// what is set before anything is sent is guarded by the stream's mu.
type direction struct {
	stream *stream
	grpc   bool
	mode   extprocv3.ProcessingMode_BodySendMode // as the body is processed
	notes  map[string]*structpb.Struct           // attributes for the first event, as in Envoy

	expects []*expected // in the order in which they were sent
	timer   *time.Timer
	extends bool // the server asked for more time for what it answers next
	stuck   bool // nobody takes the pieces that came, so that none is received

	// Of a body that goes on in pieces.
	pieces   [][]byte // to go on
	size     int      // of those, in bytes
	held     int      // bytes of pieces that are to be answered
	sent     int      // events with pieces of a duplex mode
	came     int      // their answers
	fed      bool     // all that there is was sent
	draining bool     // the server wants no more pieces; it is to say when it has done with those it has
	drained  bool     // and it knows that none comes
	direct   bool     // pieces go on unseen
	ended    bool     // the last piece is among pieces
	failed   error    // with which the body broke off
	closed   bool     // nobody reads it
	running  bool     // it is being read
}

func (d *direction) name(k about) string {
	if d == &d.stream.request {
		return "request_" + kindNames[k]
	}
	return "response_" + kindNames[k]
}

// timed reports whether answers may be late: those of duplex modes come when the server
// has all that it waits for.
func (d *direction) timed() bool { return !duplex(d.mode) }

// expect keeps an event that is about to be sent, and sets the timer for its answer. It
// reports whether it is to be sent.
func (d *direction) expect(e *expected) bool {
	if duplex(d.mode) && e.streamed {
		if d.draining || d.ended {
			return false
		}
		if d.fed = e.last; !e.last {
			d.sent++
		}
		return true
	}
	d.expects = append(d.expects, e)
	d.held += len(e.piece)
	d.hurry(d.stream.config.timeout)
	d.extends = false
	return true
}

// hurry has the next answer be late after a while.
func (d *direction) hurry(after time.Duration) {
	switch {
	case !d.timed():
	case d.timer == nil:
		d.timer = time.AfterFunc(after, d.late)
	default:
		d.timer.Reset(after)
	}
}

// late is called when an answer did not come in time.
func (d *direction) late() {
	s := d.stream
	s.mu.Lock()
	switch {
	case len(d.expects) == 0:
		s.mu.Unlock()
	case s.request.stuck || s.response.stuck: // answers wait, not the server
		d.hurry(s.config.timeout)
		s.mu.Unlock()
	default:
		s.mu.Unlock()
		s.broken(errLate)
	}
}

// extend gives the server more time, once per answer as in Envoy.
func (d *direction) extend(more time.Duration) {
	if len(d.expects) == 0 || d.extends || more < time.Millisecond || more > d.stream.config.maxTimeout {
		return
	}
	d.extends = true
	d.hurry(more)
}

// goes reports whether a body is still on its way.
func (d *direction) goes() bool {
	d.stream.mu.Lock()
	defer d.stream.mu.Unlock()
	return d.running && !d.ended
}

// awaitsHeader reports whether a header is to be answered.
func (d *direction) awaitsHeader() bool {
	return slices.ContainsFunc(d.expects, func(e *expected) bool { return e.about == headerEvent })
}

// answered takes an answer of the server. The error ends the stream.
func (s *stream) answered(in *servicev3.ProcessingResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return context.Canceled
	}
	if more := in.GetOverrideMessageTimeout(); more != nil {
		s.request.extend(more.AsDuration())
		s.response.extend(more.AsDuration())
		return nil
	}
	if m := in.GetImmediateResponse(); m != nil {
		if s.config.refusesReply {
			return errors.New("the server may not answer calls (disable_immediate_response)")
		}
		return immediate(m, s.request.grpc)
	}
	if in.GetModeOverride() != nil && (s.request.awaitsHeader() || s.response.awaitsHeader()) {
		if err := s.override(in); err != nil {
			return err
		}
	}
	drains := s.drain(in)
	switch m := in.GetResponse().(type) {
	case *servicev3.ProcessingResponse_RequestHeaders:
		return s.request.answer(headerEvent, in, nil)
	case *servicev3.ProcessingResponse_ResponseHeaders:
		return s.response.answer(headerEvent, in, nil)
	case *servicev3.ProcessingResponse_RequestBody:
		return s.request.answer(bodyEvent, in, m.RequestBody.GetResponse())
	case *servicev3.ProcessingResponse_ResponseBody:
		return s.response.answer(bodyEvent, in, m.ResponseBody.GetResponse())
	case *servicev3.ProcessingResponse_RequestTrailers:
		return s.request.answer(trailerEvent, in, nil)
	case *servicev3.ProcessingResponse_ResponseTrailers:
		return s.response.answer(trailerEvent, in, nil)
	case nil:
		if drains || in.GetServerWindowUpdate() != nil {
			return nil
		}
	}
	return unexpected("an event", in)
}

// answer takes an answer of a direction.
func (d *direction) answer(k about, in *servicev3.ProcessingResponse, common *servicev3.CommonResponse) error {
	if k == bodyEvent && duplex(d.mode) {
		return d.comes(in, common)
	}
	if len(d.expects) == 0 {
		return unexpected("nothing", in)
	}
	e := d.expects[0]
	if e.about != k {
		return unexpected(d.name(e.about), in)
	}
	if e.streamed && common.GetBodyMutation().GetStreamedResponse() != nil {
		return fmt.Errorf("the server answered %s with a streamed_response, which %v has not", d.name(k), d.mode)
	}
	d.expects = d.expects[1:]
	e.answer = in
	d.extends = false
	if d.timer != nil {
		d.timer.Stop()
		if len(d.expects) > 0 {
			d.hurry(d.stream.config.timeout)
		}
	}
	if e.streamed {
		d.held -= len(e.piece)
		d.goesOn(mutated(e.piece, common.GetBodyMutation()), e.last)
	}
	d.stream.moved.Broadcast()
	return nil
}

// goesOn adds a piece to those that go on. Empty ones are no pieces of HTTP's bodies.
func (d *direction) goesOn(piece []byte, last bool) {
	if len(piece) > 0 || d.grpc {
		d.pieces = append(d.pieces, piece)
		d.size += len(piece) + pieceCost
	}
	d.ended = d.ended || last
}

// pieceCost is what a piece that waits counts beside its length, in bytes: else there could
// be any number of empty ones.
const pieceCost = 64

// next takes the first of the pieces that go on.
func (d *direction) next() []byte {
	piece := d.pieces[0]
	d.pieces = d.pieces[1:]
	d.size -= len(piece) + pieceCost
	d.stream.moved.Broadcast()
	return piece
}

// event is one about a piece of the body.
func (d *direction) event(b *servicev3.HttpBody) *servicev3.ProcessingRequest {
	e := &servicev3.ProcessingRequest{Attributes: d.notes}
	d.notes = nil
	if d == &d.stream.request {
		e.Request = &servicev3.ProcessingRequest_RequestBody{RequestBody: b}
	} else {
		e.Request = &servicev3.ProcessingRequest_ResponseBody{ResponseBody: b}
	}
	return e
}

// mutated is a piece as the server wants it.
func mutated(piece []byte, m *servicev3.BodyMutation) []byte {
	switch m := m.GetMutation().(type) {
	case *servicev3.BodyMutation_Body:
		return m.Body
	case *servicev3.BodyMutation_ClearBody:
		if m.ClearBody {
			return nil
		}
	}
	return piece
}

// release has what was sent and not answered go on as it was, and stops the timer.
func (d *direction) release() {
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.stream.err == nil { // else nothing goes on
		for _, e := range d.expects {
			if e.streamed {
				d.goesOn(e.piece, e.last)
			}
		}
		d.ended = d.ended || d.fed
	}
	d.expects, d.held = nil, 0
}
