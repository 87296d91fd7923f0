package grpcgo

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/interop/internal/scripted"
)

// turn is what becomes of one attempt.
type turn struct {
	// After is how many messages of the request it waits for; negative is all of them.
	After int
	// Headers come ahead of the end, and Messages after them.
	Headers  bool
	Messages int
	End      end
	// Code is that of an end by status: in the only block of headers if there are neither
	// Headers nor Messages.
	Code codes.Code
	// Pushback are the values of grpc-retry-pushback-ms, in the same block.
	Pushback []string
}

// end is how a turn ends.
type end string

const (
	byStatus end = ""
	// bare is HTTP's 503 without anything of gRPC.
	bare end = "HTTP 503"
	// refuses and fails are of the stream: REFUSED_STREAM and INTERNAL_ERROR.
	refuses end = "REFUSED_STREAM"
	fails   end = "INTERNAL_ERROR"
	// goesAway says that this stream was not looked at; a new connection is to be made.
	goesAway end = "GOAWAY"
	// drops loses the connection.
	drops end = "reset"
	// hangs says nothing until the caller gives up.
	hangs end = "hang"
)

// script is what becomes of the attempts of one call, in turn; the last is for all that
// follow.
type script []turn

// attempt is what the backend saw of one attempt.
type attempt struct {
	Previous string // grpc-previous-rpc-attempts
	Request  []int  // the sizes of its messages, if the turn was to wait for all
}

// callHeader says which call an attempt is of.
const callHeader = "x-call"

// backend is one that speaks gRPC by hand.
type backend struct {
	*scripted.Listener

	mu       sync.Mutex
	scripts  map[string]script
	attempts map[string][]attempt
}

// newScripted serves until the test ends.
func newScripted(t *testing.T) *backend {
	s := &backend{Listener: scripted.Listen(t), scripts: map[string]script{}, attempts: map[string][]attempt{}}
	s.Serve(s.serve)
	return s
}

// open has attempts of a call go by a script.
func (s *backend) open(id string, sc script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[id] = sc
}

// seen are the attempts that came of a call.
func (s *backend) seen(id string) []attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts[id]
}

// enter counts an attempt in and returns its turn, and where to note what it is sent.
func (s *backend) enter(id, previous string) (turn, func(request []int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, sc := len(s.attempts[id]), s.scripts[id]
	s.attempts[id] = append(s.attempts[id], attempt{Previous: previous})
	if len(sc) == 0 {
		return turn{After: -1, Messages: 1}, func([]int) {}
	}
	return sc[min(n, len(sc)-1)], func(request []int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.attempts[id][n].Request = request
	}
}

// scriptedConn is a connection. One goroutine reads its frames.
type scriptedConn struct {
	net.Conn
	backend *backend

	mu      sync.Mutex
	more    sync.Cond // something came
	streams map[uint32]*scriptedStream
	over    bool
	framer  *http2.Framer // for writing
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// scriptedStream is an attempt.
type scriptedStream struct {
	conn    *scriptedConn
	id      uint32
	data    []byte // that is not a whole message yet
	request []int
	ended   bool
	gone    bool
}

func (s *backend) serve(c net.Conn, in *bufio.Reader) {
	if _, err := io.CopyN(io.Discard, in, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	h := &scriptedConn{Conn: c, backend: s, streams: map[uint32]*scriptedStream{}, framer: http2.NewFramer(c, in)}
	h.more.L = &h.mu
	h.encoder = hpack.NewEncoder(&h.block)
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.write(func() { _ = h.framer.WriteSettings() })
	for {
		f, err := h.framer.ReadFrame()
		if err != nil {
			break
		}
		h.write(func() { h.read(f) })
	}
	h.write(func() { h.over = true })
}

// write may write frames, and change what streams wait for.
func (h *scriptedConn) write(frames func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	frames()
	h.more.Broadcast()
}

func (h *scriptedConn) read(f http2.Frame) {
	s := h.streams[f.Header().StreamID]
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = h.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = h.framer.WritePing(true, f.Data)
		}
	case *http2.MetaHeadersFrame:
		s = &scriptedStream{conn: h, id: f.StreamID, ended: f.StreamEnded()}
		h.streams[s.id] = s
		var id, previous string
		for _, field := range f.RegularFields() {
			switch field.Name {
			case callHeader:
				id = field.Value
			case "grpc-previous-rpc-attempts":
				previous = field.Value
			}
		}
		do, note := h.backend.enter(id, previous)
		h.backend.Go(func() { s.play(do, note) })
	case *http2.DataFrame:
		if n := uint32(len(f.Data())); n > 0 {
			_ = h.framer.WriteWindowUpdate(0, n)
			if s != nil && !f.StreamEnded() {
				_ = h.framer.WriteWindowUpdate(s.id, n)
			}
		}
		if s != nil {
			s.receive(f.Data())
			s.ended = f.StreamEnded()
		}
	case *http2.RSTStreamFrame:
		if s != nil {
			s.gone = true
		}
	}
}

// receive takes the messages out of what came.
func (s *scriptedStream) receive(data []byte) {
	s.data = append(s.data, data...)
	for len(s.data) >= 5 {
		n := int(binary.BigEndian.Uint32(s.data[1:]))
		if len(s.data) < 5+n {
			return
		}
		s.request, s.data = append(s.request, n), s.data[5+n:]
	}
}

// await returns when the condition holds, or false if there is nobody left.
func (s *scriptedStream) await(holds func() bool) bool {
	h := s.conn
	h.mu.Lock()
	defer h.mu.Unlock()
	for !holds() && !s.gone && !h.over {
		h.more.Wait()
	}
	return holds()
}

func (s *scriptedStream) play(do turn, note func([]int)) {
	h := s.conn
	if !s.await(func() bool { return s.ended || do.After >= 0 && len(s.request) >= do.After }) {
		return
	}
	if do.After < 0 {
		note(s.request)
	}
	header := []string{":status", "200", "content-type", "application/grpc"}
	if do.Headers || do.Messages > 0 {
		s.headers(false, header...)
		header = nil
	}
	for n := range do.Messages {
		s.message(strconv.Itoa(n))
	}
	switch do.End {
	case byStatus:
		header = append(header, "grpc-status", strconv.Itoa(int(do.Code)))
		for _, v := range do.Pushback {
			header = append(header, "grpc-retry-pushback-ms", v)
		}
		s.headers(true, header...)
		h.write(func() {
			if !s.ended { // that the rest of the request is not wanted
				_ = h.framer.WriteRSTStream(s.id, http2.ErrCodeNo)
			}
		})
	case bare:
		s.headers(true, ":status", "503")
	case refuses:
		h.write(func() { _ = h.framer.WriteRSTStream(s.id, http2.ErrCodeRefusedStream) })
	case fails:
		h.write(func() { _ = h.framer.WriteRSTStream(s.id, http2.ErrCodeInternal) })
	case goesAway: // the peer closes the connection
		h.write(func() { _ = h.framer.WriteGoAway(scripted.Before(s.id), http2.ErrCodeNo, nil) })
	case drops:
		scripted.Lose(h.Conn)
	case hangs:
		s.await(func() bool { return false })
	}
}

func (s *scriptedStream) headers(last bool, fields ...string) {
	h := s.conn
	h.write(func() {
		h.block.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = h.encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(fields[i]), Value: fields[i+1]})
		}
		_ = h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: h.block.Bytes(), EndHeaders: true, EndStream: last})
	})
}

// message sends a StringValue.
func (s *scriptedStream) message(text string) {
	s.conn.write(func() { _ = s.conn.framer.WriteData(s.id, false, scripted.Message(text)) })
}
