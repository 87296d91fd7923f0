package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/test/bufconn"

	"github.com/weft-mesh/weft/internal/testport"
)

// chaosNetwork is what a chaos run's connections go over.
type chaosNetwork interface {
	// addresses are of the backends.
	addresses(tb testing.TB, n int) []string
	// listen opens a listener at an address, where there may have been one before.
	listen(tb testing.TB, address string) net.Listener
	dial(ctx context.Context, network, address string) (net.Conn, error)
}

// memory is a network whose connections are buffers, for bubbles of synctest: nothing
// in it takes any time.
type memory struct {
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
}

func (*memory) addresses(_ testing.TB, n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("192.0.2.%d:80", i+1)) // RFC 5737
	}
	return list
}

func (m *memory) listen(_ testing.TB, address string) net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listeners == nil {
		m.listeners = map[string]*bufconn.Listener{}
	}
	m.listeners[address] = bufconn.Listen(64 << 10)
	return m.listeners[address]
}

var errRefused = errors.New("connection refused")

func (m *memory) dial(ctx context.Context, _, address string) (net.Conn, error) {
	m.mu.Lock()
	l := m.listeners[address]
	m.mu.Unlock()
	if l == nil {
		return nil, errRefused
	}
	return l.DialContext(ctx)
}

// loopback is the machine's.
type loopback struct{ net.Dialer }

func (*loopback) addresses(tb testing.TB, n int) []string {
	var list []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		release, err := testport.Hold(l) // a stranger would answer for a backend that is down
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(release)
		_ = l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

func (*loopback) listen(tb testing.TB, address string) net.Listener {
	l, err := net.Listen("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func (l *loopback) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return l.DialContext(ctx, network, address)
}

// countedListener counts the connections that are open.
type countedListener struct {
	net.Listener
	open *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &countedAccepted{Conn: c, open: l.open}, nil
}

type countedAccepted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedAccepted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
