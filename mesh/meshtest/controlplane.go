package meshtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weft-mesh/weft/internal/testport"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/xdsserver"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

// ControlPlane is an xdsserver on loopback. It stops when its test ends. Its methods
// may be called from any goroutine of the test.
type ControlPlane struct {
	// Addr is where it listens, "127.0.0.1:port"; it survives Kill and Start.
	Addr string

	tb  testing.TB
	log *slog.Logger

	mu      sync.Mutex
	policy  *policy.Resources
	server  *xdsserver.Server // nil while it is dead
	serving chan struct{}
}

// NewControlPlane starts a control plane that serves nothing yet.
func NewControlPlane(tb testing.TB) *ControlPlane {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("meshtest: control plane: %v", err)
	}
	release, err := testport.Hold(l)
	if err != nil {
		tb.Fatalf("meshtest: control plane: %v", err)
	}
	tb.Cleanup(release)
	c := &ControlPlane{Addr: l.Addr().String(), tb: tb, log: logger(tb)}
	c.start(l)
	tb.Cleanup(c.Kill)
	return c
}

// Apply serves a policy, the YAML of a policy file, in place of the one before. The
// test fails if the policy is bad. Apply does not wait for clients to have it.
func (c *ControlPlane) Apply(yaml string) {
	c.tb.Helper()
	p, err := policy.Parse("policy.yaml", []byte(yaml))
	if err != nil {
		c.tb.Fatalf("meshtest: %v\n%s", err, yaml)
	}
	r, err := p.Compile()
	if err != nil {
		c.tb.Fatalf("meshtest: %v\n%s", err, yaml)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policy = r
	if c.server == nil {
		return // for the next Start
	}
	if err := c.server.Apply(r); err != nil {
		c.tb.Fatalf("meshtest: %v", err)
	}
}

// Start brings a dead control plane back, at the same address and with the policy
// applied last. It does nothing to one that runs.
func (c *ControlPlane) Start() {
	c.tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return
	}
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		c.tb.Fatalf("meshtest: control plane: %v", err)
	}
	c.start(l)
}

// start serves. The caller holds c.mu, or has c to itself.
func (c *ControlPlane) start(l net.Listener) {
	c.tb.Helper()
	c.server = xdsserver.New(xdsserver.Options{Logger: c.log})
	if c.policy != nil {
		if err := c.server.Apply(c.policy); err != nil {
			c.tb.Fatalf("meshtest: %v", err)
		}
	}
	c.serving = make(chan struct{})
	go func(server *xdsserver.Server, done chan struct{}) {
		defer close(done)
		if err := server.Serve(l); err != nil && !errors.Is(err, xdsserver.ErrClosed) { // killed before it served
			c.tb.Errorf("meshtest: control plane %s: %v", l.Addr(), err)
		}
	}(c.server, c.serving)
}

// Kill ends the control plane at once.
func (c *ControlPlane) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return
	}
	c.server.Close()
	<-c.serving
	c.server = nil
}

// Clients tells who follows it: a stream each, and what it has subscribed to.
func (c *ControlPlane) Clients() []xdsserver.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return nil
	}
	return c.server.Clients()
}

// Mesh returns a mesh that follows the control plane. It is closed when the test
// ends, for which calls in flight have ten seconds.
func (c *ControlPlane) Mesh(opts ...mesh.Option) *mesh.Mesh {
	c.tb.Helper()
	return New(c.tb, append([]mesh.Option{mesh.WithServer(c.Addr, mesh.Plaintext())}, opts...)...)
}

// New returns a mesh that logs to the test and is closed when it ends.
func New(tb testing.TB, opts ...mesh.Option) *mesh.Mesh {
	tb.Helper()
	m, err := mesh.New(append([]mesh.Option{mesh.WithLogger(logger(tb))}, opts...)...)
	if err != nil {
		tb.Fatalf("meshtest: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			tb.Errorf("meshtest: calls are still in flight: %v", err)
		}
	})
	return m
}

// logger shows warnings in the test's output.
func logger(tb testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
