package orca

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	orcadata "github.com/cncf/xds/go/xds/data/orca/v3"
	orcav3 "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// scriptedLoads is an endpoint whose streams end, each after some reports.
type scriptedLoads struct {
	script []scriptedStream
	asked  []time.Duration // when, since began
	period time.Duration
	began  time.Time
}

type scriptedStream struct {
	grpc.ClientStream
	refuse  error
	reports int
	end     error
}

func (s *scriptedLoads) StreamCoreMetrics(ctx context.Context, req *orcav3.OrcaLoadReportRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[orcadata.OrcaLoadReport], error) {
	s.asked = append(s.asked, time.Since(s.began))
	s.period = req.GetReportInterval().AsDuration()
	if len(s.script) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	next := s.script[0]
	s.script = s.script[1:]
	if next.refuse != nil {
		return nil, next.refuse
	}
	return &next, nil
}

func (s *scriptedStream) Recv() (*orcadata.OrcaLoadReport, error) {
	if s.reports == 0 {
		return nil, s.end
	}
	s.reports--
	return &orcadata.OrcaLoadReport{CpuUtilization: 0.5}, nil
}

// TestReportsAreAskedForAgain has streams end, each for another reason: the next is asked for
// after a backoff, which a report has begin anew.
func TestReportsAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := status.Error(codes.Unavailable, "lost")
		loads := &scriptedLoads{began: time.Now(), script: []scriptedStream{
			{refuse: lost}, {end: io.EOF}, {end: errors.New("x")}, {reports: 2, end: lost}, {refuse: lost},
		}}
		heard := 0
		f := follower{loads, time.Minute, func(r *Report) {
			if heard++; r.CPU != 0.5 {
				t.Errorf("a load of %v", r.CPU)
			}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.follow(ctx)
		}()
		time.Sleep(time.Hour)
		cancel()
		<-done
		if heard != 2 || loads.period != time.Minute {
			t.Errorf("%d reports, each %v", heard, loads.period)
		}
		// Without jitter: 1 s, 1.6 s, 2.56 s; and after the reports 1 s and 1.6 s again.
		want := []float64{0, 1, 2.6, 5.16, 6.16, 7.76}
		if len(loads.asked) != len(want) {
			t.Fatalf("asked at %v", loads.asked)
		}
		for i, at := range loads.asked {
			if s := at.Seconds(); s < 0.8*want[i] || s > 1.2*want[i] {
				t.Errorf("asked the %d. time at %v, want about %v s", i+1, at, want[i])
			}
		}
	})
}

// TestEndpointsWithoutReportsAreNotAskedAgain: gRFC A51.
func TestEndpointsWithoutReportsAreNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := &scriptedLoads{began: time.Now(), script: []scriptedStream{{end: status.Error(codes.Unimplemented, "no such service")}}}
		f := follower{loads, time.Second, func(*Report) { t.Error("a report") }}
		f.follow(t.Context())
		if len(loads.asked) != 1 {
			t.Errorf("asked at %v", loads.asked)
		}
	})
}
