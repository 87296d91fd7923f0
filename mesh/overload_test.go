package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// holder is a backend, or a server that goes by policy, which holds the calls to
// /shop.Orders/Hold up until they are let go.
type holder struct {
	*meshtest.Backend
	entered, release chan struct{}
}

const holdPath = "/shop.Orders/Hold"

// holder starts one. m is nil for a backend.
func (p protocol) holder(t *testing.T, m *mesh.Mesh) *holder {
	h := &holder{entered: make(chan struct{}, 100), release: make(chan struct{})}
	hold := func(ctx context.Context, path string) {
		if path != holdPath {
			return
		}
		h.entered <- struct{}{}
		select {
		case <-h.release:
		case <-ctx.Done():
		}
	}
	if p.name == "http" {
		var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hold(r.Context(), r.URL.Path)
			fmt.Fprint(w, "h")
		})
		if m != nil {
			handler = m.Handler("orders", handler)
		}
		h.Backend = meshtest.HTTP(t, handler)
		return h
	}
	var opts []grpc.ServerOption
	if m != nil {
		opts = m.ServerOptions("orders")
	}
	h.Backend = meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, append(opts, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		in := new(wrapperspb.StringValue)
		if err := s.RecvMsg(in); err != nil {
			return err
		}
		method, _ := grpc.Method(s.Context())
		hold(s.Context(), method)
		return s.SendMsg(wrapperspb.String("h"))
	}))...)
	return h
}

// hold makes a call that the holder holds up, and waits until it is there. What comes of
// it, once it is let go, is sent to the channel.
func (h *holder) hold(t *testing.T, call func(context.Context, request) (string, error), header map[string]string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := call(within(t, long), request{path: holdPath, header: header})
		done <- err
	}()
	select {
	case <-h.entered:
	case err := <-done:
		t.Fatalf("a call that is to be held up: %v", err)
	}
	return done
}

// plain returns a function that calls addr without a mesh.
func (p protocol) plain(t *testing.T, addr string) func(context.Context, request) (string, error) {
	if p.name == "http" {
		client := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		return func(ctx context.Context, r request) (string, error) { return httpCall(ctx, client, addr, r) }
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return func(ctx context.Context, r request) (string, error) { return invoke(ctx, conn, r) }
}

// overloaded expects err to be that of a client whose filter refuses a call: a status, or a
// response with the text that Envoy has.
func overloaded(t *testing.T, p protocol, err error, text string) {
	t.Helper()
	if !errors.Is(err, mesh.ErrOverloaded) {
		t.Errorf("got %v, want ErrOverloaded", err)
	}
	if p.name == "http" {
		refusedBy(t, p, err, 503, codes.Unavailable, text)
	} else if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
}

// passes waits until calls pass: a call's place is free some time after its caller has
// the answer.
func passes(t *testing.T, call func(context.Context, request) (string, error), r request) {
	t.Helper()
	for ctx := within(t, long); ; {
		_, err := call(within(t, long), r)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("calls do not pass: %v", err)
		}
	}
}

// TestAdaptiveConcurrency has one call in flight, which is all that may be (row Z8). The
// limit is one for all routes of the listener; that it finds its way is shown in package
// resilience.
func TestAdaptiveConcurrency(t *testing.T) {
	const one = "adaptiveConcurrency: {maxConcurrencyLimit: 1, minRttCalcParams: {fixedValue: 1s, minConcurrency: 1}"
	t.Run("client", func(t *testing.T) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			b := p.holder(t, nil)
			m := newMesh(t, "services:\n"+p.service("orders", b.Backend)+"filters:\n  orders: [{name: c, "+one+"}}]\n"+
				"routes:\n  orders: [{match: {path: {prefix: /open}}, to: orders, filters: {c: {disabled: true}}}, {match: {path: {prefix: /shop}}, to: orders}, {to: orders}]\n")
			call := p.client(t, m, "orders")
			held := b.hold(t, call, nil)
			for _, path := range []string{"/shop.Orders/Get", "/other.Orders/Get"} {
				_, err := call(within(t, long), request{path: path})
				overloaded(t, p, err, "reached concurrency limit")
			}
			if _, err := call(within(t, long), request{path: "/open.Orders/Get"}); err != nil {
				t.Errorf("a route that disables the filter: %v", err)
			}
			close(b.release)
			if err := receive(t, "the end of the call that was held up", held); err != nil {
				t.Error(err)
			}
			passes(t, call, request{})
		})
	})
	t.Run("server", func(t *testing.T) {
		for status, code := range map[int]codes.Code{503: codes.Unavailable, 429: codes.Unavailable, 404: codes.Unimplemented} {
			eachProtocol(t, func(t *testing.T, p protocol) {
				m := newMesh(t, fmt.Sprintf("filters:\n  inbound/orders: [{name: c, %s, concurrencyLimitExceededStatus: %d}}]\n", one, status))
				s := p.holder(t, m)
				call := p.plain(t, s.Addr)
				held := s.hold(t, call, nil)
				_, err := call(within(t, long), request{})
				refusedBy(t, p, err, status, code, "reached concurrency limit")
				close(s.release)
				if err := receive(t, "the end of the call that was held up", held); err != nil {
					t.Error(err)
				}
				passes(t, call, request{})
			})
		}
	})
}

