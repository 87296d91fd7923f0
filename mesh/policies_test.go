package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpcorca "google.golang.org/grpc/orca"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
	"github.com/weft-mesh/weft/telemetry/orca"
)

// TestLearningPolicies has each of the policies that need no report divide calls, as
// policy files write them (row L2).
func TestLearningPolicies(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		const backends, calls = 4, 400
		var all []*meshtest.Backend
		for i := range backends {
			all = append(all, p.backend(t, fmt.Sprint(i)))
		}
		for _, c := range []struct {
			name, balance string
			used          int // of the backends
		}{
			{"peak_ewma", "policy: peak_ewma", backends},
			{"full scan", "policy: least_request, selectionMethod: full_scan", backends},
			{"slow start", "slowStart: {slowStartWindow: 1h}", backends},
			{"weights without reports", "policy: client_side_weighted_round_robin", backends},
			{"a subset", "subsetSize: 2", 2},
			{"a subset by latency", "policy: peak_ewma, subsetSize: 3", 3},
			{"shuffled", "policy: pick_first, shuffleAddressList: true", 1},
		} {
			m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
				"services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {%s}, endpoints: [%s]}\n", p.name, c.balance, addresses(all)))))
			call := p.client(t, m, "orders")
			deadline := time.Now().Add(long)
			for {
				if got := counts(t, call, request{}, calls); len(got) == c.used {
					break
				} else if time.Now().After(deadline) {
					t.Errorf("%s: calls go to %v, want %d of the backends", c.name, got, c.used)
					break
				}
			}
		}
	})
}

// delay is how long a slow backend takes: much longer than any other.
const delay = 200 * time.Millisecond

// slowableBackend answers with its name, at once or, once it is slow, after the delay.
func slowableBackend(t *testing.T, p protocol, name string, slow *atomic.Bool) *meshtest.Backend {
	wait := func() {
		if slow.Load() {
			<-time.After(delay)
		}
	}
	if p.name == "http" {
		return meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			wait()
			fmt.Fprint(w, name)
		}))
	}
	return meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		for {
			if err := s.RecvMsg(new(wrapperspb.StringValue)); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			wait()
			if err := s.SendMsg(wrapperspb.String(name)); err != nil {
				return err
			}
		}
	}))
}

// grpcStream opens a stream for each call, and has it end before its backend does.
func grpcStream(tb testing.TB, m *mesh.Mesh, target string) func(context.Context, request) (string, error) {
	conn := dial(tb, m, target)
	return func(ctx context.Context, _ request) (string, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/shop.Orders/Watch")
		if err != nil {
			return "", err
		}
		reply := new(wrapperspb.StringValue)
		err = errors.Join(s.SendMsg(wrapperspb.String("7")), s.RecvMsg(reply))
		return reply.GetValue(), err
	}
}

// TestPeakEWMA has one of three backends become slow: calls keep away from it, unary
// calls and streams of gRPC, and HTTP.
func TestPeakEWMA(t *testing.T) {
	for _, p := range append(protocols, protocol{"grpc", grpcBackend, grpcStream}) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var slow, never atomic.Bool
			backends := []*meshtest.Backend{slowableBackend(t, p, "slow", &slow), slowableBackend(t, p, "a", &never), slowableBackend(t, p, "b", &never)}
			m := meshtest.New(t, mesh.WithPolicy([]byte(fmt.Sprintf(
				"services:\n  orders: {protocol: %s, connectTimeout: 60s, balance: {policy: peak_ewma}, endpoints: [%s]}\n", p.name, addresses(backends)))))
			call := p.client(t, m, "orders")
			eventually(t, call, request{}, "a", "b", "slow")
			slow.Store(true)
			deadline := time.Now().Add(long)
			for {
				// It is called again when it was not for long: its average decays.
				got := counts(t, call, request{}, 100)["slow"]
				if got <= 5 {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("%d of 100 calls go to the slow backend", got)
					break
				}
			}
		})
	}
}

// lateBackend begins its answers at once, or after the delay, and ends them after another.
func lateBackend(t *testing.T, p protocol, name string, first, rest time.Duration) *meshtest.Backend {
	if p.name == "http" {
		return meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			<-time.After(first)
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-time.After(rest)
			fmt.Fprint(w, name)
		}))
	}
	return meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return err
		}
		<-time.After(first)
		err := s.SendMsg(wrapperspb.String(name))
		<-time.After(rest)
		return errors.Join(err, s.SendMsg(wrapperspb.String(name)))
	}))
}

