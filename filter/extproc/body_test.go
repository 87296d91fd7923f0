package extproc_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/filter"
)

type (
	event  = servicev3.ProcessingRequest
	answer = servicev3.ProcessingResponse
)

// serving is a service whose streams are served by a function: what it returns is answered,
// and an error ends the stream.
type serving struct {
	serve func(*event) ([]*answer, error)

	mu     sync.Mutex
	events []*event
}

func (s *serving) Service(*corev3.GrpcService) (filter.Service, error) { return s, nil }
func (s *serving) Call(context.Context, string, proto.Message, proto.Message) error {
	return errors.ErrUnsupported
}

func (s *serving) Stream(ctx context.Context, _ string) (filter.Stream, error) {
	return &served{of: s, ctx: ctx, answers: make(chan *answer, 1000), half: make(chan struct{})}, nil
}

func (s *serving) got() []*event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// bodies are what of bodies came, with | at an end.
func (s *serving) bodies() (all string) {
	for _, e := range s.got() {
		for _, b := range []*servicev3.HttpBody{e.GetRequestBody(), e.GetResponseBody()} {
			all += string(b.GetBody())
			if b.GetEndOfStream() {
				all += "|"
			}
		}
	}
	return all
}

type served struct {
	of      *serving
	ctx     context.Context //nolint:containedctx // a stream has its context
	answers chan *answer
	once    sync.Once
	half    chan struct{} // closed when the stream ends
	err     error         // then
}

func (s *served) Send(m proto.Message) error {
	select {
	case <-s.half:
		return io.EOF
	default:
	}
	e := proto.Clone(m).(*event)
	s.of.mu.Lock()
	s.of.events = append(s.of.events, e)
	s.of.mu.Unlock()
	answers, err := s.of.serve(e)
	for _, a := range answers {
		s.answers <- a
	}
	if err != nil {
		s.end(err)
	}
	return nil
}

func (s *served) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.half)
	})
}

func (s *served) CloseSend() error {
	s.end(io.EOF)
	return nil
}

func (s *served) Recv(m proto.Message) error {
	select {
	case a := <-s.answers:
		proto.Reset(m)
		proto.Merge(m, a)
		return nil
	default:
	}
	select {
	case a := <-s.answers:
		proto.Reset(m)
		proto.Merge(m, a)
		return nil
	case <-s.half:
		select {
		case a := <-s.answers:
			proto.Reset(m)
			proto.Merge(m, a)
			return nil
		default:
			return s.err
		}
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// leave answers a header or a trailer, which stays as it is; nothing for bodies.
func leave(e *event) []*answer {
	switch e.GetRequest().(type) {
	case *servicev3.ProcessingRequest_RequestHeaders:
		return []*answer{{Response: &servicev3.ProcessingResponse_RequestHeaders{}}}
	case *servicev3.ProcessingRequest_ResponseHeaders:
		return []*answer{{Response: &servicev3.ProcessingResponse_ResponseHeaders{}}}
	case *servicev3.ProcessingRequest_ResponseTrailers:
		return []*answer{{Response: &servicev3.ProcessingResponse_ResponseTrailers{}}}
	}
	return nil
}

func toRequest(c *servicev3.CommonResponse) *answer {
	return &answer{Response: &servicev3.ProcessingResponse_RequestBody{RequestBody: &servicev3.BodyResponse{Response: c}}}
}

func replaced(by string) *answer {
	return toRequest(&servicev3.CommonResponse{BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_Body{Body: []byte(by)}}})
}

func piece(m *servicev3.StreamedBodyResponse) *answer {
	return toRequest(&servicev3.CommonResponse{BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_StreamedResponse{StreamedResponse: m}}})
}

// pieces is a body.
type pieces struct{ list []string }

func (p *pieces) Close() error { return nil }
func (p *pieces) Next() ([]byte, error) {
	if len(p.list) == 0 {
		return nil, io.EOF
	}
	first := p.list[0]
	p.list = p.list[1:]
	return []byte(first), nil
}

// passed is what becomes of a request's body: its pieces joined with "," under gRPC.
func passed(t *testing.T, s *serving, m *extprocv3.ExternalProcessor, grpc bool, list ...string) (string, *filter.Request, error) {
	t.Helper()
	m.GrpcService = &corev3.GrpcService{}
	if m.MessageTimeout == nil {
		m.MessageTimeout = durationpb.New(60e9)
	}
	p, err := parse(t, registry(t, s), m, false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &filter.Request{Header: filter.HTTPHeader(map[string][]string{"X": {"1"}}), GRPC: grpc}
	if len(list) > 0 {
		r.Body = &pieces{list: list}
	}
	follower, err := f.Request(t.Context(), r)
	if follower != nil {
		defer follower.End(filter.Outcome{})
	}
	if err != nil || r.Body == nil {
		return "", r, err
	}
	defer r.Body.Close()
	var got []string
	for {
		one, err := r.Body.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return strings.Join(got, ","), r, err
		}
		got = append(got, string(one))
	}
	if grpc {
		return strings.Join(got, ","), r, nil
	}
	return strings.Join(got, ""), r, nil
}

