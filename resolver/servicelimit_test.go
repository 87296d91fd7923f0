package resolver

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
)

// slowService answers when it is told to.
type slowService struct {
	calls  atomic.Int32
	answer chan struct{}
}

func (s *slowService) Service(*corev3.GrpcService) (filter.Service, error) { return s, nil }

func (s *slowService) Call(ctx context.Context, _ string, _, _ proto.Message) error {
	s.calls.Add(1)
	select {
	case <-s.answer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowService) Stream(context.Context, string) (filter.Stream, error) { panic("not reached") }

// lateLimit makes a filter that tells a service of calls that have ended.
func lateLimit(t *testing.T, kind serviceLimitKind, s filter.Services) filter.Filter {
	t.Helper()
	kinds, err := filter.NewRegistry(kind)
	if err != nil {
		t.Fatal(err)
	}
	var a anypb.Any
	if err := protojson.Unmarshal([]byte(`{"@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit", "domain": "d", "timeout": "0s",
		"rateLimitService": {"grpcService": {"googleGrpc": {"targetUri": "x", "statPrefix": "x"}}},
		"rateLimits": [{"actions": [{"genericKey": {"descriptorValue": "a"}}], "applyOnStreamDone": true}]}`), &a); err != nil {
		t.Fatal(err)
	}
	config, err := kinds.WithServices(s).Parse(&a, filter.Place{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := config.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLateReports has a service that is slower than the calls be told of so many and no
// more, no call wait for it, and who closes the mesh wait for what it was told.
func TestLateReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind, s := serviceLimitKind{&endReports{}}, &slowService{answer: make(chan struct{})}
		f := lateLimit(t, kind, s)
		call := func(n int) {
			for range n {
				end, err := f.Request(t.Context(), &filter.Request{})
				if err != nil {
					t.Fatal(err)
				}
				end.End(filter.Outcome{})
			}
			synctest.Wait()
		}
		call(maxEndReports + 100)
		if n := s.calls.Load(); n != maxEndReports {
			t.Errorf("the service was told of %d calls, want %d", n, maxEndReports)
		}
		for range 3 {
			s.answer <- struct{}{}
		}
		synctest.Wait()
		call(100)
		if n := s.calls.Load(); n != maxEndReports+3 {
			t.Errorf("after three answers the service was told of %d calls, want %d", n, maxEndReports+3)
		}

		closed := make(chan error, 1)
		go func() { closed <- kind.Close() }()
		synctest.Wait()
		if len(closed) > 0 {
			t.Error("closed while the service has reports to answer")
		}
		close(s.answer)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		call(1)
		if n := s.calls.Load(); n != maxEndReports+3 {
			t.Error("the service was told of a call that ended after Close")
		}
	})
}
