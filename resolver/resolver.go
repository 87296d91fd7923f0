package resolver

import (
	"log/slog"
	"time"

	"github.com/weft-mesh/weft/balancer"
)

// Config is what a [Resolver] needs.
type Config struct {
	// Source gives the resources. Required. It must decode them with [Types].
	Source Source

	// NewCluster makes the cluster of a name, when the first table refers to it.
	// Required.
	NewCluster func(name string) *balancer.Cluster

	// Logger gets what an operator should know. Nil means slog.Default.
	Logger *slog.Logger

	// Linger is how long a cluster that no table refers to any more is kept, so
	// that calls routed by an older table still find it. Zero means 10 s.
	Linger time.Duration
}

// Resolver keeps the tables of a mesh's targets up to date. All targets share its
// clusters.
type Resolver struct{}

// New starts a resolver. Close ends it.
func New(c Config) (*Resolver, error) { return nil, ErrClosed }

// Target returns the target of that name, whose first table is on its way. The
// caller releases it. After Close, the target's Await returns [ErrClosed].
func (r *Resolver) Target(name TargetName) *Target { return nil }

// Close stops the resolver, cancels all watches and closes the clusters. Tables
// that calls still hold keep routing, to closed clusters.
func (r *Resolver) Close() {}
