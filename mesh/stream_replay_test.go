package mesh_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestStreamsAnswerDuringReplay has a backend answer each message of a retried stream with
// more than it was: nothing of what is sent again gets through unless answers are received
// meanwhile.
func TestStreamsAnswerDuringReplay(t *testing.T) {
	const messages, answer = 200, 16 << 10
	var calls atomic.Int32
	b := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		first := calls.Add(1) == 1
		for n := 0; ; n++ {
			in := new(wrapperspb.StringValue)
			switch err := s.RecvMsg(in); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case first && n == messages/2:
				return status.Error(codes.Unavailable, "once")
			case first:
				continue
			}
			if err := s.SendMsg(wrapperspb.String(strings.Repeat("x", answer))); err != nil {
				return err
			}
		}
	}))
	m := meshtest.New(t, mesh.WithPolicy([]byte(`services: {orders: {protocol: grpc, connectTimeout: 60s, endpoints: ["`+b.Addr+`"]}}
routes: {orders: [{to: orders, retry: {attempts: 2, on: [unavailable], backOff: {baseInterval: 1ms}}}]}`)))
	s := openStream(t, within(t, long), dial(t, m, "orders"))
	sent := make(chan error, 1)
	go func() {
		for range messages {
			if err := s.SendMsg(wrapperspb.String(strings.Repeat("x", 1000))); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	got := 0
	for {
		err := s.RecvMsg(new(wrapperspb.StringValue))
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("after %d answers: %v", got, err)
		}
		got++
	}
	if err := receive(t, "the end of what is sent", sent); err != nil || got != messages {
		t.Errorf("%d answers, want %d; %v", got, messages, err)
	}
}

// TestStreamGoesOnBehindReplay sends a message while what was sent before is sent again, which
// the backend is in no hurry to read: it may have answered before.
func TestStreamGoesOnBehindReplay(t *testing.T) {
	for _, answers := range []int{0, 2} {
		t.Run(fmt.Sprint(answers, " answers"), func(t *testing.T) { goesOnBehindReplay(t, answers) })
	}
}

func goesOnBehindReplay(t *testing.T, answers int) {
	const messages = 1000
	goOn := make(chan struct{})
	var b *meshtest.Backend
	b = meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		first := b.Calls() == 1
		if !first {
			for range answers {
				if err := s.SendMsg(wrapperspb.String("early")); err != nil {
					return err
				}
			}
			<-goOn
		}
		for n := 0; ; n++ {
			in := new(wrapperspb.StringValue)
			if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
				return s.SendMsg(wrapperspb.String(fmt.Sprint(n)))
			} else if err != nil {
				return err
			}
			if got := strings.TrimLeft(in.GetValue(), " "); got != fmt.Sprint(n) {
				t.Errorf("message %d is %q", n, got)
			}
			if first && n == messages-1 {
				return status.Error(codes.Unavailable, "once")
			}
		}
	}))
	m := meshtest.New(t, mesh.WithPolicy([]byte(`services: {orders: {protocol: grpc, connectTimeout: 60s, endpoints: ["`+b.Addr+`"]}}
routes: {orders: [{to: orders, retry: {attempts: 2, on: [unavailable], bufferLimit: 10000000, backOff: {baseInterval: 1ms}}}]}`)))
	ctx := within(t, long)
	s := openStream(t, ctx, dial(t, m, "orders"))
	send := func(n int) error { return s.SendMsg(wrapperspb.String(fmt.Sprintf("%1000d", n))) }
	for n := range messages {
		if err := send(n); err != nil {
			t.Fatal(err)
		}
	}
	for range answers {
		recv(t, s, "early")
	}
	received := make(chan error, 1)
	reply := new(wrapperspb.StringValue)
	go func() { received <- s.RecvMsg(reply) }()
	if err := b.AwaitCalls(ctx, 2); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		err := send(messages)
		sent <- errors.Join(err, s.CloseSend())
	}()
	pause(ctx, nil, 10*time.Millisecond) // in which it would be sent ahead of others
	close(goOn)
	if err := receive(t, "the end of what is sent", sent); err != nil {
		t.Error(err)
	}
	if err := receive(t, "the answer", received); err != nil || reply.GetValue() != fmt.Sprint(messages+1) {
		t.Errorf("%v, of %s messages, want %d", err, reply.GetValue(), messages+1)
	}
}