func mode(request extprocv3.ProcessingMode_BodySendMode) *extprocv3.ProcessingMode {
	return &extprocv3.ProcessingMode{
		RequestBodyMode: request, RequestTrailerMode: extprocv3.ProcessingMode_SEND, ResponseHeaderMode: extprocv3.ProcessingMode_SKIP,
	}
}

const (
	streamed = extprocv3.ProcessingMode_STREAMED
	buffered = extprocv3.ProcessingMode_BUFFERED
	partial  = extprocv3.ProcessingMode_BUFFERED_PARTIAL
	duplex   = extprocv3.ProcessingMode_FULL_DUPLEX_STREAMED
	messages = extprocv3.ProcessingMode_GRPC
)

// TestBody has each answer to a body do what it says.
func TestBody(t *testing.T) {
	replace := func(c *servicev3.CommonResponse) func(*event) ([]*answer, error) {
		return func(e *event) ([]*answer, error) {
			if e.GetRequestHeaders() != nil {
				return []*answer{{Response: &servicev3.ProcessingResponse_RequestHeaders{RequestHeaders: &servicev3.HeadersResponse{Response: c}}}}, nil
			}
			return []*answer{toRequest(nil)}, nil
		}
	}
	each := func(of func(b *servicev3.HttpBody) ([]*answer, error)) func(*event) ([]*answer, error) {
		return func(e *event) ([]*answer, error) {
			if b := e.GetRequestBody(); b != nil {
				return of(b)
			}
			return leave(e), nil
		}
	}
	clears := each(func(*servicev3.HttpBody) ([]*answer, error) {
		return []*answer{toRequest(&servicev3.CommonResponse{BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_ClearBody{ClearBody: true}}})}, nil
	})
	echoes := each(func(b *servicev3.HttpBody) ([]*answer, error) {
		return []*answer{piece(&servicev3.StreamedBodyResponse{Body: b.GetBody(), EndOfStream: b.GetEndOfStream(), EndOfStreamWithoutMessage: b.GetEndOfStreamWithoutMessage()})}, nil
	})
	overrides := func(to *extprocv3.ProcessingMode, then func(*event) ([]*answer, error)) func(*event) ([]*answer, error) {
		return func(e *event) ([]*answer, error) {
			if e.GetRequestHeaders() != nil {
				a := leave(e)
				a[0].ModeOverride = to
				return a, nil
			}
			return then(e)
		}
	}
	const large = maxBuffered + 1
	long := strings.Repeat("a", large)
	for _, test := range []struct {
		name   string
		config *extprocv3.ExternalProcessor
		serve  func(*event) ([]*answer, error)
		grpc   bool
		body   []string
		want   string
		sent   string // of bodies to the server, if it counts
		status int    // of the reply, or
		code   codes.Code
	}{
		{name: "streamed, cleared", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed)}, serve: clears, body: []string{"a", "b"}, sent: "ab|"},
		{name: "buffered, cleared", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(buffered)}, serve: clears, body: []string{"a", "b"}, sent: "ab|"},
		{name: "buffered, untouched", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(buffered)}, serve: each(func(*servicev3.HttpBody) ([]*answer, error) {
			return []*answer{toRequest(nil)}, nil
		}), body: []string{"a", "b"}, want: "ab"},
		{name: "buffered, too large", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(buffered), FailureModeAllow: true}, serve: clears, body: []string{long}, status: 413},
		{name: "beginning", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(partial)}, serve: each(func(b *servicev3.HttpBody) ([]*answer, error) {
			return []*answer{replaced("x")}, nil
		}), body: []string{long, "rest"}, want: "xrest", sent: long},
		{name: "the server waits for all pieces", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed)}, serve: each(func(b *servicev3.HttpBody) ([]*answer, error) {
			if b.GetEndOfStream() {
				return []*answer{replaced("1"), replaced("2"), replaced("3")}, nil
			}
			return nil, nil
		}), body: []string{"a", "b"}, want: "123"},
		{name: "pieces before the header is answered", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed), SendBodyWithoutWaitingForHeaderResponse: true}, serve: func(e *event) ([]*answer, error) {
			if e.GetRequestBody().GetEndOfStream() {
				return []*answer{{Response: &servicev3.ProcessingResponse_RequestHeaders{}}, replaced("1"), replaced("2")}, nil
			}
			return nil, nil
		}, body: []string{"a"}, want: "12"},
		{name: "duplex before the header is answered", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(duplex)}, serve: func(e *event) ([]*answer, error) {
			if e.GetRequestBody().GetEndOfStream() {
				return []*answer{{Response: &servicev3.ProcessingResponse_RequestHeaders{}}, piece(&servicev3.StreamedBodyResponse{Body: []byte("x")}), piece(&servicev3.StreamedBodyResponse{Body: []byte("y"), EndOfStream: true})}, nil
			}
			return nil, nil
		}, body: []string{"a", "b"}, want: "xy"},
		{name: "streamed_response to a piece that is streamed", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed)}, serve: echoes, body: []string{"a"}, status: 500},
		{name: "another answer to a duplex body", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(duplex)}, serve: clears, body: []string{"a"}, status: 500},
		{name: "late", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed), MessageTimeout: durationpb.New(1e6)}, serve: each(func(*servicev3.HttpBody) ([]*answer, error) { return nil, nil }), body: []string{"a"}, status: 504},
		{name: "late, and that is allowed", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed), MessageTimeout: durationpb.New(1e6), FailureModeAllow: true}, serve: each(func(*servicev3.HttpBody) ([]*answer, error) { return nil, nil }), body: []string{"a", "b"}, want: "ab"},
		{name: "the stream ends well", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed)}, serve: each(func(*servicev3.HttpBody) ([]*answer, error) { return nil, io.EOF }), body: []string{"a", "b"}, want: "ab"},
		{name: "the stream ends well with pieces", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(duplex)}, serve: each(func(*servicev3.HttpBody) ([]*answer, error) { return nil, io.EOF }), body: []string{"a"}, status: 500},
		{name: "the stream ends well between pieces", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(messages)}, grpc: true, serve: each(func(b *servicev3.HttpBody) ([]*answer, error) {
			if string(b.GetBody()) == "b" {
				return []*answer{piece(&servicev3.StreamedBodyResponse{Body: []byte("x")})}, io.EOF
			}
			return []*answer{piece(&servicev3.StreamedBodyResponse{Body: b.GetBody()})}, nil
		}), body: []string{"a", "b"}, want: "a,x"},
		{name: "the stream fails with pieces", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(duplex), FailureModeAllow: true}, serve: each(func(*servicev3.HttpBody) ([]*answer, error) { return nil, io.ErrUnexpectedEOF }), body: []string{"a"}, status: 500},
		{name: "replaced at the header", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed)}, serve: replace(&servicev3.CommonResponse{Status: servicev3.CommonResponse_CONTINUE_AND_REPLACE,
			BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_Body{Body: []byte("new")}}}), body: []string{"a"}, want: "new"},
		{name: "added at the header", config: &extprocv3.ExternalProcessor{}, serve: replace(&servicev3.CommonResponse{Status: servicev3.CommonResponse_CONTINUE_AND_REPLACE,
			BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_Body{Body: []byte("new")}}}), want: "new"},
		{name: "seen enough at the header", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(buffered)}, serve: replace(&servicev3.CommonResponse{Status: servicev3.CommonResponse_CONTINUE_AND_REPLACE}), body: []string{"a"}, want: "a"},
		{name: "replaced at the header, with the body at the server", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed), SendBodyWithoutWaitingForHeaderResponse: true},
			serve: replace(&servicev3.CommonResponse{Status: servicev3.CommonResponse_CONTINUE_AND_REPLACE}), body: []string{"a"}, status: 500},
		{name: "replaced at the header, with the body at the server, and that is allowed", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed), SendBodyWithoutWaitingForHeaderResponse: true, FailureModeAllow: true},
			serve: replace(&servicev3.CommonResponse{Status: servicev3.CommonResponse_CONTINUE_AND_REPLACE}), body: []string{"a"}, want: "a"},
		{name: "replaced under gRPC", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(messages)}, grpc: true, serve: replace(&servicev3.CommonResponse{Status: servicev3.CommonResponse_CONTINUE_AND_REPLACE}), body: []string{"a"}, status: 500, code: codes.Unavailable},
		{name: "messages", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(messages)}, grpc: true, serve: echoes, body: []string{"a", "", "b"}, want: "a,,b", sent: "ab|"},
		{name: "a compressed message", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(messages)}, grpc: true, serve: each(func(*servicev3.HttpBody) ([]*answer, error) {
			return []*answer{piece(&servicev3.StreamedBodyResponse{GrpcMessageCompressed: true})}, nil
		}), body: []string{"a"}, status: 500, code: codes.Unavailable},
		{name: "drained", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(messages)}, grpc: true, serve: each(func(b *servicev3.HttpBody) ([]*answer, error) {
			if b.GetDrainComplete() {
				return []*answer{piece(&servicev3.StreamedBodyResponse{DrainComplete: true})}, nil
			}
			if b.GetEndOfStream() {
				return []*answer{piece(&servicev3.StreamedBodyResponse{EndOfStream: true, EndOfStreamWithoutMessage: true})}, nil
			}
			a := piece(&servicev3.StreamedBodyResponse{Body: append(b.GetBody(), '!')})
			a.RequestDrainRequests = true
			return []*answer{a}, nil
		}), body: []string{"a"}, want: "a!"},
		{name: "drained unasked", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(messages)}, grpc: true, serve: each(func(b *servicev3.HttpBody) ([]*answer, error) {
			return []*answer{piece(&servicev3.StreamedBodyResponse{DrainComplete: true})}, nil
		}), body: []string{"a"}, status: 500, code: codes.Unavailable},
		{name: "HTTP's mode under gRPC", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed), FailureModeAllow: true}, grpc: true, serve: echoes, body: []string{"a"}, status: 500, code: codes.Unavailable},
		{name: "gRPC's mode under HTTP", config: &extprocv3.ExternalProcessor{ProcessingMode: mode(messages), FailureModeAllow: true}, serve: echoes, body: []string{"a"}, status: 500, code: codes.Unavailable},
		{name: "the server asks for the body", config: &extprocv3.ExternalProcessor{AllowModeOverride: true}, serve: overrides(mode(buffered), clears), body: []string{"a"}, sent: "a|"},
		{name: "the server may not ask for the body", config: &extprocv3.ExternalProcessor{}, serve: overrides(mode(buffered), clears), body: []string{"a"}, want: "a"},
		{name: "the server wants no body", config: &extprocv3.ExternalProcessor{AllowModeOverride: true, ProcessingMode: mode(streamed)}, serve: overrides(mode(extprocv3.ProcessingMode_NONE), clears), body: []string{"a"}, want: "a"},
		{name: "the server only observes", config: &extprocv3.ExternalProcessor{ObservabilityMode: true, ProcessingMode: mode(streamed)}, serve: clears, body: []string{"a", "b"}, want: "ab", sent: "ab|"},
		{name: "the server only observes messages", config: &extprocv3.ExternalProcessor{ObservabilityMode: true, ProcessingMode: mode(messages)}, grpc: true, serve: clears, body: []string{"a", "b"}, want: "a,b", sent: "ab|"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.DeferredCloseTimeout = durationpb.New(1e6)
			s := &serving{serve: test.serve}
			got, _, err := passed(t, s, test.config, test.grpc, test.body...)
			reply := filter.ReplyOf(err)
			switch {
			case test.status != 0 && (reply == nil || reply.HTTPStatus() != test.status || test.code != codes.OK && reply.Code != test.code):
				t.Fatalf("got %.20q and %v, want %d", got, err, test.status)
			case test.status == 0 && (err != nil || got != test.want):
				t.Fatalf("got %.20q, %v, want %.20q", got, err, test.want)
			}
			if sent := s.bodies(); test.sent != "" && sent != test.sent {
				t.Errorf("the server got %.20q, want %.20q", sent, test.sent)
			}
		})
	}
}

