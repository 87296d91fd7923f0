package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/resilience"
)

// faulty is a client's or a server's way to calls that meet faults, and how many reach what
// is behind them.
type faulty struct {
	call    func(context.Context, request) (string, error)
	reached func() int64
}

// faultySides are the sides that faults are injected on, by the fields of a fault.
var faultySides = map[string]func(t *testing.T, p protocol, fault string) faulty{
	"client": func(t *testing.T, p protocol, fault string) faulty {
		b := p.backend(t, "b")
		m := newMesh(t, "services:\n"+p.service("orders", b)+
			"routes:\n  orders: [{to: orders, retry: {on: [5xx, unavailable, internal], statusCodes: [200, 404], backOff: {baseInterval: 1ms}}, fault: {"+fault+"}}]\n")
		return faulty{p.client(t, m, "orders"), b.Calls}
	},
	"server": func(t *testing.T, p protocol, fault string) faulty {
		s := server(t, p, newMesh(t, "routes:\n  inbound/orders: [{fault: {"+fault+"}}]\n"))
		m := newMesh(t, "services:\n"+p.service("orders", s))
		return faulty{p.client(t, m, "orders"), func() int64 { return -1 }}
	},
}

// TestFaults has calls meet faults of policy, on clients and servers (row Z6).
func TestFaults(t *testing.T) {
	const all = "percentage: 100%"
	header := func(list ...string) map[string]string {
		h := map[string]string{}
		for i := 0; i < len(list); i += 2 {
			h["x-envoy-fault-"+list[i]] = list[i+1]
		}
		return h
	}
	for _, test := range []struct {
		name, fault string
		header      map[string]string
		status      int // of HTTP; 0 for a call that is answered by the backend
		code        codes.Code
		body        string // of the answer
	}{
		{"HTTP status", "abort: {httpStatus: 503, " + all + "}", nil, 503, codes.Unavailable, "fault filter abort"},
		{"HTTP status without an error", "abort: {httpStatus: 200, responseBody: hello, " + all + "}", nil, 200, codes.Unknown, "hello"},
		{"gRPC status", "abort: {grpcStatus: 5, " + all + "}", nil, 200, codes.NotFound, "fault filter abort"},
		{"gRPC status OK", "abort: {grpcStatus: 0, " + all + "}", nil, 200, codes.Internal, "fault filter abort"},
		{"delay and abort", "delay: {fixedDelay: 1ms, " + all + "}, abort: {httpStatus: 404, " + all + "}", nil, 404, codes.Unimplemented, "fault filter abort"},
		{"delay", "delay: {fixedDelay: 1ms, " + all + "}", nil, 0, 0, ""},
		{"no calls", "abort: {httpStatus: 503, percentage: 0%}", nil, 0, 0, ""},
		{"by header", "abort: {headerAbort: true, " + all + "}", header("abort-request", "404"), 404, codes.Unimplemented, "fault filter abort"},
		{"by header, gRPC status", "abort: {headerAbort: true, " + all + "}", header("abort-grpc-request", "8"), 200, codes.ResourceExhausted, "fault filter abort"},
		{"by header, no calls", "abort: {headerAbort: true, " + all + "}", header("abort-request", "404", "abort-request-percentage", "0"), 0, 0, ""},
		{"by header, of fewer calls", "abort: {headerAbort: true, percentage: 0%}", header("abort-request", "404", "abort-request-percentage", "100"), 0, 0, ""},
		{"no header", "abort: {headerAbort: true, " + all + "}", nil, 0, 0, ""},
		{"delay by header", "delay: {headerDelay: true, " + all + "}, abort: {httpStatus: 404, " + all + "}", header("delay-request", "1"), 404, codes.Unimplemented, "fault filter abort"},
		{"some calls", "headers: {x-user: {exact: ann}}, abort: {httpStatus: 404, " + all + "}", map[string]string{"x-user": "ann"}, 404, codes.Unimplemented, "fault filter abort"},
		{"other calls", "headers: {x-user: {exact: ann}}, abort: {httpStatus: 404, " + all + "}", map[string]string{"x-user": "bob"}, 0, 0, ""},
		{"some nodes", "downstreamNodes: [a], abort: {httpStatus: 404, " + all + "}", map[string]string{"x-envoy-downstream-service-node": "a"}, 404, codes.Unimplemented, "fault filter abort"},
		{"other nodes", "downstreamNodes: [a], abort: {httpStatus: 404, " + all + "}", map[string]string{"x-envoy-downstream-service-node": "b"}, 0, 0, ""},
		{"none at a time", "maxActiveFaults: 0, abort: {httpStatus: 404, " + all + "}", nil, 0, 0, ""},
		{"disabled", "disabled: true", nil, 0, 0, ""},
		{"slow enough", "responseRateLimit: {limitKbps: 1000000, " + all + "}", nil, 0, 0, ""},
	} {
		for side, of := range faultySides {
			t.Run(side+" "+test.name, func(t *testing.T) {
				eachProtocol(t, func(t *testing.T, p protocol) {
					f := of(t, p, test.fault)
					body, err := f.call(within(t, long), request{header: test.header})
					switch {
					case test.status == 0:
						if err != nil || body == "" {
							t.Errorf("the call ended with %q, %v", body, err)
						}
						return
					case p.name == "http" && test.status == 200:
						if err != nil || body != test.body {
							t.Errorf("the call ended with %q, %v, want %q", body, err, test.body)
						}
					case p.name == "http":
						if want := fmt.Sprintf("status %d %s: %s", test.status, http.StatusText(test.status), test.body); err == nil || err.Error() != want {
							t.Errorf("the call ended with %v, want %q", err, want)
						}
					case status.Code(err) != test.code || test.code != codes.Internal && status.Convert(err).Message() != test.body:
						t.Errorf("the call ended with %v, want %v: %s", err, test.code, test.body)
					case side == "client" && !errors.Is(err, resilience.ErrFault):
						t.Errorf("%v is not an ErrFault", err)
					}
					if n := f.reached(); n > 0 {
						t.Errorf("%d attempts were made of a call that is aborted", n)
					}
				})
			})
		}
	}
}

