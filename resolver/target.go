package resolver

import "context"

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
}

// Target is a name that a program calls, and the newest table for it. All handles
// on one name share one Target, which lives until each was released.
type Target struct{ name TargetName }

// Name returns what the target is made of.
func (t *Target) Name() TargetName { return t.name }

// Table returns the newest table, or nil before there is one. It is one atomic load.
func (t *Target) Table() *Table { return nil }

// Await returns the table once there is one. When ctx ends first, the error wraps
// ctx's and says what the target is waiting for.
func (t *Target) Await(ctx context.Context) (*Table, error) { return nil, ErrClosed }

// Subscribe calls f with the current table, if there is one, and with each table
// published after it, in order. f runs on the resolver's goroutine: it must not
// block, and must not call Close. After cancel returns, f may run once more at most.
func (t *Target) Subscribe(f func(*Table)) (cancel func()) { return func() {} }

// Release gives the handle back. The last one ends the target: its table stays
// usable for the calls that have it, but is not kept up to date.
func (t *Target) Release() {}
