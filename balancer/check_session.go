package balancer

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// checked is an endpoint under active health checks.
type checked struct {
	cluster  *Cluster
	endpoint *Endpoint
	how      EndpointCheck
	ctx      context.Context // ends with the sessions
	cancel   context.CancelFunc
	counted  bool // in cluster.awaited; guarded by cluster.mu

	mu       sync.Mutex
	sessions []*session
	awaited  int // sessions without a result
	stopped  bool
}

// session is one check of one endpoint: Envoy's ActiveHealthCheckSession. It runs in the
// goroutine of its timer, and has none between probes. It is guarded by the checked's mu.
type session struct {
	of     *checked
	check  *HealthCheck
	prober Prober
	timer  *time.Timer

	probing bool
	first   bool // there was no result yet
	// What the results say:
	fails, degraded, uncounted bool
	good, bad                  uint32 // in a row

	last    Verdict
	pending bool // last would change it, were there more like it
}

// newChecked begins to check an endpoint. The caller holds c.mu.
func (c *Cluster) newChecked(e *Endpoint, checks []HealthCheck) *checked {
	k := &checked{cluster: c, endpoint: e, how: e.facts.Load().check, awaited: len(checks)}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	fails := e.has(failsChecks)
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range checks {
		s := &session{of: k, check: &checks[i], first: true, fails: fails}
		s.prober = c.newProber(k.target(s.check))
		k.sessions = append(k.sessions, s)
		s.timer = time.AfterFunc(partOf(s.check.InitialJitter), s.run)
	}
	return k
}

// partOf is a random part of d.
func partOf(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// stop ends the sessions, and does not wait for a probe that runs.
func (k *checked) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	k.cancel()
	for _, s := range k.sessions {
		s.timer.Stop()
		if !s.probing {
			s.prober.Close()
		}
	}
}

// run probes once.
func (s *session) run() {
	k := s.of
	k.mu.Lock()
	if k.stopped {
		k.mu.Unlock()
		return
	}
	s.probing = true
	k.cluster.running.Add(1) // before stop, and so before who stops waits
	k.mu.Unlock()
	defer k.cluster.running.Done()

	ctx, cancel := context.WithTimeout(k.ctx, s.check.Timeout)
	verdict := s.prober.Probe(ctx)
	cancel()

	k.mu.Lock()
	s.probing = false
	if k.stopped {
		s.prober.Close()
		k.mu.Unlock()
		return
	}
	arrived := s.first && k.awaited == 1
	if s.first {
		k.awaited--
	}
	s.learn(verdict)
	s.first = false
	s.timer.Reset(s.interval())
	changed := k.mark()
	k.mu.Unlock()

	k.cluster.heed(k, changed, verdict <= PassedDegraded, arrived)
}

// learn takes in a result.
func (s *session) learn(v Verdict) {
	s.last, s.pending = v, false
	if v <= PassedDegraded {
		s.bad = 0
		if s.fails {
			if s.good++; !s.first && s.good < s.check.HealthyThreshold {
				s.pending = true
			} else {
				s.fails, s.uncounted = false, false
			}
		}
		s.degraded = v == PassedDegraded
		return
	}
	s.good = 0
	if v == RefusedUncounted {
		s.uncounted = true
	}
	if !s.fails {
		if s.bad++; v == Refused || v == RefusedUncounted || s.first || s.bad >= s.check.UnhealthyThreshold {
			s.fails = true
		} else {
			s.pending = true
		}
	}
}

// interval is how long to wait until the next probe.
func (s *session) interval() time.Duration {
	c := s.check
	var d time.Duration
	passed, pending := s.last <= PassedDegraded, s.pending
	switch {
	case !s.of.cluster.traffic.Load():
		d = c.NoTrafficInterval
		if passed && !pending {
			d = c.NoTrafficHealthyInterval
		}
	case passed && pending:
		d = c.HealthyEdgeInterval
	case passed:
		d = c.Interval
	case pending:
		d = c.UnhealthyEdgeInterval
	default:
		d = c.UnhealthyInterval
	}
	share := time.Duration(min(float64(d)*float64(c.IntervalJitterPercent)/100, math.MaxInt64/8))
	return max(time.Millisecond, d+partOf(share)+partOf(c.IntervalJitter))
}

// hurry probes at the ordinary pace what waits for the end of a time without traffic.
func (k *checked) hurry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.sessions {
		if k.stopped || s.probing || s.first {
			continue
		}
		s.timer.Reset(s.interval())
	}
}

// mark puts what the sessions say on the endpoint, and reports whether that is news. The
// caller holds k.mu.
func (k *checked) mark() (changed bool) {
	var flags condition
	for _, s := range k.sessions {
		if s.fails {
			flags |= failsChecks
		}
		if s.degraded {
			flags |= degradedByCheck
		}
		if s.uncounted {
			flags |= uncounted
		}
	}
	changed = k.endpoint.mark(flags, true)
	return k.endpoint.mark(allChecks&^flags, false) || changed
}

// FailHealthCheck takes the endpoint out until its active health checks pass again: it
// said in an answer that it is going to fail them (Envoy's
// x-envoy-immediate-health-check-fail). Without checks it does nothing.
func (e *Endpoint) FailHealthCheck() {
	k := e.checked.Load()
	if k == nil {
		return
	}
	k.mu.Lock()
	if k.stopped {
		k.mu.Unlock()
		return
	}
	for _, s := range k.sessions {
		s.learn(RefusedUncounted)
	}
	changed := k.mark()
	k.mu.Unlock()
	if changed {
		k.cluster.healthChanged()
	}
}

// IsChecked reports whether active health checks are made of the endpoint.
func (e *Endpoint) IsChecked() bool { return e.checked.Load() != nil }
