package extproc_test

import (
	"context"
	"io"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/filter"
)

// FuzzAnswers has a server answer events with anything, one by one, and end its stream then:
// the call goes on or fails, and its bodies end, at the latest with its context.
func FuzzAnswers(f *testing.F) {
	seed := func(modes, flags uint8, answers ...*answer) {
		var all []byte
		for _, a := range answers {
			b, err := proto.Marshal(a)
			if err != nil || len(b) > 255 {
				f.Fatal(len(b), err)
			}
			all = append(append(all, byte(len(b))), b...)
		}
		f.Add(modes, flags, all)
	}
	header := &answer{Response: &servicev3.ProcessingResponse_RequestHeaders{}}
	end := piece(&servicev3.StreamedBodyResponse{Body: []byte("x"), EndOfStream: true})
	override := leave(&event{Request: &servicev3.ProcessingRequest_RequestHeaders{}})[0]
	override.ModeOverride = &extprocv3.ProcessingMode{RequestBodyMode: duplex, RequestTrailerMode: extprocv3.ProcessingMode_SEND}
	drains := piece(&servicev3.StreamedBodyResponse{})
	drains.RequestDrainRequests, drains.RequestDrainResponses = true, true
	for modes := range uint8(36) {
		seed(modes, modes, header, replaced("a"), replaced("b"), replaced("c"))
		seed(modes, modes, header, end, end)
		seed(modes, 2, override, end)
		seed(modes, modes, header, drains, piece(&servicev3.StreamedBodyResponse{DrainComplete: true}))
		seed(modes, modes, &answer{OverrideMessageTimeout: durationpb.New(time.Millisecond)}, header,
			&answer{Response: &servicev3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &servicev3.ImmediateResponse{
				Status: &typev3.HttpStatus{Code: 999}, GrpcStatus: &servicev3.GrpcStatus{Status: 1 << 30},
			}}})
	}
	f.Fuzz(func(t *testing.T, modes, flags uint8, script []byte) {
		is := func(bit uint8) bool { return flags&bit != 0 }
		s := &serving{}
		s.serve = func(*event) ([]*answer, error) { // one event is sent at a time
			if len(script) == 0 {
				return nil, io.EOF
			}
			n := min(int(script[0]), len(script)-1)
			a := new(answer)
			err := proto.Unmarshal(script[1:1+n], a)
			script = script[1+n:]
			return []*answer{a}, err
		}
		p, err := parse(t, registry(t, s), &extprocv3.ExternalProcessor{
			GrpcService: &corev3.GrpcService{}, MessageTimeout: durationpb.New(20 * time.Millisecond),
			AllowModeOverride: is(2), SendBodyWithoutWaitingForHeaderResponse: is(4), FailureModeAllow: is(8), ObservabilityMode: is(16),
			DeferredCloseTimeout: durationpb.New(time.Millisecond),
			ProcessingMode: &extprocv3.ProcessingMode{
				RequestBodyMode: extprocv3.ProcessingMode_BodySendMode(modes % 6), ResponseBodyMode: extprocv3.ProcessingMode_BodySendMode(modes / 6 % 6),
				RequestTrailerMode: extprocv3.ProcessingMode_SEND, ResponseTrailerMode: extprocv3.ProcessingMode_SEND,
			},
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		made, err := p.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		hangs := time.AfterFunc(time.Minute, func() { panic("the call hangs") })
		defer hangs.Stop()
		pass(ctx, made, is(1))
	})
}

// pass has a call with bodies pass a filter, as far as that lets it.
func pass(ctx context.Context, f filter.Filter, grpc bool) {
	request := &filter.Request{Header: filter.HTTPHeader(nil), GRPC: grpc, Body: &pieces{list: []string{"a", "", "b"}}}
	follower, err := f.Request(ctx, request)
	if follower != nil {
		defer follower.End(filter.Outcome{})
	}
	if err != nil || !readAll(request.Body) {
		return
	}
	response := &filter.Response{Request: request, Status: 200, Header: filter.OwnHTTPHeader(nil), Body: &pieces{list: []string{"c", "d"}}}
	if r, ok := follower.(filter.ResponseFollower); ok && r.Response(ctx, response) != nil || !readAll(response.Body) {
		return
	}
	response.Trailer = filter.OwnHTTPHeader(map[string][]string{"End": {"e"}})
	if r, ok := follower.(filter.TrailerFollower); ok {
		r.Trailer(response)
	}
}

// readAll reads a body, and reports whether that ended well.
func readAll(b filter.Body) bool {
	if b == nil {
		return true
	}
	defer b.Close()
	for {
		if _, err := b.Next(); err != nil {
			return err == io.EOF //nolint:errorlint // as bodies say it
		}
	}
}
