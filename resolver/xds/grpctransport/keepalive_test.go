package grpctransport_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/grpctransport"
)

// A connection that died without a word is found out: 5 minutes of silence, and
// 20 s for the answer to a ping.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := make(pipeListener, 1)
		s := grpc.NewServer()
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, &ads{delta: true})
		var serving sync.WaitGroup
		serving.Go(func() { _ = s.Serve(pipes) })
		defer func() { s.Stop(); serving.Wait() }()

		var dead *deadConn
		builder := grpctransport.Builder{DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				client, server := net.Pipe()
				pipes <- server
				dead = &deadConn{Conn: client}
				return dead, nil
			}),
		}}
		tr, err := builder.Build(plaintext("passthrough:///pipe"))
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		stream, err := tr.NewStream(t.Context(), xds.DeltaMethod)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(time.Minute, dead.die)
		_, err = stream.Recv()
		if err == nil || !strings.Contains(err.Error(), "keepalive") {
			t.Errorf("error is %v", err)
		}
		if d := time.Since(start); d < 5*time.Minute || d > 6*time.Minute {
			t.Errorf("it took %v", d)
		}
	})
}

// pipeListener accepts pipes.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// deadConn drops what is written to it, once it is dead.
type deadConn struct {
	net.Conn
	mu   sync.Mutex
	dead bool
}

func (c *deadConn) die() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

func (c *deadConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	if dead {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
