package balancer

import "time"

// ReportingConn is a Conn that can have its endpoint report its load out of band: on a
// stream of its own, to Link.ReportLoad (gRFC A51).
type ReportingConn interface {
	Conn
	// ReportLoad asks for a report each period while there is a connection, from now
	// on; zero ends it. False means that this endpoint cannot be asked, and that its
	// answers are to be looked at instead. It must not block, and is called by one
	// goroutine at a time.
	ReportLoad(period time.Duration, report func(*Load)) bool
}

// learn has the view and its links gather what the policy goes by, and nothing else.
func (r *round) learn() {
	p := r.policy()
	r.View.latency.Store(p.Kind == PeakEWMA)
	var period time.Duration
	if p.Kind == ClientSideWeightedRoundRobin {
		r.View.loadWeights.Store(&r.built.config.Policy.Load)
		if p.Load.OutOfBand {
			period = p.Load.reportingPeriod()
		}
	} else if r.View.loadWeights.Load() != nil {
		r.View.loadWeights.Store(nil)
	}
	if period == 0 && !r.View.outOfBand {
		return
	}
	r.View.outOfBand = period > 0
	for _, l := range r.links {
		if l != nil && l.reportingPeriod != period {
			l.reportingPeriod = period
			if c, ok := l.conn.(ReportingConn); ok {
				l.outOfBand.Store(c.ReportLoad(period, l.ReportLoad) && period > 0)
			}
		}
	}
}

// WantsLatency reports whether the policy goes by how long answers take: whether
// Answered or Unanswered are to be called.
func (l *Link) WantsLatency() bool { return l.view.latency.Load() }

// WantsLoad reports whether the policy goes by the loads that come with answers:
// whether to look for a report in them.
func (l *Link) WantsLoad() bool {
	if l.probing != nil {
		l = l.probing.of
	}
	return l.view.loadWeights.Load() != nil && !l.outOfBand.Load()
}
