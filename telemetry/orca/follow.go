package orca

import (
	"context"
	"math/rand/v2"
	"time"

	orcav3 "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/internal/pause"
)

// How long a server whose stream ended is left alone, longer each time without a report:
// gRPC's backoff (https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md).
const (
	firstBackoff   = time.Second
	longestBackoff = 2 * time.Minute
)

// Follow asks a gRPC server to report its load out of band (gRFC A51), once each period or
// as often as the server lets, and passes on what it reports, until ctx ends or the server
// says that it has no such service. A stream that ends is asked for again after a backoff.
//
// The package google.golang.org/grpc/orca does the same, but a program that has it, however
// indirectly, has grpc look for a report at the end of each call that a balancer hears of,
// whether or not the balancer goes by reports.
func Follow(ctx context.Context, conn grpc.ClientConnInterface, period time.Duration, report func(*Report)) {
	f := follower{orcav3.NewOpenRcaServiceClient(conn), period, report}
	f.follow(ctx)
}

type follower struct {
	client orcav3.OpenRcaServiceClient
	period time.Duration
	report func(*Report)
}

func (f *follower) follow(ctx context.Context) {
	for backoff := firstBackoff; ; backoff = min(longestBackoff, backoff*8/5) {
		reported, err := f.receive(ctx)
		if status.Code(err) == codes.Unimplemented {
			return
		}
		if reported {
			backoff = firstBackoff
		}
		if pause.For(ctx, time.Duration(float64(backoff)*(0.8+0.4*rand.Float64()))) != nil {
			return
		}
	}
}

// receive takes in a stream to its end, and says whether there was any report.
func (f *follower) receive(ctx context.Context) (reported bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.client.StreamCoreMetrics(ctx, &orcav3.OrcaLoadReportRequest{ReportInterval: durationpb.New(f.period)})
	for err == nil {
		load, failed := stream.Recv()
		if err = failed; err == nil && ctx.Err() == nil {
			reported = true
			f.report(of(load))
		}
	}
	return reported, err
}
