package resolver

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weft-mesh/weft/balancer"
)

// Config is what a [Resolver] needs.
type Config struct {
	// Source gives the resources. Required. It must decode them with [Types].
	Source Source

	// NewCluster makes the cluster of a name when the first table refers to it. Nil
	// means [balancer.NewCluster] with Logger.
	NewCluster func(name string) *balancer.Cluster

	// LocalCluster names the cluster that the process is one of, if it is not empty: it
	// is watched all the time, and Local, which is then required, follows it.
	LocalCluster string
	Local        *balancer.Local

	// Logger gets what an operator should know. Nil means slog.Default.
	Logger *slog.Logger

	// Linger is how long a cluster that no table refers to any more is kept, so
	// that calls routed by an older table still find it, and so that one which
	// comes back finds its connections. Zero means 10 s.
	Linger time.Duration
}

const defaultLinger = 10 * time.Second

// Resolver keeps the tables of a mesh's targets up to date. All targets share its
// clusters. One goroutine does the work; all methods may be called from any.
type Resolver struct {
	config Config
	log    *slog.Logger
	box    *mailbox
	stop   chan struct{}
	ended  chan struct{}  // closed when the goroutine has
	waits  sync.WaitGroup // for goroutines that wait for a cluster to settle

	mu      sync.Mutex
	closed  bool
	targets map[TargetName]*Target

	// Owned by the goroutine.
	listeners    map[string]*resource[*listener]
	routeConfigs map[string]*resource[*routeConfig]
	extensions   map[string]*resource[*extension]
	clusters     map[string]*clusterNode
	dirty        map[*Target]bool      // to look at when the mail has been read
	gone         map[*clusterNode]bool // deleted, and still in use for a while
}

// New starts a resolver. Close ends it.
func New(c Config) (*Resolver, error) {
	if c.Source == nil {
		return nil, errors.New("resolver: no source of resources")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.NewCluster == nil {
		c.NewCluster = func(name string) *balancer.Cluster {
			return balancer.NewCluster(name, balancer.ClusterOptions{Logger: c.Logger})
		}
	}
	if c.Linger == 0 {
		c.Linger = defaultLinger
	}
	r := &Resolver{
		config:       c,
		log:          c.Logger,
		box:          newMailbox(),
		stop:         make(chan struct{}),
		ended:        make(chan struct{}),
		targets:      make(map[TargetName]*Target),
		listeners:    make(map[string]*resource[*listener]),
		routeConfigs: make(map[string]*resource[*routeConfig]),
		extensions:   make(map[string]*resource[*extension]),
		clusters:     make(map[string]*clusterNode),
		dirty:        make(map[*Target]bool),
		gone:         make(map[*clusterNode]bool),
	}
	if c.LocalCluster != "" {
		r.box.do(r.followLocal)
	}
	go r.run()
	return r, nil
}

// Target returns the target of that name, whose first table is on its way. The
// caller releases it. After Close, its Await returns [ErrClosed].
func (r *Resolver) Target(name TargetName) *Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.targets[name]; t != nil {
		t.handles++
		return t
	}
	t := &Target{name: name, resolver: r, first: make(chan struct{}), handles: 1}
	if !r.closed {
		r.targets[name] = t
		r.box.do(func() { r.dirty[t] = true })
	}
	return t
}

// Targets lists the targets that have not been released, sorted by their names.
func (r *Resolver) Targets() []*Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.targets), func(a, b *Target) int {
		return cmp.Compare(a.name.String(), b.name.String())
	})
}

// Close stops the resolver, cancels its watches and closes its clusters. Tables
// that calls still hold go on routing, to closed clusters. It may be called twice.
func (r *Resolver) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.stop)
	}
	r.mu.Unlock()
	<-r.ended
}

// run is the resolver's goroutine.
func (r *Resolver) run() {
	defer close(r.ended)
	for {
		select {
		case <-r.box.wake:
			r.turn()
		case <-r.stop:
			r.end()
			return
		}
	}
}

// maxRounds is how often a turn looks for new values before it turns to errors.
const maxRounds = 32

// turn reads the mail until there is none. Values come before errors: a change of
// policy that moves a route from one cluster to another and deletes the first must
// not fail calls between the two.
func (r *Resolver) turn() {
	var failing []*subscription
	for round := 0; ; round++ {
		tasks, subs := r.box.take()
		if len(tasks)+len(subs) == 0 && len(failing) == 0 {
			return
		}
		for _, f := range tasks {
			f()
		}
		if len(subs) == 0 || round == maxRounds {
			subs, failing = append(subs, failing...), nil
			round = 0
			for _, s := range subs {
				s.apply(s.take())
			}
		} else {
			for _, s := range subs {
				if s.failing() {
					failing = append(failing, s)
				} else {
					s.apply(s.take())
				}
			}
		}
		for len(r.dirty) > 0 {
			for t := range r.dirty {
				delete(r.dirty, t)
				t.update()
			}
		}
		for n := range r.gone {
			n.settleDeletion()
		}
	}
}

// end lets go of everything.
func (r *Resolver) end() {
	r.box.close()
	for _, l := range r.listeners {
		l.sub.cancel()
	}
	for _, rc := range r.routeConfigs {
		rc.sub.cancel()
	}
	for _, e := range r.extensions {
		e.sub.cancel()
	}
	for _, n := range r.clusters {
		n.close()
	}
	r.waits.Wait()
}

// resource is what is known of a listener or a route configuration that targets
// need. It belongs to the resolver's goroutine.
type resource[T any] struct {
	kind, name string
	sub        *subscription
	users      map[*Target]bool

	known   bool // one of the next two is valid
	value   T
	err     error // why there is no value
	waiting error // why it has not come, if the source says
}

// use returns the resource of that name, watched, with t among its users.
func use[T any](r *Resolver, all map[string]*resource[T], typeURL, kind, name string, t *Target) *resource[T] {
	res := all[name]
	if res == nil {
		res = &resource[T]{kind: kind, name: name, users: make(map[*Target]bool)}
		all[name] = res
		res.sub = r.box.subscribe(r.config.Source, typeURL, name, func(n news) {
			res.learn(n, r.log)
			for user := range res.users {
				r.dirty[user] = true
			}
		})
	}
	res.users[t] = true
	return res
}

// unuse takes t from the users. Without users, the watch ends.
func unuse[T any](all map[string]*resource[T], res *resource[T], t *Target) {
	if res == nil {
		return
	}
	if delete(res.users, t); len(res.users) == 0 {
		res.sub.cancel()
		delete(all, res.name)
	}
}

func (res *resource[T]) learn(n news, log *slog.Logger) {
	var none T
	switch {
	case n.resource != nil:
		value, ok := n.resource.Value.(T)
		if !ok {
			res.known, res.value = true, none
			res.err = errors.New("the source does not decode with resolver.Types")
			return
		}
		res.known, res.value, res.err, res.waiting = true, value, nil, nil
	case unavailable(n.err):
		// It may well exist, and calls can wait.
		res.waiting = n.err
	case n.err != nil:
		res.known, res.value, res.err, res.waiting = true, none, n.err, nil
	}
	if n.ambient != nil {
		log.Debug("keeping a resource in spite of an error", "type", res.kind, "name", res.name, "error", n.ambient)
	}
}

// awaited says what is waited for.
func (res *resource[T]) awaited() string {
	s := res.kind + " " + quote(res.name)
	if res.waiting != nil {
		s += " (" + res.waiting.Error() + ")"
	}
	return s
}
