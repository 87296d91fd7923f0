package grpclb

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/telemetry/orca"
)

// reportLoad passes on what came with an answer, if anything.
func reportLoad(link *balancer.Link, trailer metadata.MD) {
	if report, _ := orca.ParseTrailer(trailer); report != nil { // a bad one is none
		link.ReportLoad((*balancer.Load)(report))
	}
}

// outOfBand has a connection's endpoint report its load on a stream of its own, while
// the connection is ready (gRFC A51).
type outOfBand struct {
	mu     sync.Mutex
	ready  bool
	period time.Duration        // 0 while nobody asks
	report func(*balancer.Load) // nil while nobody asks
	stop   func()               // of the stream; nil if there is none
}

// ReportLoad implements balancer.ReportingConn.
func (s *subConn) ReportLoad(period time.Duration, report func(*balancer.Load)) bool {
	o := &s.outOfBand
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
	o.period, o.report = period, report
	o.begin(s.sc)
	return s.sc != nil
}

// follow begins and ends the stream with the connection.
func (o *outOfBand) follow(sc gbalancer.SubConn, state connectivity.State) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ready = state == connectivity.Ready
	if o.ready {
		o.begin(sc)
	} else {
		o.end()
	}
}

// begin and end are called with o.mu held.

func (o *outOfBand) begin(sc gbalancer.SubConn) {
	if !o.ready || o.period == 0 || o.stop != nil || sc == nil {
		return
	}
	conn, release := sc.GetOrBuildProducer(calls{})
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = func() {
		cancel()
		release()
	}
	report := o.report
	go orca.Follow(ctx, conn.(grpc.ClientConnInterface), o.period, func(r *orca.Report) { report((*balancer.Load)(r)) })
}

func (o *outOfBand) end() {
	if o.stop != nil {
		o.stop()
		o.stop = nil
	}
}

// calls builds, as what grpc calls a producer, what calls can be made with over one
// connection.
type calls struct{}

func (calls) Build(conn any) (gbalancer.Producer, func()) { return conn, func() {} }
