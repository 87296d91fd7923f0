package grpclb

import (
	"sync"
	"time"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	grpcorca "google.golang.org/grpc/orca" // which also has grpc parse the reports in trailers

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/telemetry/orca"
)

// reportLoad passes on what came with an answer, if anything.
func reportLoad(link *balancer.Link, load any) {
	if report := orca.Of(load); report != nil {
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
	if o.ready && o.period > 0 && o.stop == nil && sc != nil {
		o.stop = grpcorca.RegisterOOBListener(sc, &listener{o.report}, grpcorca.OOBListenerOptions{ReportInterval: o.period})
	}
}

func (o *outOfBand) end() {
	if o.stop != nil {
		o.stop()
		o.stop = nil
	}
}

type listener struct{ report func(*balancer.Load) }

func (l *listener) OnLoadReport(load *orcav3.OrcaLoadReport) {
	if report := orca.Of(load); report != nil {
		l.report((*balancer.Load)(report))
	}
}
