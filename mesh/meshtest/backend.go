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

	"github.com/weft-mesh/weft/internal/testport"
)

// Backend is a server on loopback, gRPC or HTTP, with switches for its faults. It
// stops when its test ends. Its methods may be called from any goroutine.
type Backend struct {
	// Addr is where it listens, "127.0.0.1:port"; it survives Kill and Start.
	Addr string

	tb    testing.TB
	serve func(net.Listener) *server
	calls atomic.Int64
	conns atomic.Int64 // open
	delay atomic.Int64 // time.Duration
	fail  atomic.Bool

	current atomic.Pointer[server] // nil while it is dead

	mu sync.Mutex // held while it starts or ends
}

// server is what a Backend needs of *grpc.Server and *http.Server, from one start to its
// end.
type server struct {
	*Backend
	run   func() error
	drain func()
	stop  func()

	once   sync.Once
	killed chan struct{} // closed by kill
	done   chan struct{} // closed when it serves no more
}

func (b *Backend) newServer() *server {
	return &server{Backend: b, killed: make(chan struct{}), done: make(chan struct{})}
}

// kill ends the server at once, and a drain of it.
func (s *server) kill() {
	s.once.Do(func() { close(s.killed) })
	s.stop()
}

// GRPC starts a backend with the services that register adds.
func GRPC(tb testing.TB, register func(grpc.ServiceRegistrar), opts ...grpc.ServerOption) *Backend {
	b := &Backend{tb: tb}
	b.serve = func(l net.Listener) *server {
		srv := b.newServer()
		// Stop waits for connections whose clients have said nothing yet.
		all := append([]grpc.ServerOption{grpc.ConnectionTimeout(30 * time.Second)}, opts...)
		s := grpc.NewServer(append(all, grpc.ChainUnaryInterceptor(srv.unary), grpc.ChainStreamInterceptor(srv.stream))...)
		register(s)
		srv.run, srv.drain, srv.stop = func() error { return s.Serve(l) }, s.GracefulStop, s.Stop
		return srv
	}
	return b.begin()
}

// HTTP starts a backend that serves h by HTTP/1.1 and by HTTP/2 without TLS (h2c).
func HTTP(tb testing.TB, h http.Handler) *Backend {
	b := &Backend{tb: tb}
	b.serve = func(l net.Listener) *server {
		srv := b.newServer()
		s := &http.Server{Handler: srv.handler(h), Protocols: new(http.Protocols)}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
		srv.run, srv.drain, srv.stop = func() error { return s.Serve(l) }, func() { shutDown(s) }, func() { _ = s.Close() }
		return srv
	}
	return b.begin()
}

// shutDown tells the connections again and again: one of HTTP/2 that had been accepted, but
// had sent nothing yet, would not hear of it, and Shutdown would wait until its client left.
func shutDown(s *http.Server) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		err := s.Shutdown(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return
		}
	}
}

func (b *Backend) begin() *Backend {
	b.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.tb.Fatalf("meshtest: backend: %v", err)
	}
	release, err := testport.Hold(l)
	if err != nil {
		b.tb.Fatalf("meshtest: backend: %v", err)
	}
	b.tb.Cleanup(release)
	b.Addr = l.Addr().String()
	b.start(l)
	b.tb.Cleanup(b.Kill)
	return b
}

// Start brings a dead backend back, at the same address. It does nothing to one
// that runs.
func (b *Backend) Start() {
	b.tb.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.Load() != nil {
		return
	}
	l, err := net.Listen("tcp", b.Addr)
	if err != nil {
		b.tb.Fatalf("meshtest: backend: %v", err)
	}
	b.start(l)
}

func (b *Backend) start(l net.Listener) {
	s := b.serve(countingListener{l, &b.conns})
	b.current.Store(s)
	go func() {
		defer close(s.done)
		if err := s.run(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			b.tb.Errorf("meshtest: backend %s: %v", b.Addr, err)
		}
	}()
}

// Stop ends the backend as a good deployment does: it accepts nothing new and
// finishes the calls it has. If these take longer than a minute the test has failed, and
// they are cut off.
func (b *Backend) Stop() {
	b.tb.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.current.Load()
	if s == nil {
		return
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.drain()
	}()
	select {
	case <-drained:
	case <-s.killed:
	case <-time.After(time.Minute):
		b.tb.Errorf("meshtest: backend %s has calls, or connections in use, a minute after Stop", b.Addr)
		s.kill()
	}
	<-s.done
	b.current.Store(nil)
}

// Kill ends the backend at once, with whatever calls it has, and a Stop that waits for
// them. A handler may call it.
func (b *Backend) Kill() {
	s := b.current.Load()
	if s == nil {
		return
	}
	s.kill()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.Load() == s {
		<-s.done
		b.current.Store(nil)
	}
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
func (s *server) enter(ctx context.Context) error {
	s.calls.Add(1)
	if d := time.Duration(s.delay.Load()); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.killed: // a server of HTTP/1.1 does not see clients leave whose bodies are unread
			return errKilled
		}
	}
	if s.fail.Load() {
		return errSwitchedToFail
	}
	return nil
}

var (
	errSwitchedToFail = status.Error(codes.Unavailable, "meshtest: backend is switched to fail")
	errKilled         = status.Error(codes.Unavailable, "meshtest: backend was killed")
)

func (s *server) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *server) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.enter(stream.Context()); err != nil {
		return err
	}
	return next(srv, stream)
}

func (s *server) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := s.enter(r.Context()); {
		case err == nil:
			next.ServeHTTP(w, r)
		case r.Context().Err() != nil:
			panic(http.ErrAbortHandler)
		default:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
}
