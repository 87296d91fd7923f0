package resilience

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
)

// Priority is a route's priority, by which a cluster's limits are chosen
// (envoy.config.core.v3.RoutingPriority).
type Priority uint8

// The priorities.
const (
	PriorityDefault Priority = iota
	PriorityHigh
)

// Thresholds bound what is in flight to a cluster at one priority
// (envoy.config.cluster.v3.CircuitBreakers.Thresholds).
type Thresholds struct {
	// MaxConnections bounds connections. HTTP only: gRPC has one for each endpoint
	// (gRFC A32). A request for which there is none waits for one to be free, within its
	// deadline; an endpoint that has no connection yet always gets its first (Envoy).
	// Over HTTP/2, whose connections take many requests, it is refused.
	MaxConnections uint32
	// MaxPending bounds the requests that wait for a connection, one that is being
	// made included. HTTP only: a gRPC call that waits says itself for how long
	// (gRFC A32).
	MaxPending uint32
	// MaxRequests bounds attempts in flight (gRFC A32).
	MaxRequests uint32
	// MaxRetries bounds retries and hedges that wait or are in flight. With a
	// Budget it does not count.
	MaxRetries uint32
	// Budget bounds retries by what else is in flight; may be nil.
	Budget *Budget
}

// String names the priority as policy files do.
func (p Priority) String() string { return [...]string{"default", "high"}[p] }

// Budget bounds retries as a share of what is in flight
// (envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget).
type Budget struct {
	// Percent is of the attempts in flight and pending, 0 to 100.
	Percent float64
	// MinConcurrency is how many retries there may always be.
	MinConcurrency uint32
}

// The defaults of Envoy's RetryBudget.
const (
	DefaultBudgetPercent        = 20
	DefaultBudgetMinConcurrency = 3
)

// DefaultThresholds are Envoy's where policy says nothing. They are always enforced
// (gRFC A32).
var DefaultThresholds = Thresholds{MaxConnections: 1024, MaxPending: 1024, MaxRequests: 1024, MaxRetries: 3}

// LimitsConfig is what policy says of a cluster's limits. Whoever hands it over must
// not change it afterwards.
type LimitsConfig struct {
	// Thresholds are by Priority.
	Thresholds [2]Thresholds
	// Throttle is shared by the cluster's calls; nil for none.
	Throttle *ThrottleConfig
}

// DefaultLimits are the limits of a cluster whose policy sets none.
var DefaultLimits = LimitsConfig{Thresholds: [2]Thresholds{DefaultThresholds, DefaultThresholds}}

// Resource is what Limits count.
type Resource uint8

// The resources.
const (
	Connections Resource = iota
	Pending
	Requests
	Retries
	resources
)

// String names the threshold of the resource as Envoy does.
func (r Resource) String() string {
	return [...]string{"max_connections", "max_pending_requests", "max_requests", "max_retries"}[r]
}

// ErrLimit is what every *LimitError is to errors.Is.
var ErrLimit = errors.New("over a limit of policy")

// LimitError says which limit refused a call.
type LimitError struct {
	Cluster  string
	Resource Resource
	Priority Priority
	// Max is the threshold at the time.
	Max uint32
}

// Error names cluster and threshold.
func (e *LimitError) Error() string {
	priority := ""
	if e.Priority == PriorityHigh {
		priority = " at high priority"
	}
	return fmt.Sprintf("cluster %q is at its limit%s: circuit_breakers.%s is %d", e.Cluster, priority, e.Resource, e.Max)
}

// Is reports whether target is ErrLimit.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// Limits count what is in flight to one cluster, for all that use it. The zero value
// has the defaults. All methods are safe for concurrent use and lock-free; a method
// on nil counts nothing and refuses nothing.
type Limits struct {
	config   atomic.Pointer[LimitsConfig]
	throttle atomic.Pointer[Throttle]
	counts   [2][resources]counter
	waiters  connWaiters
}

// counter has a cache line of its own, because all calls of a cluster write it.
type counter struct {
	n    atomic.Int64 // the lower half; the upper one is Limits.Calls's
	most atomic.Int64 // one more than there may be; 0 for what Limits.Max says
	_    [48]byte
}

// inFlight is the lower half of counter.n.
const inFlight = CallUnit - 1

