package balancer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/weft-mesh/weft/resilience"
)

// Cluster is a named set of endpoints with one policy. It outlives the tables that
// name it. All methods are safe for concurrent use, though Configure, Assign and
// Fail are meant for one caller, in whose order they take effect.
type Cluster struct {
	name string

	// What each call asks for is on one cache line, with the head of the limits.
	breaker atomic.Pointer[resilience.Breaker]
	limits  resilience.Limits

	logger    *slog.Logger
	resolver  DNSResolver
	newProber func(CheckTarget) Prober
	local     *Local // nil if it is not known where the process runs

	settled chan struct{}
	running sync.WaitGroup // look-ups, probes, and news of breakers
	traffic atomic.Bool    // there was a call since endpoints are checked
	stale   atomic.Bool    // someone is about to reassess the endpoints
	active  atomic.Int64   // calls in flight, if counts

	connection atomic.Pointer[Connection] // of config; never nil

	news   sync.Mutex // of breakers
	silent bool       // by Close

	mu         sync.Mutex
	config     *Config
	form       *connectionForm // of the config's connections; another only if it differs
	assigned   *Assignment     // from EDS; nil before the first and after a failure
	composed   []*Cluster      // of an aggregate; nil before the first and after a failure
	failure    error           // from Fail
	lookups    lookups
	index      map[string]*Endpoint // by address, so that endpoints outlive updates
	one        *Endpoint            // the one endpoint that a LOGICAL_DNS cluster is to HTTP
	generation uint64               // counts the snapshots
	snapshot   *snapshot
	counts     bool   // whether active is kept
	guarded    bool   // endpoints have guards
	peersOf    *Local // follows this cluster; nil for none
	views      map[*View]struct{}
	averages   averages
	warned     string
	isSettled  bool
	grpc       bool      // gRPC has had a view
	detector   *detector // nil without outlier detection

	checks  []HealthCheck
	checked map[*Endpoint]*checked
	awaited int // of these, how many lack a first result
	closed  bool
}

// ClusterOptions is what a Cluster needs beside its name.
type ClusterOptions struct {
	// Logger gets warnings. Nil means slog.Default().
	Logger *slog.Logger
	// Local says where the process runs. Nil means that nothing is known of that.
	Local *Local
	// Resolver answers the look-ups of the DNS kinds. Nil means SystemDNS("").
	Resolver DNSResolver
	// Prober returns what makes an active health check's probes of an endpoint; it must
	// not connect yet. Nil leaves endpoints unchecked.
	Prober func(CheckTarget) Prober
}

// NewCluster returns a cluster that knows nothing yet: picks of its views fail with
// ErrConnecting.
func NewCluster(name string, o ClusterOptions) *Cluster {
	c := &Cluster{
		name:      name,
		logger:    o.Logger,
		resolver:  o.Resolver,
		newProber: o.Prober,
		local:     o.Local,
		settled:   make(chan struct{}),
		index:     map[string]*Endpoint{},
		views:     map[*View]struct{}{},
	}
	if c.logger == nil {
		c.logger = slog.Default()
	}
	if c.resolver == nil {
		c.resolver = SystemDNS("")
	}
	c.snapshot = &snapshot{config: new(Config), err: ErrConnecting, addresses: new(addressIndex)}
	c.connection.Store(new(Connection))
	return c
}

// Limits counts and bounds what is in flight to the cluster, for all its views.
func (c *Cluster) Limits() *resilience.Limits { return &c.limits }

// Name returns the cluster's name.
func (c *Cluster) Name() string { return c.name }

// Config returns the newest configuration, nil before the first. It must not be
// changed.
func (c *Cluster) Config() *Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config
}

// Endpoints returns the cluster's endpoints by priority and locality, for people to
// look at.
func (c *Cluster) Endpoints() []*Endpoint {
	c.mu.Lock()
	if clusters := c.snapshot.clusters; clusters != nil {
		c.mu.Unlock()
		var list []*Endpoint
		for _, part := range clusters {
			list = append(list, part.Endpoints()...)
		}
		return list
	}
	defer c.mu.Unlock()
	list := make([]*Endpoint, len(c.snapshot.members))
	for i, m := range c.snapshot.members {
		list[i] = m.endpoint
	}
	return list
}

// Settled is closed once calls can be picked for or fail for a reason: the first
// configuration and endpoints are there, or the first answer of a name server or
// the failure of all look-ups, or Fail was called; and active health checks, if policy
// has any, have had their first results. A table that names the cluster is
// published when it is.
func (c *Cluster) Settled() <-chan struct{} { return c.settled }

// Configure sets the policy, and the endpoints where they are part of it (STATIC) or
// found by it (DNS). An EDS cluster keeps the endpoints that it has until Assign.
func (c *Cluster) Configure(config *Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.config = config
	c.connection.Store(&config.Connection)
	if form := config.Connection.form(config.Protocol); c.form == nil || form != *c.form {
		c.form = &form
	}
	c.limits.Configure(config.Limits)
	if config.Discovery != DiscoverEDS {
		c.failure = nil
		c.assigned = nil
	}
	c.lookups.follow(c, config)
	c.publish()
}

// Assign sets the endpoints of an EDS cluster; other kinds ignore it. It ends a
// failure.
func (c *Cluster) Assign(a *Assignment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.config != nil && c.config.Discovery != DiscoverEDS {
		return
	}
	c.assigned = a
	c.failure = nil
	c.publish()
}

// Fail takes the endpoints away because there is no usable configuration or
// assignment: picks fail with an error that wraps err. For an EDS cluster this lasts
// until the next Assign, for others until the next Configure.
func (c *Cluster) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.failure = err
	c.assigned, c.composed = nil, nil
	c.lookups.stop()
	c.publish()
}

