package meshtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Backend is a server on loopback, gRPC or HTTP, with switches for its faults. It
// stops when its test ends. Its methods may be called from any goroutine.
type Backend struct {
	// Addr is where it listens, "127.0.0.1:port"; it survives Kill and Start.
	Addr string

	tb    testing.TB
	serve func(net.Listener) server
	calls atomic.Int64
	conns atomic.Int64 // open
	delay atomic.Int64 // time.Duration
	fail  atomic.Bool

	mu      sync.Mutex
	running server // nil while it is dead
	done    chan struct{}
}

// server is what a Backend needs of *grpc.Server and *http.Server.
type server struct {
	run   func() error
	drain func()
	kill  func()
}

// GRPC starts a backend with the services that register adds.
func GRPC(tb testing.TB, register func(grpc.ServiceRegistrar), opts ...grpc.ServerOption) *Backend {
	b := &Backend{tb: tb}
	b.serve = func(l net.Listener) server {
		s := grpc.NewServer(append(opts[:len(opts):len(opts)],
			grpc.ChainUnaryInterceptor(b.unary), grpc.ChainStreamInterceptor(b.stream))...)
		register(s)
		return server{run: func() error { return s.Serve(l) }, drain: s.GracefulStop, kill: s.Stop}
	}
	return b.begin()
}

// HTTP starts a backend that serves h by HTTP/1.1 and by HTTP/2 without TLS (h2c).
func HTTP(tb testing.TB, h http.Handler) *Backend {
	b := &Backend{tb: tb}
	b.serve = func(l net.Listener) server {
		s := &http.Server{Handler: b.handler(h), Protocols: new(http.Protocols)}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
		return server{
			run:   func() error { return s.Serve(l) },
			drain: func() { _ = s.Shutdown(context.Background()) },
			kill:  func() { _ = s.Close() },
		}
	}
	return b.begin()
}

func (b *Backend) begin() *Backend {
	b.tb.Helper()
	b.Addr = "127.0.0.1:0"
	b.Start()
	b.tb.Cleanup(b.Kill)
	return b
}

// Start brings a dead backend back, at the same address. It does nothing to one
// that runs.
func (b *Backend) Start() {
	b.tb.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done != nil {
		return
	}
	l, err := net.Listen("tcp", b.Addr)
	if err != nil {
		b.tb.Fatalf("meshtest: backend: %v", err)
	}
	b.Addr = l.Addr().String()
	b.running = b.serve(countingListener{l, &b.conns})
	b.done = make(chan struct{})
	go func(run func() error, done chan struct{}) {
		defer close(done)
		if err := run(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			b.tb.Errorf("meshtest: backend %s: %v", l.Addr(), err)
		}
	}(b.running.run, b.done)
}

// Stop ends the backend as a good deployment does: it accepts nothing new and
// finishes the calls it has. If these take longer than a minute the test has failed, and
// they are cut off.
func (b *Backend) Stop() {
	b.tb.Helper()
	b.end(func(s server) {
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			s.drain()
		}()
		select {
		case <-drained:
		case <-time.After(time.Minute):
			b.tb.Errorf("meshtest: backend %s has calls, or connections in use, a minute after Stop", b.Addr)
			s.kill()
			<-drained
		}
	})
}

// Kill ends the backend at once, with whatever calls it has.
func (b *Backend) Kill() { b.end(func(s server) { s.kill() }) }

func (b *Backend) end(how func(server)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done == nil {
		return
	}
	how(b.running)
	<-b.done
	b.done = nil
}

// Calls is how many calls have reached the backend.
func (b *Backend) Calls() int64 { return b.calls.Load() }

// Connections is how many connections to the backend are open.
func (b *Backend) Connections() int64 { return b.conns.Load() }

// AwaitCalls waits until n calls have reached the backend.
func (b *Backend) AwaitCalls(ctx context.Context, n int64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for b.Calls() < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("meshtest: backend %s has %d calls, want %d: %w", b.Addr, b.Calls(), n, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// SetDelay makes every call wait before it is served. Zero ends that.
func (b *Backend) SetDelay(d time.Duration) { b.delay.Store(int64(d)) }

// SetFailing makes every call fail: UNAVAILABLE, or 503. False ends that.
func (b *Backend) SetFailing(fail bool) { b.fail.Store(fail) }

// countingListener counts the connections that are open.
type countingListener struct {
	net.Listener
	open *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &countedConn{Conn: conn, open: l.open}, nil
}

type countedConn struct {
	net.Conn
	open  *atomic.Int64
	ended sync.Once
}

func (c *countedConn) Close() error {
	c.ended.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// enter does what the switches say. A call that ends while it waits is not served: its
// deadline may pass here before it does at the caller.
func (b *Backend) enter(ctx context.Context) error {
	b.calls.Add(1)
	if d := time.Duration(b.delay.Load()); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if b.fail.Load() {
		return errSwitchedToFail
	}
	return nil
}

var errSwitchedToFail = status.Error(codes.Unavailable, "meshtest: backend is switched to fail")

func (b *Backend) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (b *Backend) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := b.enter(s.Context()); err != nil {
		return err
	}
	return next(srv, s)
}

func (b *Backend) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := b.enter(r.Context()); {
		case err == nil:
			next.ServeHTTP(w, r)
		case r.Context().Err() != nil:
			panic(http.ErrAbortHandler)
		default:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
}