const maxBuffered = 1 << 20

// TestBodyBounded has a server send more than is read, and an application more than is
// answered: neither is kept beyond the bound.
func TestBodyBounded(t *testing.T) {
	const size, n = 64 << 10, 64 // four times the bound
	var list []string
	for range n {
		list = append(list, strings.Repeat("a", size))
	}
	held := &serving{}
	held.serve = func(e *event) ([]*answer, error) {
		if e.GetRequestBody() == nil {
			return leave(e), nil
		}
		if len(held.got()) > maxBuffered/size+2 {
			return nil, errors.New("too much was sent without an answer")
		}
		return nil, nil
	}
	m := &extprocv3.ExternalProcessor{ProcessingMode: mode(streamed), MessageTimeout: durationpb.New(1e9)}
	if _, _, err := passed(t, held, m, false, list...); filter.ReplyOf(err) == nil || filter.ReplyOf(err).HTTPStatus() != 504 {
		t.Errorf("got %v, want that the answer is late", err)
	}
	if sent := len(held.bodies()); sent < maxBuffered || sent > maxBuffered+size {
		t.Errorf("%d bytes were sent unanswered, want %d and one piece at most", sent, maxBuffered)
	}
}

// TestBodyCanceled has calls begin that are over already.
func TestBodyCanceled(t *testing.T) {
	p, err := parse(t, registry(t, &serving{serve: func(e *event) ([]*answer, error) { return leave(e), nil }}),
		&extprocv3.ExternalProcessor{GrpcService: &corev3.GrpcService{}, ProcessingMode: mode(duplex)}, false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // some of which are answered first
		r := &filter.Request{Header: filter.HTTPHeader(nil), Body: &pieces{list: []string{"a"}}}
		follower, err := f.Request(ctx, r)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if follower != nil {
			follower.End(filter.Outcome{})
		}
		_ = r.Body.Close()
	}
}
