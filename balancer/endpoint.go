package balancer

import "sync/atomic"

// Endpoint is one address of a cluster, with what was learned about it. It is the
// same *Endpoint across updates for as long as its address and the protocol and
// security of its connections stay; what else a source says of it may change.
// All methods are safe for concurrent use.
type Endpoint struct {
	// A cache line that is seldom written.
	cluster  *Cluster
	socket   *Socket
	form     *connectionForm
	facts    atomic.Pointer[facts]
	original atomic.Pointer[OriginalDst] // see there; apart from facts because each call asks

	generation   uint64       // of the newest snapshot that has it; guarded by cluster.mu
	healthySince atomic.Int64 // for slow start; Unix nanoseconds, 0 before it first was
	condition    atomic.Uint32
	protocol     Protocol
	published    bool // some snapshot had it; guarded by cluster.mu

	// And one that each call writes, with what it goes by then: what one core writes the
	// others have to fetch, which takes longer than all else here.
	active  atomic.Int64
	answers tallies // for outlier detection, see monitor; without those that are still in active
	rows    rows
	latency latency
	monitor atomic.Pointer[monitor] // nil without outlier detection
	checked atomic.Pointer[checked] // nil without active health checks
	guards  atomic.Pointer[guards]  // nil without breakers
}

const cacheLine = 64

// facts is what a source says of an endpoint and may say otherwise next time.
type facts struct {
	address  string
	hostname string
	locality Locality
	priority uint32
	weight   uint32
	health   Health
	labels   map[string]Value
	via      *Via
	check    EndpointCheck
}

func (f *facts) equal(o *facts) bool {
	return f.address == o.address && f.hostname == o.hostname && f.locality == o.locality &&
		f.priority == o.priority && f.weight == o.weight && f.health == o.health &&
		sameLabels(f.labels, o.labels) && f.via.equal(o.via) && f.check == o.check
}

// Cluster returns the cluster that the endpoint belongs to.
func (e *Endpoint) Cluster() *Cluster { return e.cluster }

// Address returns the "host:port" to connect to. For the one logical endpoint that
// a LOGICAL_DNS cluster shows to HTTP it changes with the answers of the name
// server: read it anew for each connection.
func (e *Endpoint) Address() string { return e.facts.Load().address }

// Hostname returns what the endpoint calls itself, for host rewriting and for the
// names in its certificate; it may be empty. For the DNS kinds it is the name that
// was resolved unless policy gives another.
func (e *Endpoint) Hostname() string { return e.facts.Load().hostname }

// Locality returns where the endpoint runs.
func (e *Endpoint) Locality() Locality { return e.facts.Load().locality }

// Priority returns the priority of the endpoint's locality, 0 being preferred.
func (e *Endpoint) Priority() uint32 { return e.facts.Load().priority }

// Weight returns the endpoint's weight relative to the others of its locality, at
// least 1.
func (e *Endpoint) Weight() uint32 { return e.facts.Load().weight }

// Health returns what the source says of the endpoint's health.
func (e *Endpoint) Health() Health { return e.facts.Load().health }

// Labels returns the endpoint's metadata under envoy.lb, which must not be changed.
func (e *Endpoint) Labels() map[string]Value { return e.facts.Load().labels }

// Socket returns how connections to the endpoint are secured, never nil. It does
// not change: another security makes another Endpoint. If its Err is set, a
// connection must be refused with it.
func (e *Endpoint) Socket() *Socket { return e.socket }

// Active returns the number of picks of the endpoint that are not Done, by all
// views of the cluster.
func (e *Endpoint) Active() int64 { return e.active.Load() & inFlight }