// refusedBy expects err to be what a server's policy answers.
func refusedBy(t *testing.T, p protocol, err error, httpStatus int, code codes.Code, text string) {
	t.Helper()
	want := status.Error(code, text).Error()
	if p.name == "http" {
		want = fmt.Sprintf("status %d %s: %s", httpStatus, http.StatusText(httpStatus), text)
	}
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestAdmissionControl calls what fails every time (row Z8). n calls that got through have
// the next refused with the probability n/(n+1), so that of 400 calls some 28 get through,
// of which 10 and 60 are more than four standard deviations away.
func TestAdmissionControl(t *testing.T) {
	const calls = 400
	config := func(more string) string {
		return "[{name: a, admissionControl: {srThreshold: 100%, maxRejectionProbability: 100%, samplingWindow: 3600s" + more + "}}]\n"
	}
	t.Run("client", func(t *testing.T) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			failing := p.scripted(t, "failing", func(int) act { return act{fail: codes.Unavailable} })
			fine := p.scripted(t, "fine", func(int) act { return act{} })
			m := newMesh(t, "services:\n"+p.service("orders", failing.Backend)+p.service("fine", fine.Backend)+
				"filters:\n  orders: "+config("")+"  fine: "+config("")+
				"routes:\n  orders: [{match: {path: {prefix: /open}}, to: orders, filters: {a: {disabled: true}}}, {to: orders, retry: {attempts: 2, on: [5xx, unavailable], backOff: {baseInterval: 1ms}}}]\n")
			call, open := p.client(t, m, "orders"), "/open.Orders/Get"
			through := 0
			for range calls {
				if _, err := call(within(t, long), request{}); errors.Is(err, mesh.ErrOverloaded) {
					overloaded(t, p, err, "")
				} else {
					through++
				}
			}
			if seen := len(failing.headers("x")); through < 10 || through > 60 || seen != 2*through { // with their retries, which do not count
				t.Errorf("%d of %d calls got through, and %d attempts", through, calls, seen)
			}
			for range 20 {
				if _, err := call(within(t, long), request{path: open}); errors.Is(err, mesh.ErrOverloaded) {
					t.Errorf("a route that disables the filter: %v", err)
				}
			}
			call = p.client(t, m, "fine")
			for range calls {
				if _, err := call(within(t, long), request{}); err != nil {
					t.Fatalf("of a backend that is fine: %v", err)
				}
			}
		})
	})
	t.Run("server", func(t *testing.T) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			// By these criteria what the server answers is a failure.
			m := newMesh(t, "filters:\n  inbound/orders: "+config(", successCriteria: {httpSuccessStatus: [{start: 500, end: 600}], grpcSuccessStatus: [13]}"))
			call := p.plain(t, p.holder(t, m).Addr)
			through := 0
			for range calls {
				if _, err := call(within(t, long), request{}); err == nil {
					through++
				} else {
					text := ""
					if p.name == "grpc" {
						text = "policy answers 503 Service Unavailable"
					}
					refusedBy(t, p, err, 503, codes.Unavailable, text)
				}
			}
			if through < 10 || through > 60 {
				t.Errorf("%d of %d calls got through", through, calls)
			}
		})
	})
	t.Run("few", func(t *testing.T) {
		eachProtocol(t, func(t *testing.T, p protocol) {
			failing := p.scripted(t, "failing", func(int) act { return act{fail: codes.Unavailable} })
			m := newMesh(t, "services:\n"+p.service("orders", failing.Backend)+"filters:\n  orders: "+config(", rpsThreshold: 1"))
			call := p.client(t, m, "orders")
			for range 100 { // in an hour
				if _, err := call(within(t, long), request{}); errors.Is(err, mesh.ErrOverloaded) {
					t.Fatal(err)
				}
			}
		})
	})
}

