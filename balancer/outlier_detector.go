package balancer

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// detector finds a cluster's outliers. Calls write to the monitors of the endpoints; what
// they add up to is looked at with every sweep, and failures in a row as they trip
// a threshold. No goroutine stands by. It is guarded by the cluster's mu.
type detector struct {
	cluster *Cluster
	config  atomic.Pointer[OutlierDetection]
	timer   *time.Timer
	swept   time.Time   // when the timer began to run
	woken   atomic.Bool // trips are about to be dealt with
}

// detect has the endpoints of the newest snapshot watched as its policy says. It reports
// whether the condition of any may have changed. The caller holds c.mu.
func (c *Cluster) detect() (changed bool) {
	config := c.snapshot.config.OutlierDetection
	d := c.detector
	if config == nil {
		if d == nil {
			return false
		}
		d.stop()
		c.detector = nil
		for _, part := range c.snapshot.populations() {
			for _, m := range part {
				m.endpoint.monitor.Store(nil)
				m.endpoint.splitOrigin(false)
				m.endpoint.mark(ejected, false)
			}
		}
		return true
	}
	if d == nil {
		d = &detector{cluster: c}
		c.detector = d
	}
	before := d.config.Swap(config)
	for _, part := range c.snapshot.populations() {
		for _, m := range part {
			if w := m.endpoint.monitor.Load(); w == nil || w.detector != d {
				m.endpoint.monitor.Store(newMonitor(d, m.endpoint))
			}
			m.endpoint.splitOrigin(config.SplitLocalOrigin)
		}
	}
	d.arm(before)
	return false
}

// populations are the sets of endpoints that are compared: one, but for LOGICAL_DNS, of
// which gRPC and HTTP see different ones.
func (s *snapshot) populations() [][]member {
	if s.logical != nil {
		return [][]member{s.members, s.logical.members}
	}
	return [][]member{s.members}
}

// arm sets the timer of the next sweep; before is the policy until now.
func (d *detector) arm(before *OutlierDetection) {
	interval := d.config.Load().Interval
	if before == nil {
		d.swept = time.Now()
		d.timer = time.AfterFunc(interval, d.sweep)
	} else if before.Interval != interval {
		d.timer.Reset(max(0, interval-time.Since(d.swept)))
	}
}

// stop ends the sweeps. A nil detector has none.
func (d *detector) stop() {
	if d != nil {
		d.timer.Stop()
	}
}

// over reports whether the cluster is closed or its policy detects no more.
func (d *detector) over() bool { return d.cluster.closed || d.cluster.detector != d }

// tripped has a trip dealt with. Calls call it.
func (d *detector) tripped() {
	if !d.woken.Swap(true) {
		go d.trip()
	}
}

// trip ejects the endpoints that had too many failures in a row.
func (d *detector) trip() {
	c := d.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	d.woken.Store(false)
	if d.over() {
		return
	}
	config := d.config.Load()
	for _, part := range c.snapshot.populations() {
		p := d.population(part)
		for _, m := range p.monitors {
			trips := m.trips.Swap(0)
			if trips == 0 || m.endpoint.has(ejected) {
				continue
			}
			for _, row := range [...]struct {
				trip   uint32
				rule   Consecutive
				number *atomic.Uint32
			}{
				{tripGateway, config.ConsecutiveGateway, &m.endpoint.rows.gateway},
				{tripErrors, config.Consecutive5xx, &m.endpoint.rows.errors},
				{tripLocal, config.ConsecutiveLocal, &m.local},
			} {
				if trips&row.trip != 0 {
					// Whether or not it is enforced: the next row begins.
					row.number.Store(0)
					p.eject(m, row.rule.Enforcing)
				}
			}
		}
	}
	c.reassess()
}

// population is a set of endpoints that are compared with one another.
type population struct {
	*OutlierDetection
	grpc     bool
	monitors []*monitor
	ejected  int
	now      time.Time
}

func (d *detector) population(members []member) *population {
	p := &population{OutlierDetection: d.config.Load(), grpc: d.cluster.grpc, now: time.Now()}
	p.monitors = make([]*monitor, 0, len(members))
	for i := range members {
		m := members[i].endpoint.monitor.Load()
		p.monitors = append(p.monitors, m)
		if m.endpoint.has(ejected) {
			p.ejected++
		}
	}
	return p
}

// eject ejects an endpoint, unless it is, too many are, or chance has it otherwise.
func (p *population) eject(m *monitor, enforcing uint32) {
	if m.endpoint.has(ejected) || !p.allows() || rand.Uint32N(100) >= enforcing {
		return
	}
	p.ejected++
	m.ejectedAt = p.now
	m.jitter = 0
	if p.MaxEjectionTimeJitter > 0 {
		m.jitter = rand.N(p.MaxEjectionTimeJitter + 1)
	}
	if time.Duration(m.lasts)*p.BaseEjectionTime < p.longest()+p.BaseEjectionTime {
		m.lasts++
	}
	m.endpoint.mark(ejected, true)
}

// allows reports whether one more endpoint may be ejected.
func (p *population) allows() bool {
	switch {
	case p.ejected == 0 && p.AlwaysEjectOne:
		return true
	case p.grpc:
		return 100*p.ejected < int(p.MaxEjectionPercent)*len(p.monitors)
	}
	return 100*(p.ejected+1) <= int(p.MaxEjectionPercent)*len(p.monitors)
}

// absolve ends the ejection of an endpoint whose health checks pass, if policy says so. A
// nil detector has ejected none. The caller holds the cluster's mu.
func (d *detector) absolve(e *Endpoint) {
	m := e.monitor.Load()
	if d == nil || m == nil || !d.config.Load().UnejectOnCheck || !e.has(ejected) {
		return
	}
	(&population{now: time.Now()}).restore(m)
}

func (p *population) longest() time.Duration { return max(p.BaseEjectionTime, p.MaxEjectionTime) }

// restore ends an ejection.
func (p *population) restore(m *monitor) {
	p.ejected--
	m.restoredAt = p.now
	m.forgive()
	m.endpoint.mark(ejected, false)
}
