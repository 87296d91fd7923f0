package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/balancer/healthcheck"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resolver"
)

// Mesh is one source of policy, the tables made of it, and the clients that follow
// them. Its methods may be called from any goroutine. A process may have several,
// which share nothing.
type Mesh struct {
	log        *slog.Logger
	names      names
	plainCreds credentials.TransportCredentials
	source     *source
	resolver   *resolver.Resolver
	filters    *filter.Registry

	gate       call.Gate
	http       httpTargets
	mirrors    *call.Mirrors
	buffers    call.Buffers
	transports sync.Map // *http.Transport → *transport
	ready      sync.Map // resolver.TargetName → *call.Target: those of Ready, which stay
}

// New makes a mesh. Without an option that names a source of policy, it is the
// bootstrap that GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG names (gRFC A27).
//
// New does not wait for a control plane: calls wait for their target's policy, and
// [Mesh.Ready] does. It fails on options, bootstraps and policy files that are wrong.
func New(opts ...Option) (*Mesh, error) {
	o := &options{}
	for _, opt := range opts {
		if err := opt.apply(o); err != nil {
			return nil, err
		}
	}
	if o.logger == nil {
		o.logger = slog.Default()
	}
	if o.open == nil {
		o.open = openEnvironment
	}
	var err error
	if o.filters, err = filter.NewRegistry(append(resolver.FilterKinds(), o.kinds...)...); err != nil {
		return nil, fmt.Errorf("weft: %w", err)
	}
	src, err := o.open(o)
	if err != nil {
		return nil, fmt.Errorf("weft: %w", err)
	}
	m := &Mesh{
		log:        o.logger,
		names:      src.names,
		plainCreds: o.creds,
		source:     src,
		filters:    o.filters,
		mirrors:    call.NewMirrors(o.logger),
	}
	m.http.current.Store(&hostTargets{byHost: make(map[string][]*httpTarget)})
	config := resolver.Config{Source: src.resources, Logger: o.logger}
	o.local(&config)
	config.NewCluster = func(name string) *balancer.Cluster {
		c := balancer.NewCluster(name, balancer.ClusterOptions{Logger: o.logger, Local: config.Local, Prober: healthcheck.New})
		m.gate.Join(c.Limits())
		return c
	}
	m.resolver, err = resolver.New(config)
	if err != nil {
		src.close()
		return nil, fmt.Errorf("weft: %w", err)
	}
	return m, nil
}

var processMesh struct {
	sync.Mutex
	mesh *Mesh
}

// Default returns the process's mesh, made by New without options when it is first
// asked for, and again after it was closed. An error is not remembered: the next call
// tries again.
func Default() (*Mesh, error) {
	processMesh.Lock()
	defer processMesh.Unlock()
	if processMesh.mesh == nil || processMesh.mesh.gate.IsShut() {
		m, err := New()
		if err != nil {
			return nil, err
		}
		processMesh.mesh = m
	}
	return processMesh.mesh, nil
}

// Dial is [Mesh.Dial] of the [Default] mesh.
func Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	m, err := Default()
	if err != nil {
		return nil, err
	}
	return m.Dial(target, opts...)
}

// HTTPClient is [Mesh.HTTPClient] of the [Default] mesh.
func HTTPClient() (*http.Client, error) {
	m, err := Default()
	if err != nil {
		return nil, err
	}
	return m.HTTPClient(), nil
}

// Ready waits until the policy of each target has arrived, endpoints included, so
// that first calls need not wait for it, and keeps it up to date from then on. The
// targets are those of Dial or the hosts of URLs. The error says which target is missing, and what its policy says when it
// refuses every call.
func (m *Mesh) Ready(ctx context.Context, targets ...string) error {
	var errs []error
	for _, target := range targets {
		errs = append(errs, m.awaitReady(ctx, target))
	}
	return errors.Join(errs...)
}

func (m *Mesh) awaitReady(ctx context.Context, target string) error {
	name, err := m.names.parse(target)
	if err != nil {
		return err
	}
	if m.gate.IsShut() {
		return m.errClosed(name.endpoint)
	}
	t := m.acquire(name)
	if err := t.Ready(ctx); err != nil {
		t.Release()
		return err
	}
	if _, again := m.ready.LoadOrStore(name.resource, t); again {
		t.Release()
	}
	return nil
}

// Close ends the mesh. New calls fail with [ErrClosed] from now on, and servers refuse
// those that come in: policy no longer reaches them. Close waits for
// calls in flight, of servers too, until ctx ends, but not for mirrored ones, then stops everything that the mesh started. The
// error is ctx's if calls were cut short of that. Channels of Dial remain their
// callers' to close.
func (m *Mesh) Close(ctx context.Context) error {
	if !m.gate.Shut() {
		return nil
	}
	err := m.gate.Drain(ctx)
	m.mirrors.Close()
	m.resolver.Close()
	m.source.close()
	_ = m.filters.Close()
	m.transports.Range(func(_, t any) bool {
		t.(*transport).CloseIdleConnections()
		return true
	})
	return err
}

// acquire returns the target of a name; the caller releases it.
func (m *Mesh) acquire(name targetName) *call.Target {
	return &call.Target{
		Target:  m.resolver.Target(name.resource),
		Name:    name.endpoint,
		Source:  m.source.status,
		Gate:    &m.gate,
		Buffers: &m.buffers,
	}
}

func (m *Mesh) errClosed(target string) error {
	return &call.Error{Kind: ErrClosed, Code: codes.Canceled, Target: target, Err: ErrClosed}
}
