package resolver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// TargetName says what a target's table is made of. Exactly one of Listener and
// RouteConfig is set.
type TargetName struct {
	// Listener is the name of an API listener, whose connection manager has a
	// route configuration or names one: the way of gRPC clients (gRFC A27).
	Listener string

	// RouteConfig is the name of a route configuration that is used without a
	// listener. A sidecar's control plane names one after each port ("8080"), with
	// a virtual host for every service there.
	RouteConfig string

	// Authority, if set, picks the virtual host once, for all calls of the target,
	// as a gRPC channel does with its server name: the calls' own authority is not
	// looked at, and only that virtual host's clusters are watched. If empty, each
	// call's authority decides and the clusters of all virtual hosts are watched.
	Authority string

	// Otherwise is the name of the API listener that stands in as long as the source
	// says that Listener does not exist. Empty for none.
	Otherwise string

	// Server says that Listener is a server's (gRFC A36): its table's routes are for the
	// requests that come in, and have no clusters.
	Server bool
}

// String names the target for people.
func (n TargetName) String() string {
	s := "listener " + quote(n.Listener)
	if n.Server {
		s = "server " + s
	}
	if n.RouteConfig != "" {
		s = "route configuration " + quote(n.RouteConfig)
	}
	if n.Authority != "" && n.Authority != n.Listener {
		s += " for " + quote(n.Authority)
	}
	return s
}

func quote(s string) string { return strconv.Quote(s) }

// Target is a name that a program calls, and the newest table for it. All handles
// on one name share one Target, which lives until each was released.
type Target struct {
	name     TargetName
	resolver *Resolver

	demands demands
	table   atomic.Pointer[Table]
	first   chan struct{}          // closed with the first table
	waiting atomic.Pointer[string] // for what, if there is no table

	handles int // guarded by the resolver's mu

	// Owned by the resolver's goroutine.
	released    bool
	listener    *resource[*listener]
	otherwise   *resource[*listener] // while listener does not exist
	routeConfig *resource[*routeConfig]
	extensions  map[string]*resource[*extension] // of filters, by name; nil for none
	published   published
	pending     *pending // the next table, while its clusters are not ready
	unsure      bool     // there will be another table, but it cannot be told of what
	subscribers []*subscriber
}

// published is what the newest table was made of.
type published struct {
	spec  *tableSpec // nil for an error
	err   error
	nodes []*clusterNode
}

// pending is a table that waits for its clusters.
type pending struct {
	spec    *tableSpec
	nodes   []*clusterNode
	readyTo int // nodes before have been ready, so that many need not be looked at often

	held      *time.Timer // ends the wait for a cluster that does not exist; nil before it begins
	heldSince time.Time
}

type subscriber struct {
	f         func(*Table)
	cancelled atomic.Bool
}

// Name returns what the target is made of.
func (t *Target) Name() TargetName { return t.name }

// Table returns the newest table, or nil before there is one. It is one atomic load.
func (t *Target) Table() *Table { return t.table.Load() }

// Await returns the table once there is one. When ctx ends first, the error wraps
// ctx's cause and says what the target is waiting for.
func (t *Target) Await(ctx context.Context) (*Table, error) {
	if table := t.table.Load(); table != nil {
		return table, nil
	}
	select {
	case <-t.first:
		return t.table.Load(), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: waiting for %s: %w", t.name, cmp.Or(t.Awaits(), "its first table"), context.Cause(ctx))
	case <-t.resolver.stop:
		return nil, fmt.Errorf("%s: %w", t.name, ErrClosed)
	}
}

// Awaits says what the target waits for; empty if it has a table.
func (t *Target) Awaits() string {
	if t.table.Load() != nil {
		return ""
	}
	if what := t.waiting.Load(); what != nil {
		return *what
	}
	return "its first table"
}

// Subscribe calls f with the current table, if there is one, and with each table
// published after it, in order. f runs on the resolver's goroutine: it must not
// block, nor call [Resolver.Close]. After cancel returns, a call of f that is under
// way may still go on.
func (t *Target) Subscribe(f func(*Table)) (cancel func()) {
	s := &subscriber{f: f}
	t.resolver.box.do(func() {
		if t.released || s.cancelled.Load() {
			return
		}
		t.subscribers = append(t.subscribers, s)
		if table := t.table.Load(); table != nil {
			f(table)
		}
	})
	return func() {
		s.cancelled.Store(true)
		t.resolver.box.do(func() {
			t.subscribers = slices.DeleteFunc(t.subscribers, func(o *subscriber) bool { return o == s })
		})
	}
}

// Release gives the handle back, once. The last one ends the target: its table stays
// usable for the calls that have it, but is not kept up to date.
func (t *Target) Release() {
	r := t.resolver
	r.mu.Lock()
	defer r.mu.Unlock()
	t.handles--
	if t.handles > 0 || r.targets[t.name] != t {
		return
	}
	delete(r.targets, t.name)
	r.box.do(t.end)
}
