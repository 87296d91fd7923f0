package mesh

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/weft-mesh/weft/resilience"
)

// connCount is a place among the connections of a cluster. A connection pool serves calls
// of every priority, so that connections, and requests that wait for one, are counted at
// default priority.
type connCount struct {
	limits *resilience.Limits
	open   *atomic.Int64 // of the endpoint
	once   sync.Once
}

// countConnection counts a connection that is about to be made. An endpoint gets its first
// one whatever the limit (Envoy). Over it Envoy has a request wait for a connection that is
// free; here it is refused, because net/http does not say when it no longer waits.
func (c *endpointConn) countConnection(limits *resilience.Limits) (*connCount, error) {
	if c.open.Add(1) == 1 {
		limits.Add(resilience.Connections, resilience.PriorityDefault)
	} else if !limits.Acquire(resilience.Connections, resilience.PriorityDefault) {
		c.open.Add(-1)
		return nil, limits.Exceeded(c.endpoint.Cluster().Name(), resilience.Connections, resilience.PriorityDefault)
	}
	return &connCount{limits: limits, open: &c.open}, nil
}

func (n *connCount) release() {
	n.once.Do(func() {
		n.open.Add(-1)
		n.limits.Release(resilience.Connections, resilience.PriorityDefault)
	})
}

// countedConn is a connection that has a place.
type countedConn struct {
	net.Conn
	count *connCount
}

func (c *countedConn) Close() error {
	c.count.release()
	return c.Conn.Close()
}

// ReadFrom lets the connection send a file as it can.
func (c *countedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// SyscallConn shows the connection's socket to who looks for it.
func (c *countedConn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