// lastOfStream calls by streams, and returns what their last message says.
func lastOfStream(tb testing.TB, m *mesh.Mesh, target string) func(context.Context, request) (string, error) {
	conn := dial(tb, m, target)
	return func(ctx context.Context, _ request) (string, error) {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/shop.Orders/List")
		if err != nil {
			return "", err
		}
		if err := errors.Join(s.SendMsg(wrapperspb.String("7")), s.CloseSend()); err != nil {
			return "", err
		}
		reply := new(wrapperspb.StringValue)
		for {
			if err := s.RecvMsg(reply); errors.Is(err, io.EOF) {
				return reply.GetValue(), nil
			} else if err != nil {
				return "", err
			}
		}
	}
}

// TestPeakEWMAOfFirstBytes has the time to an answer's first byte count, not to its end:
// calls go to the backend whose answers begin sooner, though they end later.
func TestPeakEWMAOfFirstBytes(t *testing.T) {
	for _, p := range []protocol{protocols[1], {"grpc", grpcBackend, lastOfStream}} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			soon, late := lateBackend(t, p, "soon", 0, 3*delay/2), lateBackend(t, p, "late", delay/2, 0)
			m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+
				fmt.Sprintf("  orders: {protocol: %s, connectTimeout: 60s, balance: {policy: peak_ewma}, endpoints: [%s]}\n", p.name, addresses([]*meshtest.Backend{soon, late})))))
			call := p.client(t, m, "orders")
			for deadline := time.Now().Add(long); ; {
				if got := counts(t, call, request{}, 10); got["soon"] >= 8 {
					break
				} else if time.Now().After(deadline) {
					t.Fatalf("calls go to %v", got)
				}
			}
		})
	}
}

// reportingBackend reports with each answer, in a way that the test names.
func reportingBackend(t *testing.T, p protocol, how, name string, queries float64) *meshtest.Backend {
	report := &orca.Report{CPU: 0.5, QueriesPerSecond: queries}
	if p.name == "http" {
		return meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			switch how {
			case "header":
				report.SetHeader(w.Header())
			case "text":
				w.Header().Set("Endpoint-Load-Metrics", fmt.Sprintf("TEXT cpu_utilization=0.5,rps_fractional=%v", queries))
			case "trailer":
				w.Header().Set("Trailer", "Endpoint-Load-Metrics-Bin")
				defer func() { report.SetHeader(w.Header()) }()
			}
			fmt.Fprint(w, name)
		}))
	}
	recorder := grpcorca.NewServerMetricsRecorder()
	recorder.SetCPUUtilization(report.CPU)
	recorder.SetQPS(report.QueriesPerSecond)
	handler := grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return err
		}
		if how == "per call" {
			r := grpcorca.CallMetricsRecorderFromContext(s.Context())
			r.SetCPUUtilization(report.CPU)
			r.SetQPS(report.QueriesPerSecond)
		}
		return s.SendMsg(wrapperspb.String(name))
	})
	return meshtest.GRPC(t, func(s grpc.ServiceRegistrar) {
		if how == "out of band" {
			err := grpcorca.Register(s.(*grpc.Server), grpcorca.ServiceOptions{ServerMetricsProvider: recorder, MinReportingInterval: time.Millisecond})
			if err != nil {
				t.Error(err)
			}
		}
	}, handler, grpcorca.CallMetricsServerOption(nil))
}

// TestReportedLoads has calls follow what backends report of their load: in the trailers
// of gRPC calls, on streams out of band, and in the headers and trailers of HTTP.
func TestReportedLoads(t *testing.T) {
	hows := map[string][]string{"grpc": {"per call", "out of band"}, "http": {"header", "text", "trailer"}}
	eachProtocol(t, func(t *testing.T, p protocol) {
		for _, how := range hows[p.name] {
			a, b := reportingBackend(t, p, how, "a", 300), reportingBackend(t, p, how, "b", 100)
			// Policy's own weights do not count.
			policy := fmt.Sprintf(`
services:
  orders:
    protocol: %s
    balance: {policy: client_side_weighted_round_robin, blackoutPeriod: 0s, weightUpdatePeriod: 100ms, enableOobLoadReport: %v, oobReportingPeriod: 20ms}
    endpoints: [{address: %q}, {address: %q, weight: 50}]
`, p.name, how == "out of band", a.Addr, b.Addr)
			call := p.client(t, meshtest.New(t, mesh.WithPolicy([]byte(policy))), "orders")
			const calls = 400
			deadline := time.Now().Add(long)
			for {
				// 300 of 400, and where weights are calculated meanwhile a few more or less.
				got := counts(t, call, request{}, calls)["a"]
				if got >= 290 && got <= 310 {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("%s: %d of %d calls go to a, want 300", how, got, calls)
					break
				}
			}
		}
	})
}
