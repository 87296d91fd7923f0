// Package scripted is for backends that speak their protocol by hand, to do also what no
// server does of itself.
package scripted

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Listener takes connections on loopback until its test ends.
type Listener struct {
	// Addr is where it listens, "127.0.0.1:port".
	Addr string

	lis  net.Listener
	done sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Listen listens. What comes waits for [Listener.Serve].
func Listen(t *testing.T) *Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{Addr: lis.Addr().String(), lis: lis, conns: map[net.Conn]bool{}}
	t.Cleanup(l.close)
	return l
}

// Serve has serve have each connection, which is closed when that returns, or when the test
// ends. Serve itself does not wait.
func (l *Listener) Serve(serve func(net.Conn, *bufio.Reader)) {
	l.done.Go(func() { l.accept(serve) })
}

// Go runs f, for which the end of the test waits. It is for what serve begins.
func (l *Listener) Go(f func()) { l.done.Go(f) }

func (l *Listener) close() {
	l.lis.Close()
	l.mu.Lock()
	for c := range l.conns {
		c.Close()
	}
	l.conns = nil
	l.mu.Unlock()
	l.done.Wait()
}

func (l *Listener) accept(serve func(net.Conn, *bufio.Reader)) {
	for {
		c, err := l.lis.Accept()
		if err != nil {
			return
		}
		l.done.Go(func() {
			defer c.Close()
			if l.add(c) {
				serve(c, bufio.NewReader(c))
				l.remove(c)
			}
		})
	}
}

// add returns false if the test has ended.
func (l *Listener) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		return false
	}
	l.conns[c] = true
	return true
}

func (l *Listener) remove(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Lose has the peer see a reset, not an end.
func Lose(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Before is the last stream that counts, of a GOAWAY which says that a stream was not looked
// at: the client's one before it (RFC 9113, section 6.8).
func Before(stream uint32) uint32 { return max(stream, 2) - 2 }

// Message is a StringValue as gRPC has it on the wire.
func Message(text string) []byte {
	b, _ := proto.Marshal(wrapperspb.String(text)) // of a string that is no UTF-8, which no test has
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}
