package resolver

import "github.com/weft-mesh/weft/balancer"

// Table is the compiled form of one target's policy: virtual hosts, routes and
// the clusters they name. It is immutable and complete: every cluster it refers to
// had its endpoints, or was known to fail, when the table was published.
type Table struct{}

// Route returns the route for a request: the best virtual host for its
// authority, and in it the first route that matches.
//
// The error is what the target's policy says of the call: [ErrNoRoute] when
// nothing matches, or, in the table of a target whose listener or route
// configuration does not exist, what is missing. Route allocates nothing when it
// succeeds (unless a header that decides was sent several times) and may be called
// from any number of goroutines.
func (t *Table) Route(r *Request) (*Route, error) { return nil, ErrNoRoute }

// Clusters returns the clusters that the table refers to, each once, by name.
func (t *Table) Clusters() []*balancer.Cluster { return nil }

// Version counts the tables of a target from 1.
func (t *Table) Version() uint64 { return 0 }

// Err is not nil when the table stands for an error: every Route returns it.
func (t *Table) Err() error { return nil }