// Configure sets the thresholds; nil means the defaults. What is in flight stays counted.
// Configure must not be called by two at a time.
func (l *Limits) Configure(c *LimitsConfig) {
	if l == nil {
		return
	}
	old := l.throttle.Load()
	switch {
	case c == nil || c.Throttle == nil:
		l.throttle.Store(nil)
	case old == nil || old.config != *c.Throttle:
		l.throttle.Store(NewThrottle(c.Throttle))
	}
	l.config.Store(c)
	for p := range Priority(2) {
		for r := range resources {
			most := int64(0) // with a budget it goes by what is in flight
			if r != Retries || l.Config().Thresholds[p].Budget == nil {
				most = int64(l.Max(r, p)) + 1
			}
			l.counts[p][r].most.Store(most)
		}
	}
	l.givePlaces()
}

// Config returns the limits in force; it must not be changed.
func (l *Limits) Config() *LimitsConfig {
	if l == nil {
		return &DefaultLimits
	}
	if c := l.config.Load(); c != nil {
		return c
	}
	return &DefaultLimits
}

// Throttle returns the cluster's retry throttle, nil for none.
func (l *Limits) Throttle() *Throttle {
	if l == nil {
		return nil
	}
	return l.throttle.Load()
}

// Max returns how much of a resource there may be now.
func (l *Limits) Max(r Resource, p Priority) uint32 {
	t := &l.Config().Thresholds[p]
	switch r {
	case Connections:
		return t.MaxConnections
	case Pending:
		return t.MaxPending
	case Requests:
		return t.MaxRequests
	}
	if t.Budget == nil {
		return t.MaxRetries
	}
	// Those that wait for a connection are among the requests here.
	share := math.Min(float64(l.InFlight(Requests, p))*t.Budget.Percent/100, math.MaxUint32)
	return max(uint32(share), t.Budget.MinConcurrency)
}

// InFlight returns how much of a resource there is.
func (l *Limits) InFlight(r Resource, p Priority) int64 {
	if l == nil {
		return 0
	}
	return l.counts[p][r].n.Load() & inFlight
}

// CallUnit is one call in the number that Limits.Calls returns.
const CallUnit = 1 << 32

// Calls is a number for who counts the calls whose requests are counted here, by adding
// CallUnit for each and taking it away; what is below that is the Limits' own. It is here
// because most requests are counted in the same number: see ReleaseCall.
func (l *Limits) Calls() *atomic.Int64 { return &l.counts[PriorityDefault][Requests].n }

// Acquire counts one more of a resource unless that would be over its limit; Release
// must follow if it returns true.
func (l *Limits) Acquire(r Resource, p Priority) bool {
	return l == nil || l.TryAcquire(r, p) || l.counts[p][r].contend(l, r, p)
}

// TryAcquire is Acquire that may fail for no reason but that others acquire at the same time:
// so little that it can be inlined. l is not nil.
func (l *Limits) TryAcquire(r Resource, p Priority) bool {
	c := &l.counts[p][r]
	n := c.n.Load()
	return n&inFlight+1 < c.most.Load() && c.n.CompareAndSwap(n, n+1)
}

// contend is Acquire of the resource that c counts, where that did not come off at once.
func (c *counter) contend(l *Limits, r Resource, p Priority) bool {
	// A failed compare-and-swap means that another was let in meanwhile, so that the
	// limit is exact both ways: never exceeded, and never refused below.
	for {
		n, most := c.n.Load(), c.most.Load()
		if most == 0 {
			most = int64(l.Max(r, p)) + 1
		}
		if n&inFlight+1 >= most {
			return false
		}
		if c.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Add counts one more of a resource whatever its limit; Release must follow.
func (l *Limits) Add(r Resource, p Priority) {
	if l != nil {
		l.counts[p][r].n.Add(1)
	}
}

// Release ends what Acquire or Add began; ReleaseConnection does so for Connections.
func (l *Limits) Release(r Resource, p Priority) {
	if l != nil {
		l.counts[p][r].n.Add(-1)
	}
}

// ReleaseCall is Release of Requests, and takes the call away that was counted in a number
// that Calls returned, perhaps of other Limits: most often both at once.
func (l *Limits) ReleaseCall(p Priority, in *atomic.Int64) {
	if n := &l.counts[p][Requests].n; n == in {
		n.Add(-1 - CallUnit)
	} else {
		releaseApart(n, in)
	}
}

// releaseApart is not inlined: what few calls need is not to lie on the way of all.
//
//go:noinline
func releaseApart(requests, calls *atomic.Int64) {
	requests.Add(-1)
	calls.Add(-CallUnit)
}

// Exceeded is the error of a call that Acquire refused.
func (l *Limits) Exceeded(cluster string, r Resource, p Priority) error {
	return &LimitError{Cluster: cluster, Resource: r, Priority: p, Max: l.Max(r, p)}
}