// TestFaultDelay has a delay end with the call, whatever that ends by, and keep calls from
// the backend until then.
func TestFaultDelay(t *testing.T) {
	const forever = "fault: {delay: {fixedDelay: 100h, percentage: 100%}}"
	for _, test := range []struct {
		name, route string
		end         func(context.Context) (context.Context, context.CancelFunc)
		want        codes.Code
	}{
		{"deadline", forever, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		}, codes.DeadlineExceeded},
		{"cancelled", forever, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}, codes.Canceled},
		{"policy", forever + ", maxStreamDuration: 50ms", context.WithCancel, codes.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				b := p.backend(t, "b")
				m := newMesh(t, "services:\n"+p.service("orders", b)+"routes:\n  orders: [{to: orders, "+test.route+"}]\n")
				ctx, cancel := test.end(within(t, long))
				defer cancel()
				_, err := p.client(t, m, "orders")(ctx, request{})
				code := status.Code(err)
				switch {
				case errors.Is(err, context.DeadlineExceeded):
					code = codes.DeadlineExceeded
				case errors.Is(err, context.Canceled):
					code = codes.Canceled
				}
				if code != test.want {
					t.Errorf("the call ended with %v, want %v", err, test.want)
				}
				if n := b.Calls(); n != 0 {
					t.Errorf("the backend got %d calls", n)
				}
			})
		})
	}
}

