package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// caller makes one call of a path with a header that has no value.
type caller func(ctx context.Context, path, header string) error

// callers are the kinds of calls of a protocol.
func (p protocol) callers(t *testing.T, m *mesh.Mesh) map[string]caller {
	call := p.client(t, m, "orders")
	kinds := map[string]caller{"call": func(ctx context.Context, path, header string) error {
		_, err := call(ctx, request{path: path, header: map[string]string{header: "1"}})
		return err
	}}
	if p.name == "grpc" {
		conn := dial(t, m, "orders")
		kinds["stream"] = func(ctx context.Context, path, header string) error {
			return exchanged(metadata.AppendToOutgoingContext(ctx, header, "1"), conn, path)
		}
	}
	return kinds
}

// exchanged sends one message on a stream and receives until it ends.
func exchanged(ctx context.Context, conn *grpc.ClientConn, path string) error {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, path)
	if err != nil {
		return err
	}
	_ = s.SendMsg(wrapperspb.String("7")) // receiving says why
	_ = s.CloseSend()
	for err == nil {
		err = s.RecvMsg(new(wrapperspb.StringValue))
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// TestRetryThrottling has calls of routes without a retry policy, and calls that theirs
// does not name, count for the throttle of the cluster (gRFC A6; row Z2).
func TestRetryThrottling(t *testing.T) {
	const (
		retried = "/retried/Call" // also failures that it does not name
		named   = "/named/Call"   // of requests with x-named
		plain   = "/plain/Call"
	)
	routes := `
routes:
  orders:
  - {match: {path: {prefix: /retried/}}, to: orders, retry: {attempts: 9, on: [gateway-error, unavailable], backOff: {baseInterval: 1ms}}}
  - {match: {path: {prefix: /named/}}, to: orders, retry: {attempts: 9, on: [gateway-error, unavailable], requestHeaders: {x-named: {present: true}}, backOff: {baseInterval: 1ms}}}
  - {match: {path: {prefix: /plain/}}, to: orders}
`
	ok, fails, other := act{}, act{fail: codes.Unavailable}, act{fail: codes.NotFound}
	tells := func(a act, ms string) act {
		a.header = map[string]string{"grpc-retry-pushback-ms": ms}
		return a
	}
	begun := tells(act{early: true, fail: codes.Unavailable}, "-1")
	type step struct {
		path   string
		script []act // of its attempts, as many as there are
	}
	// Of four tokens, two failures leave the half at which nothing is retried.
	run := []step{{retried, []act{fails, fails}}, {retried, []act{fails}}}
	full := step{retried, []act{fails, fails}}
	one := step{retried, []act{fails, ok}}
	for _, c := range []struct {
		name  string
		only  string // a protocol
		steps []step
	}{
		{"successes without policy earn", "", slices.Concat(run, []step{{plain, []act{ok}}, {plain, []act{ok}}, {plain, []act{ok}}, full})},
		{"successes not named earn", "", slices.Concat(run, []step{{named, []act{ok}}, {named, []act{ok}}, {named, []act{ok}}, full})},
		{"successes are no more than the most", "", slices.Concat(slices.Repeat([]step{{plain, []act{ok}}}, 9), []step{full})},
		{"failures without policy do not pay", "", slices.Concat(slices.Repeat([]step{{plain, []act{fails}}, {plain, []act{other}}, {named, []act{fails}}}, 3), []step{one})},
		{"nor do they earn", "", slices.Concat(run, slices.Repeat([]step{{plain, []act{fails}}}, 3), []step{{retried, []act{fails}}})},
		{"pushback without policy pays", "grpc", []step{{plain, []act{tells(other, "-1")}}, {plain, []act{tells(fails, "no")}}, {retried, []act{fails}}}},
		{"pushback of what is not named pays", "grpc", []step{{named, []act{tells(fails, "-1")}}, {named, []act{tells(other, "-1")}}, {retried, []act{fails}}}},
		{"a time does not pay", "grpc", slices.Concat(slices.Repeat([]step{{plain, []act{tells(fails, "1")}}}, 3), []step{one})},
		{"pushback after an answer began does not pay", "grpc", slices.Concat(slices.Repeat([]step{{plain, []act{begun}}}, 3), []step{one})},
		{"pushback is gRPC's", "http", slices.Concat(slices.Repeat([]step{{plain, []act{tells(fails, "-1")}}}, 3), []step{one})},
	} {
		for _, p := range protocols {
			if c.only != "" && c.only != p.name {
				continue
			}
			for _, kind := range []string{"call", "stream"} {
				if p.name == "http" && kind == "stream" {
					continue
				}
				t.Run(c.name+"/"+p.name+"/"+kind, func(t *testing.T) {
					t.Parallel()
					var script []act
					for _, s := range c.steps {
						script = append(script, s.script...)
					}
					b := p.scripted(t, "b", func(n int) act {
						if n > len(script) {
							return act{}
						}
						return script[n-1]
					})
					m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n  orders: {protocol: "+p.name+", connectTimeout: 60s, endpoints: [\""+b.Addr+"\"], limits: {retryThrottling: {maxTokens: 4, tokenRatio: 100%}}}"+routes)))
					call := p.callers(t, m)[kind]
					for i, s := range c.steps {
						before := b.Calls()
						err := call(within(t, long), s.path, "x-any")
						if fails := s.script[len(s.script)-1].fail != codes.OK; (err != nil) != fails {
							t.Errorf("call %d: %v, want a failure: %v", i+1, err, fails)
						}
						if n := b.Calls() - before; n != int64(len(s.script)) {
							t.Fatalf("call %d had %d attempts, want %d", i+1, n, len(s.script))
						}
					}
				})
			}
		}
	}
}

