package balancer

// classes is a set of kinds of endpoints, by what is known of their health.
type classes uint8

const (
	classHealthy classes = 1 << iota
	classDegraded
	classUnhealthy
	classDraining
	classUncounted // unhealthy, and left out where shares are counted
	classBroken    // unhealthy, and not even picked in panic: a breaker is open
)

// class returns the kind of an endpoint. A status that is not known counts as
// unhealthy.
func (h Health) class() classes {
	switch h {
	case HealthUnknown, Healthy:
		return classHealthy
	case Degraded:
		return classDegraded
	case Draining:
		return classDraining
	}
	return classUnhealthy
}

// tally counts endpoints.
type tally struct {
	total int // of every class but classDraining and classUncounted
	// How many are healthy and degraded, and how many of these can be reached as
	// far as is known.
	healthy, degraded                   int
	availableHealthy, availableDegraded int

	draining int
	ready    int // healthy or degraded, with a connection
	late     int // healthy or degraded, and without a connection for too long
}

func (t *tally) add(o tally) {
	t.total += o.total
	t.healthy += o.healthy
	t.degraded += o.degraded
	t.availableHealthy += o.availableHealthy
	t.availableDegraded += o.availableDegraded
	t.draining += o.draining
	t.ready += o.ready
	t.late += o.late
}

// asOne makes available all or none: what is needed is one endpoint, the others are
// its spares (pick_first).
func (t *tally) asOne() {
	some := t.ready > 0 || t.late == 0 && t.availableHealthy+t.availableDegraded > 0
	t.availableHealthy, t.availableDegraded = 0, 0
	if some {
		t.availableHealthy, t.availableDegraded = t.healthy, t.degraded
	}
}

// available returns how many endpoints of the classes are available.
func (t *tally) available(of classes) int {
	switch of {
	case classHealthy:
		return t.availableHealthy
	case classDegraded:
		return t.availableDegraded
	}
	return t.total
}