// TestFaultLevels overrides the faults of a listener at each level, and counts the calls
// that meet any of them together.
func TestFaultLevels(t *testing.T) {
	abort := func(code int) string {
		return fmt.Sprintf(`{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {httpStatus: %d, percentage: {numerator: 1000000, denominator: MILLION}}}`, code)
	}
	const none = `{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}`
	only := func(cluster string) string {
		return strings.Replace(abort(404), ", abort:", ", upstreamCluster: "+cluster+", abort:", 1)
	}
	for _, test := range []struct {
		name, listener, routes string
		status                 string
	}{
		{"listener", abort(404), levels("", "", "", ""), "404"},
		{"configuration", abort(404), levels(override("f", abort(403)), "", "", ""), "403"},
		{"virtual host", none, levels(override("f", abort(403)), override("f", abort(410)), "", ""), "410"},
		{"route", none, levels("", override("f", abort(403)), override("f", abort(410)), ""), "410"},
		{"weighted cluster", none, levels("", "", override("f", abort(403)), override("f", abort(410))), "410"},
		{"none of a route", abort(404), levels("", "", override("f", none), ""), ""},
		{"disabled by a route", abort(404), levels("", "", disabled("f"), ""), ""},
		{"its cluster", only("back"), levels("", "", "", ""), "404"},
		{"another cluster", only("other"), levels("", "", "", ""), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := protocols[1]
			m := newMesh(t, filtering(p.service("back", p.backend(t, "b")), []string{httpFilter("f", test.listener)}, test.routes))
			_, err := p.client(t, m, "front")(within(t, long), request{})
			if test.status == "" && err != nil || test.status != "" && (err == nil || !strings.Contains(err.Error(), "status "+test.status)) {
				t.Errorf("the call ended with %v, want %s", err, test.status)
			}
		})
	}
}

// TestFaultsAtATime has no more calls meet a fault than may, and others go on without.
func TestFaultsAtATime(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		m := newMesh(t, "services:\n"+p.service("orders", p.backend(t, "b"))+
			"routes:\n  orders: [{to: orders, fault: {delay: {headerDelay: true, percentage: 100%}, maxActiveFaults: 2}}]\n")
		call := p.client(t, m, "orders")
		delayed := request{header: map[string]string{"x-envoy-fault-delay-request": "100000000"}}
		ctx, cancel := context.WithCancel(within(t, long))
		done := make(chan error)
		for range 8 {
			go func() {
				_, err := call(ctx, delayed)
				done <- err
			}()
		}
		for range 6 {
			if err := receive(t, "the end of a call that meets no fault", done); err != nil {
				t.Errorf("a call that meets no fault: %v", err)
			}
		}
		cancel()
		for range 2 {
			if err := receive(t, "the end of a delayed call", done); err == nil {
				t.Error("a call was not delayed")
			}
		}
	})
}

// TestFaultEmptyStream answers streams with OK and no message (gRFC A33), on clients and
// servers.
func TestFaultEmptyStream(t *testing.T) {
	const fault = "{abort: {grpcStatus: 0, percentage: 100%}}"
	p := protocols[0]
	b := p.backend(t, "b")
	s := server(t, p, newMesh(t, "routes: {inbound/orders: [{fault: "+fault+"}]}\n"))
	for side, m := range map[string]*mesh.Mesh{
		"client": newMesh(t, "services:\n"+p.service("orders", b)+"routes: {orders: [{to: orders, fault: "+fault+"}]}\n"),
		"server": newMesh(t, "services:\n"+p.service("orders", s)),
	} {
		conn := dial(t, m, "orders")
		for _, desc := range []grpc.StreamDesc{{ServerStreams: true}, {ServerStreams: true, ClientStreams: true}, {ClientStreams: true}} {
			ended := make(chan error, 1)
			stream, err := conn.NewStream(metadata.AppendToOutgoingContext(within(t, long), "a", "b"), &desc, "/shop.Orders/List", grpc.OnFinish(func(err error) { ended <- err }))
			if err == nil {
				_ = stream.SendMsg(wrapperspb.String(""))
				_ = stream.CloseSend()
				err = stream.RecvMsg(new(wrapperspb.StringValue))
			}
			want := codes.OK
			if !desc.ServerStreams {
				want = codes.Internal
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if status.Code(err) != want {
				t.Errorf("%s: a stream %+v ended with %v, want %v", side, desc, err, want)
			}
			if desc.ServerStreams {
				if err := receive(t, "OnFinish", ended); err != nil {
					t.Errorf("%s: a stream %+v ended with %v", side, desc, err)
				}
			}
		}
	}
	if n := b.Calls(); n != 0 {
		t.Errorf("the backend got %d calls", n)
	}
}
