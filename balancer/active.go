package balancer

// The calls in flight of a whole cluster are counted only where its policy asks for
// their number: a counter that all calls write to is dear. A bit of an endpoint's own
// counter says whether its calls count for the cluster too, so that each call sees it
// in the step that counts it, and none is counted on one side only.
//
// Another bit says that the endpoint is checked: active health checks go by whether their
// cluster has calls.
//
// And above the calls in flight there is room for a tally of those that ended well, of which
// outlier detection is told in the step that counts them out. Its highest bit says that it is
// time to pass it on.
const (
	countedInCluster = 1 << 62
	isChecked        = 1 << 60

	oneEndedWell = 1 << 32
	manyEnded    = 1 << 59
	endedWell    = 2*manyEnded - oneEndedWell

	inFlight = oneEndedWell - 1
)

// begin counts a call in.
func (e *Endpoint) begin() {
	if n := e.active.Add(1); n&(countedInCluster|isChecked) != 0 {
		e.begun(n)
	}
}

// begun has the cluster take part in a call that made Endpoint.active n.
func (e *Endpoint) begun(n int64) {
	if n&countedInCluster != 0 {
		e.cluster.active.Add(1)
	}
	if n&isChecked != 0 {
		e.cluster.used()
	}
}

// end counts a call out.
func (e *Endpoint) end() {
	if n := e.active.Add(-1); n&countedInCluster != 0 {
		e.ended(n)
	}
}

// endWell is end for a call that ended well, and counts that.
func (e *Endpoint) endWell() {
	if n := e.active.Add(oneEndedWell - 1); n&(countedInCluster|manyEnded) != 0 {
		e.ended(n)
	}
}

// ended is the rest of end and endWell, which made Endpoint.active n. It is not inlined: what
// few calls need is not to lie on the way of all.
//
//go:noinline
func (e *Endpoint) ended(n int64) {
	if n&countedInCluster != 0 {
		e.cluster.active.Add(-1)
	}
	if n&manyEnded != 0 {
		e.tally()
	}
}

// tally passes on to Endpoint.answers how many calls have ended well.
func (e *Endpoint) tally() {
	n := e.active.And(^int64(endedWell)) & endedWell
	e.answers.counts.Add(uint64(n))
}

// countInCluster has the endpoint's calls, those in flight too, count for the cluster
// or not.
func (e *Endpoint) countInCluster(on bool) {
	var before int64
	if on {
		before = e.active.Or(countedInCluster)
	} else {
		before = e.active.And(^int64(countedInCluster))
	}
	calls := before & inFlight
	switch was := before&countedInCluster != 0; {
	case on && !was:
		e.cluster.active.Add(calls)
	case was && !on:
		e.cluster.active.Add(-calls)
	}
}

// countCalls has the calls of all endpoints counted if the policy asks for their
// number. The caller holds c.mu.
func (c *Cluster) countCalls() {
	on := c.snapshot.config.Policy.HashBalanceFactor > 0
	if !on && !c.counts {
		return
	}
	c.counts = on
	for _, e := range c.index {
		e.countInCluster(on)
	}
	if c.one != nil {
		c.one.countInCluster(on)
	}
}