// answersGRPC ends a stream, with a message if the status is OK, and else with nothing but
// the status.
func answersGRPC(code codes.Code) func(f *http2.Framer, stream uint32) {
	return func(f *http2.Framer, stream uint32) {
		end := []string{"grpc-status", string('0'+rune(code/10)) + string('0'+rune(code%10))}
		headers := []string{":status", "200", "content-type", "application/grpc"}
		if code != codes.OK {
			_ = f.WriteHeaders(headerBlock(stream, true, append(headers, end...)...))
			return
		}
		_ = f.WriteHeaders(headerBlock(stream, false, headers...))
		_ = f.WriteData(stream, false, make([]byte, 5))
		_ = f.WriteHeaders(headerBlock(stream, true, end...))
	}
}

func headerBlock(stream uint32, ends bool, fields ...string) http2.HeadersFrameParam {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: ends}
}

// TestTransparentRetries has a server refuse streams of RPCs. That grpc sends the first again
// by itself, once, is no attempt of policy's, has no number and pays no token (gRFC A6).
func TestTransparentRetries(t *testing.T) {
	ok, fails := answersGRPC(codes.OK), answersGRPC(codes.Unavailable)
	refuses, leaves := resets(http2.ErrCodeRefusedStream), goAway(http2.ErrCodeNo)
	type script = []func(*http2.Framer, uint32)
	const again, twice = "retry: {attempts: 4, on: [unavailable], backOff: {baseInterval: 1ms}}", "retry: {attempts: 2, on: [unavailable], backOff: {baseInterval: 1ms}}"
	for _, c := range []struct {
		name          string
		limits, route string
		script        script
		numbers       string // of the attempts that the server saw; - for none
		fails         bool
	}{
		{"without policy", "", "", script{refuses, ok}, "- -", false},
		{"without policy, GOAWAY", "", "", script{leaves, ok}, "- -", false},
		{"without policy, once", "", "", script{refuses, refuses}, "- -", true},
		{"then by policy", "", again, script{refuses, refuses, ok}, "- - 1", false},
		{"then by policy, GOAWAY", "", again, script{leaves, leaves, ok}, "- - 1", false},
		{"not counted", "", twice, script{refuses, fails, ok}, "- - 1", false},
		{"not counted, exhausted", "", twice, script{refuses, fails, fails}, "- - 1", true},
		{"the first attempt only", "", again, script{fails, refuses, ok}, "- 1 2", false},
		{"the first attempt only, exhausted", "", twice, script{fails, refuses}, "- 1", true},
		{"pays nothing", "retryThrottling: {maxTokens: 4, tokenRatio: 100%}", again, script{refuses, fails, fails}, "- - 1", true},
		{"the second refusal pays", "retryThrottling: {maxTokens: 4, tokenRatio: 100%}", again, script{refuses, refuses, fails}, "- - 1", true},
		{"throttled", "retryThrottling: {maxTokens: 2, tokenRatio: 100%}", again, script{refuses, refuses}, "- -", true},
	} {
		for _, kind := range []string{"call", "stream"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				r := newRefuser(t, func(n int, f *http2.Framer, stream uint32) bool {
					if n > len(c.script) {
						n = len(c.script)
					}
					c.script[n-1](f, stream)
					return true
				})
				m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n  orders: {protocol: grpc, connectTimeout: 60s, endpoints: [\""+r.addr+"\"], limits: {"+c.limits+"}}\nroutes: {orders: [{to: orders, "+c.route+"}]}")))
				if err := protocols[0].callers(t, m)[kind](within(t, long), "/a/b", "x-any"); (err != nil) != c.fails {
					t.Errorf("%v, want a failure: %v", err, c.fails)
				}
				var numbers []string
				for _, seen := range r.requests() {
					number := strings.Split(seen, " ")[1]
					if number == "" {
						number = "-"
					}
					numbers = append(numbers, number)
				}
				if got := strings.Join(numbers, " "); got != c.numbers {
					t.Errorf("the server saw attempts %s, want %s", got, c.numbers)
				}
			})
		}
	}
}
