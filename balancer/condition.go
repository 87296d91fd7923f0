package balancer

import "time"

// condition is what was found out about an endpoint beside what its source says: the
// flags of Envoy's hosts. All views of the cluster see the same.
type condition = uint32

const (
	// failsChecks: an active health check calls the endpoint unhealthy, or has not
	// passed yet (FAILED_ACTIVE_HC).
	failsChecks condition = 1 << iota
	// degradedByCheck: the checks pass and say that the endpoint had better be spared
	// (DEGRADED_ACTIVE_HC).
	degradedByCheck
	// uncounted: the endpoint is not to count where it is asked how much of a priority
	// is healthy (EXCLUDED_VIA_IMMEDIATE_HC_FAIL, PENDING_ACTIVE_HC).
	uncounted
	// ejected: it is an outlier (FAILED_OUTLIER_CHECK).
	ejected
)

// mark sets or clears flags, and reports whether any was otherwise. If so,
// Cluster.healthChanged is to follow.
func (e *Endpoint) mark(flags condition, on bool) (changed bool) {
	if on {
		return e.condition.Or(flags)&flags != flags
	}
	before := e.condition.And(^flags)
	if before&flags&failsChecks != 0 {
		e.recovered(time.Now())
	}
	return before&flags != 0
}

func (e *Endpoint) has(flag condition) bool { return e.condition.Load()&flag != 0 }

// Ejected reports whether outlier detection has taken the endpoint out.
func (e *Endpoint) Ejected() bool { return e.has(ejected) }

// FailsChecks reports whether active health checks have taken the endpoint out. A new
// endpoint stays out until its first check has passed.
func (e *Endpoint) FailsChecks() bool { return e.has(failsChecks) }

// class is what an endpoint counts as: what its source says, unless checks or outcomes
// say worse (Envoy's Host::coarseHealth), or its breaker is open.
func (m *member) class() classes {
	if m.endpoint.broken() {
		return classBroken
	}
	class := m.health.class()
	flags := m.endpoint.condition.Load()
	if flags == 0 || class != classHealthy && class != classDegraded {
		return class
	}
	switch {
	case flags&failsChecks != 0 && flags&uncounted != 0:
		return classUncounted
	case flags&(failsChecks|ejected) != 0:
		return classUnhealthy
	case flags&degradedByCheck != 0:
		return classDegraded
	}
	return class
}

func classesOf(members []member) []classes {
	list := make([]classes, len(members))
	for i := range members {
		list[i] = members[i].class()
	}
	return list
}

// reassessed returns the snapshot with the classes that its members have now, itself
// if they are the same. Views take it over without looking at the members.
func (s *snapshot) reassessed() *snapshot {
	logical := s.logical
	if logical != nil {
		logical = logical.reassessed()
	}
	same := logical == s.logical
	for i := range s.members {
		same = same && s.members[i].class() == s.classes[i]
	}
	if same {
		return s
	}
	n := *s
	n.classes, n.hashTables, n.logical = classesOf(s.members), new(hashTables), logical
	n.subsets = s.subsets.reassessed()
	return &n
}

// sameMembers reports whether o is s but for the classes.
func (s *snapshot) sameMembers(o *snapshot) bool {
	return s != nil && s.config == o.config && len(s.members) == len(o.members) && len(s.members) > 0 &&
		&s.members[0] == &o.members[0]
}

// healthChanged has the views heed the conditions of the endpoints. Of several callers
// that come together one does it for all.
func (c *Cluster) healthChanged() {
	if c.stale.Swap(true) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale.Store(false)
	c.reassess()
}

// reassess is healthChanged for who holds c.mu.
func (c *Cluster) reassess() {
	s := c.snapshot.reassessed()
	if s == c.snapshot {
		return
	}
	c.snapshot = s
	c.peersOf.learn(s)
	for v := range c.views {
		v.wake(s)
	}
}