// Close stops the look-ups and health checks, and what breakers tell, waiting for them, and
// closes the views, of which picks still work on what they knew last.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	c.lookups.stop()
	c.detector.stop()
	c.unguard()
	for _, k := range c.checked {
		c.endCheck(k)
	}
	c.checked = nil
	views := c.views
	c.views = nil
	c.mu.Unlock()
	for v := range views {
		v.Close()
	}
	c.running.Wait()
}

// publish makes a snapshot of what is known now and gives it to the views. The
// caller holds c.mu.
func (c *Cluster) publish() {
	s := c.compile()
	if errors.Is(s.err, ErrConnecting) && c.snapshot.err == nil {
		// Make before break: another kind of discovery, or other host names, have
		// not said anything yet. What the cluster has stays until they do.
		return
	}
	before := c.snapshot
	c.snapshot = s
	c.sweep(before)
	c.countCalls()
	detected, checked, guarded := c.detect(), c.check(), c.guard()
	if detected || checked || guarded {
		c.snapshot = c.snapshot.reassessed()
	}
	for _, part := range c.snapshot.populations() {
		for i := range part {
			if e := part[i].endpoint; !e.published {
				e.published = true
			}
		}
	}
	c.peersOf.learn(c.snapshot)
	for v := range c.views {
		v.wake(c.snapshot)
	}
	c.settle()
}

// settle closes Settled if it is time to. The caller holds c.mu.
func (c *Cluster) settle() {
	if !c.isSettled && !errors.Is(c.snapshot.err, ErrConnecting) && c.awaited == 0 {
		c.isSettled = true
		close(c.settled)
	}
}

// compile decides where the endpoints come from, and makes the snapshot.
func (c *Cluster) compile() *snapshot {
	config := c.config
	if config == nil {
		config = new(Config)
	}
	without := func(err error) *snapshot {
		c.generation++
		if !errors.Is(err, ErrConnecting) {
			err = fmt.Errorf("cluster %q: %w", c.name, err)
		}
		return &snapshot{config: config, err: err, addresses: new(addressIndex)}
	}
	if c.failure != nil {
		return without(c.failure)
	}
	if c.config == nil {
		return without(ErrConnecting)
	}

	assignment := c.assigned
	switch config.Discovery {
	case DiscoverAggregate:
		return c.aggregate(config)
	case DiscoverStatic:
		assignment = config.Static
		if assignment == nil {
			assignment = new(Assignment)
		}
	case DiscoverOriginalDst:
		assignment = originalDst
	case DiscoverStrictDNS, DiscoverLogicalDNS:
		var err error
		if assignment, err = c.lookups.assignment(config); err != nil {
			return without(err)
		}
	}
	if assignment == nil {
		return without(ErrConnecting)
	}

	s, duplicates, outOfRange := c.newSnapshot(config, assignment)
	c.warn(duplicates, outOfRange)
	if len(s.members) == 0 {
		s.err = fmt.Errorf("cluster %q: %w", c.name, ErrNoEndpoints)
	}
	if config.Discovery == DiscoverLogicalDNS {
		s.logical = c.logical(s)
	}
	return s
}

// logical returns the snapshot in which all members are one endpoint: the first.
func (c *Cluster) logical(s *snapshot) *snapshot {
	if len(s.members) == 0 {
		return s
	}
	first := s.members[0]
	now := *first.endpoint.facts.Load()
	now.via = s.others(now.via)
	one := c.one
	if one == nil || one.protocol != s.config.Protocol || one.form != c.form || !one.socket.secures(first.endpoint.socket) {
		one.retire()
		one = &Endpoint{cluster: c, socket: first.endpoint.socket, protocol: s.config.Protocol, form: c.form}
		c.one = one
	}
	one.learn(&now)
	one.appeared(now.health)
	first.endpoint = one
	l := *s
	l.members = []member{first}
	l.classes = classesOf(l.members)
	l.localities, l.priorities = nil, nil
	l.hashTables, l.subsets = new(hashTables), newSubsetParts(s.config.Subsets)
	l.addresses = new(addressIndex)
	l.add(locality{0, 1, s.localities[0].weight}, s.priorities[0].level)
	return &l
}

// warn tells of entries that were left out, once for each change in their number.
func (c *Cluster) warn(duplicates, outOfRange int) {
	var warning string
	if duplicates > 0 {
		warning += fmt.Sprintf("%d endpoints repeat the address of another; ", duplicates)
	}
	if outOfRange > 0 {
		warning += fmt.Sprintf("%d localities have a priority above %d; ", outOfRange, maxPriority)
	}
	if warning != "" && warning != c.warned {
		c.logger.Warn("ignored a part of the endpoints: "+warning[:len(warning)-2], "cluster", c.name)
	}
	c.warned = warning
}

// View returns a new view of the cluster. It calls k.NewConn before it returns if
// endpoints are known, and may call o.Changed.
func (c *Cluster) View(k Connector, o ViewOptions) *View {
	v := newView(c, k, o)
	c.mu.Lock()
	v.newest = c.snapshot
	c.grpc = c.grpc || o.GRPC
	if c.closed {
		v.closed = true
	} else {
		c.views[v] = struct{}{}
		c.local.add(v)
	}
	c.mu.Unlock()
	v.start()
	return v
}

// forget stops telling v of changes.
func (c *Cluster) forget(v *View) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.views, v)
	c.local.remove(v)
}

// Closed reports whether Close was called.
func (c *Cluster) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
