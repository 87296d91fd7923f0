package balancer

import (
	"math"
	"time"
)

// sweep ends ejections, compares the rates of the interval that has passed, and sets the
// timer again.
func (d *detector) sweep() {
	c := d.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.over() {
		return
	}
	for _, part := range c.snapshot.populations() {
		d.population(part).sweep()
	}
	c.reassess()
	d.swept = time.Now()
	d.timer.Reset(d.config.Load().Interval)
}

func (p *population) sweep() {
	for _, m := range p.monitors {
		m.endpoint.tally()
		lasts := min(time.Duration(m.lasts)*p.BaseEjectionTime, p.longest()) + m.jitter
		if m.endpoint.has(ejected) && p.now.Sub(m.ejectedAt) >= lasts {
			p.restore(m)
		}
	}
	p.compare(func(m *monitor) *tallies { return &m.endpoint.answers }, p.SuccessRate.Enforcing, p.FailurePercentage.Enforcing)
	if p.SplitLocalOrigin {
		p.compare(func(m *monitor) *tallies { return &m.origin }, p.SuccessRate.EnforcingLocal, p.FailurePercentage.EnforcingLocal)
	}
	for _, m := range p.monitors {
		if m.lasts > 0 && !m.endpoint.has(ejected) && p.now.Sub(m.restoredAt) >= p.Interval {
			m.lasts--
		}
	}
}

// record is what an endpoint did in an interval.
type record struct {
	*monitor
	calls    uint32
	failures float64 // percent
}

// compare ejects by what the endpoints did in the interval.
func (p *population) compare(of func(*monitor) *tallies, bySuccess, byFailures uint32) {
	records := make([]record, 0, len(p.monitors))
	for _, m := range p.monitors {
		total, failed := of(m).take()
		if total > 0 && !m.endpoint.has(ejected) {
			records = append(records, record{m, total, 100 * float64(failed) / float64(total)})
		}
	}
	if bySuccess > 0 {
		p.bySuccessRate(records, bySuccess)
	}
	if byFailures > 0 {
		p.byFailurePercentage(records, byFailures)
	}
}

// least returns the records of at least so many calls.
func least(records []record, calls uint32) []record {
	enough := make([]record, 0, len(records))
	for _, s := range records {
		if s.calls >= calls {
			enough = append(enough, s)
		}
	}
	return enough
}

func (p *population) bySuccessRate(records []record, enforcing uint32) {
	records = least(records, p.SuccessRate.RequestVolume)
	if len(records) == 0 || len(records) < int(p.SuccessRate.MinimumHosts) {
		return
	}
	var sum, squares float64
	for _, s := range records {
		sum += s.failures
	}
	mean := sum / float64(len(records))
	for _, s := range records {
		squares += (s.failures - mean) * (s.failures - mean)
	}
	stdev := math.Sqrt(squares / float64(len(records)))
	limit := mean + stdev*float64(p.SuccessRate.StdevFactor)/1000
	for _, s := range records {
		if s.failures > limit {
			p.eject(s.monitor, enforcing)
		}
	}
}

func (p *population) byFailurePercentage(records []record, enforcing uint32) {
	rule := &p.FailurePercentage
	hosts := len(p.monitors)
	records = least(records, rule.RequestVolume)
	if !p.grpc {
		hosts = len(records)
	}
	if hosts < int(rule.MinimumHosts) {
		return
	}
	for _, s := range records {
		if s.failures > float64(rule.Threshold) || s.failures == float64(rule.Threshold) && !p.grpc {
			p.eject(s.monitor, enforcing)
		}
	}
}
