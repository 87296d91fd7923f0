package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestCallsAreForgotten has nothing keep a call's context once it has ended: neither the
// application's context, of which the call's is a part, nor a timer that policy had begun.
func TestCallsAreForgotten(t *testing.T) {
	const retry = "retry: {" + again + ", perTryTimeout: 1h, perTryIdleTimeout: 1h}"
	well := failFirst(0)
	always := failFirst(1 << 30)
	atFirst := func(n int) act { return failFirst(1)(1 + (n+1)%2) } // each call
	for name, c := range map[string]struct {
		route  string
		script func(n int) act
		fails  bool
	}{
		"timeouts":           {"timeout: 1h, idleTimeout: 1h", well, false},
		"timeouts, fails":    {"timeout: 1h, idleTimeout: 1h", always, true},
		"stream duration":    {"timeout: 0s, maxStreamDuration: 1h", well, false},
		"retry":              {retry, atFirst, false},
		"retry, none needed": {retry, well, false},
		"retry, exhausted":   {retry, always, true},
		"hedge":              {retry + ", hedge: {delay: 1h}", atFirst, false},
		"hedge, exhausted":   {retry + ", hedge: {delay: 1h}", always, true},
	} {
		for door, p := range map[string]protocol{"unary": protocols[0], "stream": protocols[0], "http": protocols[1], "http2": h2c} {
			t.Run(name+"/"+door, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBubble(t, p, "maxRetries: 10", c.route, 1, c.script)
					call := b.forgettable(t, door)
					parent, cancel := context.WithCancel(t.Context())
					defer cancel()
					type key struct{}
					const calls = 40
					var values []weak.Pointer[[1024]byte]
					for range calls {
						value := new([1024]byte)
						values = append(values, weak.Make(value))
						if err := call(context.WithValue(parent, key{}, value)); (err != nil) != c.fails {
							t.Fatalf("%v, want a failure: %v", err, c.fails)
						}
					}
					left := calls
					// A bubble forgets timers that were stopped only as others are begun; what is
					// left of answers is read for 50 ms at most.
					for begun := time.Now(); left > calls/2 && time.Since(begun) < 100*time.Millisecond; {
						time.Sleep(time.Millisecond)
						synctest.Wait()
						runtime.GC()
						left = 0
						for _, v := range values {
							if v.Value() != nil {
								left++
							}
						}
					}
					if left > calls/2 {
						t.Errorf("of %d calls %d are not forgotten", calls, left)
					}
				})
			})
		}
	}
}

// forgettable is a call that ends before it returns.
func (b *bubble) forgettable(t *testing.T, door string) func(context.Context) error {
	switch door {
	case "unary":
		call := b.client(t)
		return func(ctx context.Context) error {
			_, err := call(ctx)
			return err
		}
	case "stream":
		conn := dial(t, b.Mesh, "orders", grpc.WithContextDialer(b.dial))
		return func(ctx context.Context) error {
			s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/a/b")
			if err == nil {
				err = errors.Join(s.SendMsg(wrapperspb.String("7")), s.CloseSend())
			}
			for err == nil {
				err = s.RecvMsg(new(wrapperspb.StringValue))
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	rt := b.transport(t)
	return func(ctx context.Context) error {
		_, err := postBody(ctx, rt, &closeCounter{Reader: bytes.NewReader([]byte("body"))})
		return err
	}
}
