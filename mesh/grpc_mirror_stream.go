package mesh

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"

	"github.com/weft-mesh/weft/mesh/internal/call"
)

// mirroredStream is a stream whose messages are sent elsewhere, too, as the application
// sends them, by goroutines of their own. A copy that cannot keep up is given up.
type mirroredStream struct {
	grpc.ClientStream
	*streamCopies
}

// streamCopies are the copies of one stream.
type streamCopies struct {
	all    *call.Mirrors
	codec  encoding.CodecV2
	list   []*streamCopy
	closed atomic.Bool // CloseSend was called
}

// mirrorStream begins copies of a stream where policy wants copies; nil for none.
func (r *rpc) mirrorStream(ch *channel, method string, desc *grpc.StreamDesc, cc *grpc.ClientConn, open grpc.Streamer, opts []grpc.CallOption) *streamCopies {
	all := ch.mesh.mirrors
	copies := r.copies(all, 0, opts)
	if copies == nil {
		return nil
	}
	m := &streamCopies{all: all, codec: codecOf(opts)}
	if m.codec == nil {
		all.Drop("a codec that is not known")
		for _, c := range copies {
			c.mirror.End(unsent)
		}
		return nil
	}
	opts = copiedOptions(m.codec, opts)
	for _, c := range copies {
		s := &streamCopy{rpcCopy: c, all: all, news: make(chan struct{}, 1)}
		m.list = append(m.list, s)
		go s.run(method, desc, cc, open, opts)
	}
	return m
}

// SendMsg queues the message for the copies, and sends it.
func (m mirroredStream) SendMsg(message any) error {
	for _, c := range m.list {
		if c.isOver() {
			continue
		}
		f, ok := freeze(m.all, m.codec, message)
		if !ok || !c.push(f) {
			c.giveUp()
		}
	}
	return m.ClientStream.SendMsg(message)
}

// CloseSend ends what is sent.
func (m mirroredStream) CloseSend() error {
	m.closed.Store(true)
	for _, c := range m.list {
		c.close()
	}
	return m.ClientStream.CloseSend()
}

// ended is called when the stream has ended. Copies of one that was sent to its end
// have a while to do the same.
func (m *streamCopies) ended(error) {
	for _, c := range m.list {
		if m.closed.Load() {
			c.mirror.CancelAfter(call.MirrorTimeout)
		} else {
			c.giveUp()
		}
	}
}

// streamCopy is one copy of a stream.
type streamCopy struct {
	*rpcCopy
	all  *call.Mirrors
	news chan struct{} // the fields below changed

	mu     sync.Mutex
	queue  []*frozen
	closed bool // after the queue
	over   bool // nothing is queued any more
}

// maxQueued is how many messages a copy may be behind.
const maxQueued = 64

func (c *streamCopy) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// push queues a message, which is held, unless the copy is too far behind.
func (c *streamCopy) push(f *frozen) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || len(c.queue) == maxQueued {
		c.all.Free(len(f.data))
		if !c.over {
			c.all.Drop("a stream too slow")
		}
		return false
	}
	c.queue = append(c.queue, f)
	c.tell()
	return true
}

func (c *streamCopy) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.tell()
}

func (c *streamCopy) tell() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// take returns what is queued, and whether that is all.
func (c *streamCopy) take() (queue []*frozen, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	queue, c.queue = c.queue, nil
	return queue, c.closed
}

// giveUp ends the copy early.
func (c *streamCopy) giveUp() {
	c.discard()
	c.mirror.CancelAfter(0)
}

// discard forgets what is queued.
func (c *streamCopy) discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, f := range c.queue {
		c.all.Free(len(f.data))
	}
	c.queue = nil
}

// run sends what is queued, and reads what comes back, for nobody.
func (c *streamCopy) run(method string, desc *grpc.StreamDesc, cc *grpc.ClientConn, open grpc.Streamer, opts []grpc.CallOption) {
	both := *desc // the copy is read to its end, whatever its kind
	both.ServerStreams = true
	s, err := open(c, &both, cc, method, opts...)
	if err == nil {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for err == nil {
				err = s.RecvMsg(&frozen{})
			}
		}()
		c.send(s, ended)
		<-ended
	}
	c.discard()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	c.end(err)
}

// send sends what is queued until the application has closed the stream, or the copy
// has ended.
func (c *streamCopy) send(s grpc.ClientStream, ended <-chan struct{}) {
	for {
		queue, all := c.take()
		for _, f := range queue {
			err := s.SendMsg(f)
			c.all.Free(len(f.data))
			if err != nil {
				all = false // why is read
			}
		}
		if all {
			_ = s.CloseSend()
			return
		}
		select {
		case <-c.news:
		case <-ended:
			return
		}
	}
}