// TestLoadShed fills a server (server load shedding).
func TestLoadShed(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, `
filters:
  inbound/orders: [{name: shed, loadShed: {maxRequests: 4, priorityHeader: x-priority, shares: {bulk: 25%}, retryAfter: 1500ms}}]
routes:
  inbound/orders:
    - {match: {path: {prefix: /health}}, filters: {shed: {disabled: true}}}
    - {match: {path: {prefix: /reports}}, filters: {shed: {share: 50%}}}
    - {}
`)
		s := p.holder(t, m)
		call := p.plain(t, s.Addr)
		bulk := map[string]string{"x-priority": "bulk"}
		shed := func(r request) {
			t.Helper()
			_, err := call(within(t, long), r)
			refusedBy(t, p, err, 503, codes.Unavailable, "the server is overloaded")
		}
		served := func(r request) {
			t.Helper()
			if _, err := call(within(t, long), r); err != nil {
				t.Error(err)
			}
		}
		held := []<-chan error{s.hold(t, call, bulk)}
		shed(request{header: bulk})
		passes(t, call, request{path: "/reports.Reports/Get"})
		held = append(held, s.hold(t, call, nil))
		shed(request{path: "/reports.Reports/Get"})
		passes(t, call, request{})
		for range 2 {
			held = append(held, s.hold(t, call, nil))
		}
		shed(request{})
		served(request{path: "/health.Check/Get"})
		p.retriesLater(t, s.Addr)
		close(s.release)
		for _, h := range held {
			if err := receive(t, "the end of a call that was held up", h); err != nil {
				t.Error(err)
			}
		}
		passes(t, call, request{header: bulk})
	})
}

// retriesLater expects a refused call to say when to try again.
func (p protocol) retriesLater(t *testing.T, addr string) {
	t.Helper()
	if p.name == "grpc" {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var trailer metadata.MD
		if err := conn.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String(""), new(wrapperspb.StringValue), grpc.Trailer(&trailer)); err == nil || strings.Join(trailer.Get("grpc-retry-pushback-ms"), ",") != "1500" {
			t.Errorf("%v, with the trailer %v", err, trailer)
		}
		return
	}
	req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://"+addr+"/shop.Orders/Get", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Retry-After"); resp.StatusCode != http.StatusServiceUnavailable || got != "2" {
		t.Errorf("%s, Retry-After: %q", resp.Status, got)
	}
}

// TestLoadShedQueue has calls wait for one to end, and give up.
func TestLoadShedQueue(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, "filters:\n  inbound/orders: [{name: shed, loadShed: {maxRequests: 1, queue: {size: 1, interval: 1h}}}]\n")
		s := p.holder(t, m)
		call := p.plain(t, s.Addr)
		held := s.hold(t, call, nil)
		// Of two more, one waits, and there is no room for the other.
		ctx, giveUp := context.WithCancel(within(t, long))
		defer giveUp()
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := call(ctx, request{})
				results <- err
			}()
		}
		refusedBy(t, p, receive(t, "a call to be refused", results), 503, codes.Unavailable, "the server is overloaded")
		giveUp()
		if err := receive(t, "the end of the call that gave up", results); err == nil {
			t.Error("a call that waits is served")
		}
		later := make(chan error, 1)
		go func() {
			for { // the place of the one that gave up is not free at once
				_, err := call(within(t, long), request{})
				if err == nil || !strings.Contains(err.Error(), "the server is overloaded") {
					later <- err
					return
				}
			}
		}()
		close(s.release)
		if err := receive(t, "the end of the call that was held up", held); err != nil {
			t.Error(err)
		}
		if err := receive(t, "the end of the call that waits", later); err != nil {
			t.Errorf("a call that waited: %v", err)
		}
	})
}
