package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
)

const backOffForever = "backOff: {baseInterval: 100000h, maxInterval: 100000h}"

// TestStreamCanceledInBackoff has the application give a stream up while nothing of it is in
// flight: that, and not why the last attempt failed, is what became of it.
func TestStreamCanceledInBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, protocols[0], "", "retry: {attempts: 2, on: [unavailable], "+backOffForever+"}", 1, failFirst(1))
		ctx, cancel := context.WithCancel(t.Context())
		finished := make(chan error, 10)
		s := openStream(t, ctx, dial(t, b.Mesh, "orders", grpc.WithContextDialer(b.dial)), grpc.OnFinish(func(err error) { finished <- err }))
		time.AfterFunc(time.Second, cancel)
		for range 2 {
			if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Canceled {
				t.Errorf("received %v, want that it was canceled", err)
			}
		}
		synctest.Wait()
		if len(finished) != 1 {
			t.Fatalf("OnFinish was called %d times", len(finished))
		}
		if err := <-finished; status.Code(err) != codes.Canceled {
			t.Errorf("OnFinish was called with %v", err)
		}
	})
}

// TestStreamNotRetriable has policy except a stream from retries: nothing of it is kept, and
// it does not wait for a backend that cannot be reached.
func TestStreamNotRetriable(t *testing.T) {
	const policy = "retry: {on: [unavailable], requestHeaders: {x-idempotent: {present: true}}, " + backOffForever + "}"
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, protocols[0], "", policy, 1, failFirst(0))
		s := b.stream(t, within(t, long))
		if err := s.SendMsg(wrapperspb.String("7")); err != nil {
			t.Fatal(err)
		}
		if n := kept(b); n != 0 {
			t.Errorf("%d bytes are kept", n)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		recv(t, s, "b7")
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, protocols[0], "", policy, 0, nil)
		if err := calledWith["stream"](t.Context(), dial(t, b.Mesh, "orders", grpc.WithContextDialer(b.dial))); !errors.Is(err, mesh.ErrUnavailable) {
			t.Error(err)
		}
		if waited := time.Since(b.start); waited > time.Hour {
			t.Errorf("it was tried again after %v", waited)
		}
	})
}

// TestCallsThatAreNotSent has grpc, or the mesh, refuse calls that policy would have tried
// again: they end at once, and say why.
func TestCallsThatAreNotSent(t *testing.T) {
	for _, route := range []string{"retry: {" + again + "}", "retry: {" + again + "}, hedge: {delay: 1h}"} {
		for kind, call := range calledWith {
			t.Run(route+"/"+kind, func(t *testing.T) {
				t.Parallel()
				p := protocols[0]
				b := p.scripted(t, "b", failFirst(0))
				bad := metadata.AppendToOutgoingContext(within(t, long), "not a name", "1")
				if err := call(bad, dial(t, p.retrying(t, "", route, b), "orders")); status.Code(err) != codes.Internal {
					t.Errorf("with bad metadata: %v", err)
				}
				if err := call(within(t, long), dial(t, p.retrying(t, "maxRequests: 0", route, b), "orders")); !errors.Is(err, mesh.ErrOverloaded) {
					t.Errorf("over the limit: %v", err)
				}
				if n := b.Calls(); n != 0 {
					t.Errorf("%d attempts", n)
				}
			})
		}
	}
}

// TestStreamMessageTooLarge has grpc refuse a message, which ends the stream, though policy
// names the status.
func TestStreamMessageTooLarge(t *testing.T) {
	p := protocols[0]
	b := p.scripted(t, "b", failFirst(0))
	finished := make(chan error, 10)
	s := openStream(t, t.Context(), dial(t, p.retrying(t, "", "retry: {on: [resource-exhausted], backOff: {baseInterval: 1ms}}", b), "orders"),
		grpc.MaxCallSendMsgSize(10), grpc.OnFinish(func(err error) { finished <- err }))
	if err := s.SendMsg(wrapperspb.String(strings.Repeat("7", 100))); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("sent: %v", err)
	}
	if err := receive(t, "the end of the stream", finished); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("OnFinish was called with %v", err)
	}
	if n := b.Calls(); n > 1 {
		t.Errorf("%d attempts", n)
	}
}

// TestPerTryIdleTimeoutOfStream has messages go out, and then come, now and then, twice, and
// then no more.
func TestPerTryIdleTimeoutOfStream(t *testing.T) {
	const messages, each = 5, 60 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, protocols[0], "", "retry: {on: [unavailable], perTryIdleTimeout: 100ms}", 0, nil)
		l := bufconn.Listen(1 << 16)
		b.listeners["192.0.2.99:80"] = l
		server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			for {
				for range messages {
					if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
						return err
					}
				}
				for i := range messages {
					time.Sleep(each)
					if err := s.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
						return err
					}
				}
			}
		}))
		go func() { _ = server.Serve(l) }()
		t.Cleanup(server.Stop)
		s := b.stream(t, within(t, long))
		for range 2 {
			for range messages {
				time.Sleep(each)
				if err := s.SendMsg(wrapperspb.String("7")); err != nil {
					t.Fatal(err)
				}
			}
			for i := range messages {
				recv(t, s, fmt.Sprint(i))
			}
		}
		err := s.RecvMsg(new(wrapperspb.StringValue))
		if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "per_try_idle_timeout") {
			t.Errorf("%v, want the idle timeout", err)
		}
	})
}
