package mesh_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh/internal/call"
)

// mirroring is a policy by which calls of orders go to main, and copies to copy.
func mirroring(services, more string) string {
	return "services:\n" + services + "routes:\n  orders:\n    - {to: orders, mirror: [copy]" + more + "}\n"
}

// noHurry has copies, which end after 15 s otherwise, be held for as long as a test takes.
const noHurry = ", timeout: 1h, maxStreamDuration: 1h"

// TestMirrorHangs has calls with and without bodies end while their copies hang.
func TestMirrorHangs(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		calls, hang := make(chan got, 10), make(chan struct{})
		defer close(hang)
		m := embedded(t, mirroring(p.service("orders", p.backend(t, "main"))+p.service("copy", recorder(t, p, calls, hang)), ""))
		for _, body := range []string{"abc", ""} {
			for _, streamed := range []bool{false, true} {
				if streamed && body == "" && p.name == "grpc" {
					continue // sendInPieces needs one
				}
				if answer, err := post(t, m, p, "orders", "/shop.Orders/Get", body, streamed); err != nil || !strings.HasPrefix(answer, "main") {
					t.Errorf("body %q, streamed %v: answered by %q, %v", body, streamed, answer, err)
				}
				receive(t, "a copy", calls)
			}
		}
	})
}

// TestMirrorTimeout has copies bounded by the timeout of their route, which the calls
// themselves stay within.
func TestMirrorTimeout(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		other := p.scripted(t, "copy", func(int) act { return act{hang: true} })
		// A stream's copies have no bound of their own.
		m := embedded(t, mirroring(p.service("orders", p.backend(t, "main"))+p.service("copy", other.Backend), ", timeout: 2s, maxStreamDuration: 2s"))
		call := p.client(t, m, "orders")
		until(t, "a call ends in time, which one to a machine that stalls does not", func() bool {
			_, err := call(within(t, long), request{})
			return err == nil
		})
		other.awaitCancelled(t, 1)
	})
}

// TestMirrorMemory has copies that are held take no more than their bound, and give back
// what they held: when they end, when they cannot be sent, and when the body that they
// would have is not read to its end.
func TestMirrorMemory(t *testing.T) {
	const bound = 16 << 20
	body := strings.Repeat("x", call.MaxMirrored-1024) // an encoded message is a little longer
	eachProtocol(t, func(t *testing.T, p protocol) {
		for _, streamed := range []bool{false, true} {
			if streamed && p.name == "grpc" {
				continue // a message for each letter
			}
			calls, hang := make(chan got, 100), make(chan struct{})
			other := recorder(t, p, calls, hang)
			m := embedded(t, mirroring(p.service("orders", p.backend(t, "main"))+p.service("copy", other), noHurry))
			for range bound/len(body) + 4 {
				if _, err := post(t, m, p, "orders", "/shop.Orders/Get", body, streamed); err != nil {
					t.Fatal(err)
				}
			}
			for range bound / len(body) {
				receive(t, "a copy", calls)
			}
			if n := other.Calls(); n > int64(bound/len(body)) {
				t.Errorf("streamed %v: %d copies are held, want %d", streamed, n, bound/len(body))
			}
			close(hang)
			// What was held is free some time after the copies ended.
			for ctx, more := within(t, long), 0; more < 2*bound/len(body); {
				if ctx.Err() != nil {
					t.Fatalf("streamed %v: %d further calls were mirrored", streamed, more)
				}
				if _, err := post(t, m, p, "orders", "/shop.Orders/Get", body, streamed); err != nil {
					t.Fatal(err)
				}
				more += len(calls)
				for range len(calls) {
					<-calls
				}
			}
		}
	})
}

// TestMirrorOfAnUnfinishedBody has a request whose body breaks off not be mirrored, and
// hold nothing: many of them leave room for one that ends.
func TestMirrorOfAnUnfinishedBody(t *testing.T) {
	p := protocols[1]
	calls := make(chan got, 1)
	m := embedded(t, mirroring(p.service("orders", p.backend(t, "main"))+p.service("copy", recorder(t, p, calls, never)), ""))
	client := m.HTTPClient()
	defer client.CloseIdleConnections()
	for range 300 { // more copies than may be under way
		req, err := http.NewRequestWithContext(within(t, long), http.MethodPost, "http://orders/broken", &breaksOff{})
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	if _, err := post(t, m, p, "orders", "/whole", "abc", true); err != nil {
		t.Error(err)
	}
	if got := receive(t, "a copy", calls); got.Path != "/whole" {
		t.Errorf("%s was mirrored", got.Path)
	}
}

// breaksOff is a body that cannot be read to its end.
type breaksOff struct{ read bool }

func (b *breaksOff) Read(p []byte) (int, error) {
	if b.read {
		return 0, fmt.Errorf("broken")
	}
	b.read = true
	return copy(p, "abc"), nil
}

// TestMirrorNoUpgrades has a request that asks for another protocol go to one place only.
func TestMirrorNoUpgrades(t *testing.T) {
	p := protocols[1]
	calls := make(chan got, 10)
	m := embedded(t, mirroring(p.service("orders", p.backend(t, "main"))+p.service("copy", recorder(t, p, calls, never)), ""))
	call := p.client(t, m, "orders")
	if _, err := call(within(t, long), request{path: "/switch", header: map[string]string{"Connection": "Upgrade", "Upgrade": "websocket"}}); err != nil {
		t.Error(err)
	}
	if _, err := call(within(t, long), request{path: "/plain"}); err != nil {
		t.Error(err)
	}
	if got := receive(t, "a copy", calls); got.Path != "/plain" {
		t.Errorf("%s was mirrored", got.Path)
	}
}

// TestMirrorOfAStreamThatIsFaster has a copy that does not keep up with its stream be
// given up, and the stream go on.
func TestMirrorOfAStreamThatIsFaster(t *testing.T) {
	p := protocols[0]
	other := p.scripted(t, "copy", func(int) act { return act{hang: true} })
	m := embedded(t, mirroring(p.service("orders", p.backend(t, "main"))+p.service("copy", other.Backend), ""))
	ctx, cancel := context.WithCancel(within(t, long))
	defer cancel()
	s, err := dial(t, m, "orders").NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/s.A/b")
	if err != nil {
		t.Fatal(err)
	}
	// The window of a stream that nobody reads is full before, and then the queue.
	message, reply := wrapperspb.String(strings.Repeat("x", 64<<10)), new(wrapperspb.StringValue)
	for range 120 {
		if err := s.SendMsg(message); err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(reply); err != nil {
			t.Fatal(err)
		}
	}
	other.awaitCancelled(t, 1)
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
}
