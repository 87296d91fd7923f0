package mesh_test

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// streamOp is what an application does with a stream.
type streamOp int

const (
	opSend streamOp = iota
	opCloseSend
	opHeader
	opRecv
	opWait // for longer than an attempt may take
	streamOps
)

// streamCase is a stream's policy, what its backend does and what its application does, all
// of it drawn from some bytes.
type streamCase struct {
	attempts   int           // by policy, at most
	limit      int           // of the buffer
	resets     bool          // are tried again
	perTry     time.Duration // 0 for no timeout
	moves      []move
	ops        []streamOp // after which the application closes its side and receives the rest
	size       int        // of messages
	cancel     int        // the operation before which the application cancels; none for -1
	concurrent bool       // it sends and receives at once
}

// draw takes numbers from bytes, and zeros once they end.
type draw struct{ data []byte }

func (d *draw) n(below int) int {
	if len(d.data) == 0 {
		return 0
	}
	v := int(d.data[0])
	d.data = d.data[1:]
	return v % below
}

// move draws one that reads less than most.
func (d *draw) move(most int) move {
	m := move{read: d.n(most+1) - 1, do: ending(d.n(int(lastEnding)))}
	if m.do == endFail || m.do == endFailBegun {
		m.status = []codes.Code{codes.Unavailable, codes.Unavailable, codes.NotFound, codes.OK}[d.n(4)]
		m.never = m.do == endFail && d.n(6) == 5
	}
	return m
}

func drawStream(data []byte) streamCase {
	d := &draw{data}
	c := streamCase{attempts: 2 + d.n(3), limit: []int{1 << 10, 20}[d.n(2)], resets: d.n(2) == 1, size: d.n(12), concurrent: d.n(4) == 3}
	if d.n(2) == 1 {
		c.perTry = 100 * time.Millisecond
	}
	for range 1 + d.n(5) {
		c.moves = append(c.moves, d.move(4))
	}
	for range d.n(10) {
		c.ops = append(c.ops, streamOp(d.n(int(streamOps))))
	}
	if c.cancel = d.n(3*len(c.ops)+1) - 1; c.cancel >= len(c.ops) {
		c.cancel = -1
	}
	if c.concurrent { // in real time, of which it should take none
		c.cancel, c.perTry = -1, 0
		for i := range c.moves {
			if c.moves[i].do == endHang {
				c.moves[i].do = endReset
			}
		}
	}
	return c
}

// message is the n-th that the application sends.
func (c *streamCase) message(n int) string { return strings.Repeat(string(rune('a'+n%26)), c.size) }

// streamModel tells what becomes of a stream as gRFC A6 has it: an attempt is replaced when
// the application finds, by receiving, that it failed in a way that policy retries, unless
// its answer had begun, or more was sent than is kept. The timeout of an attempt counts from
// the end of the request, as Envoy's RetryPolicy.per_try_timeout does.
type streamModel struct {
	*streamCase
	sent      []string
	closed    bool
	kept      int
	attempt   int  // in use, from 1
	committed bool // no other follows
	over      bool
	code      codes.Code // when it is over
	replied   int        // received
}

func (m *streamModel) send() {
	text := m.message(len(m.sent))
	m.sent = append(m.sent, text)
	if m.committed {
		return
	}
	if text != "" {
		m.kept += 2 + len(text) // as a StringValue
	}
	m.committed = m.kept > m.limit
}

// now is what the backend does with the attempt in use.
func (m *streamModel) now() move { return m.moves[min(m.attempt, len(m.moves))-1] }

// reads is what the backend reads of the attempt in use; false if it waits for more.
func (m *streamModel) reads() ([]string, bool) {
	if n := m.now().read; n >= 0 && n <= len(m.sent) {
		return m.sent[:n], true
	}
	return m.sent, m.closed
}

// settle has attempts fail and be replaced until one has answered, or the call is over. It
// reports whether there is a header.
func (m *streamModel) settle() (header bool) {
	for !m.over {
		v := m.now()
		_, moved := m.reads()
		var code codes.Code
		var retried bool
		switch {
		case (!moved || v.do == endHang) && (m.perTry == 0 || !m.closed): // until the call's deadline
			m.end(codes.DeadlineExceeded)
			return false
		case !moved || v.do == endHang:
			code, retried = codes.DeadlineExceeded, m.resets
		case v.do == endFail && v.status == codes.OK:
			m.committed = true
			return false
		case v.do == endFail:
			code, retried = v.status, v.status == codes.Unavailable && !v.never
		case v.do == endReset:
			code, retried = codes.Internal, m.resets
		default:
			m.committed = true
			return true
		}
		if m.committed || !retried || m.attempt == m.attempts {
			m.end(code)
			return false
		}
		m.attempt++
	}
	return false
}

func (m *streamModel) end(code codes.Code) { m.over, m.committed, m.code = true, true, code }

// recv is what receiving gives: a message, or the end.
func (m *streamModel) recv() (text string, ok bool) {
	if m.settle(); m.over {
		return "", false
	}
	v := m.now()
	read, _ := m.reads()
	switch {
	case v.do == endResetBegun:
		m.end(codes.Internal)
	case v.do != endAnswer:
		m.end(v.status)
	case m.replied == len(read):
		m.end(codes.OK)
	default:
		m.replied++
		return read[m.replied-1], true
	}
	return "", false
}

// prefix reports whether an attempt was sent the beginning of what the application sent.
func (m *streamModel) prefix(parts []string) bool {
	return len(parts) <= len(m.sent) && slices.Equal(parts, m.sent[:len(parts)])
}
