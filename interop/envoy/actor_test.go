package envoy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/interop/internal/scripted"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// actor is a backend that speaks HTTP/1.1, HTTP/2 and gRPC by hand, to do also what no
// server does of itself.
type actor struct {
	name  string
	stage *stage
	at    *scripted.Listener
}

// newActor serves until the test ends.
func newActor(t *testing.T, s *stage, name string) *actor {
	a := &actor{name: name, stage: s, at: scripted.Listen(t)}
	a.at.Serve(a.serve)
	return a
}

// endpoint is the actor in an assignment.
func (a *actor) endpoint(t *testing.T) *endpointv3.LbEndpoint {
	return endpoint(t, &meshtest.Backend{Addr: a.at.Addr})
}

func (a *actor) serve(c net.Conn, in *bufio.Reader) {
	if begin, err := in.Peek(4); err != nil {
		return
	} else if string(begin) == http2.ClientPreface[:4] {
		a.serveHTTP2(c, in)
	} else {
		a.serveHTTP1(c, in)
	}
}

func (a *actor) serveHTTP1(c net.Conn, in *bufio.Reader) {
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		p, n, do := a.stage.enter(a.name, req.Header, string(body))
		if p == nil {
			p, n, do = new(stage).dummy()
		}
		if !a.playHTTP1(c, in, p, n, do) {
			return
		}
	}
}

// dummy is the play of a call without a script.
func (*stage) dummy() (*play, int, act) {
	return &play{attempts: make([]attempt, 1), changed: make(chan struct{})}, 1, act{Kind: answers, Status: 200}
}

// playHTTP1 reports whether the connection goes on.
func (a *actor) playHTTP1(c net.Conn, in *bufio.Reader, p *play, n int, do act) bool {
	defer p.leave(n)
	gone := make(chan struct{})
	if do.Until > 0 || do.Kind == hangs || do.Kind == stalls || do.Kind == holds {
		a.at.Go(func() {
			_, _ = in.ReadByte() // there is no pipelining
			close(gone)
		})
	}
	switch do.Kind {
	case drops:
		scripted.Lose(c)
		return false
	case closes:
		return false
	case hangs:
		<-gone
		return false
	}
	if do.Kind == holds {
		p.hold(n, gone)
	}
	if do.Until > 0 {
		p.wait(gone, came(do.Until))
	}
	text := fmt.Sprintf("attempt %d", n)
	length := len(text)
	if do.Kind == breaks || do.Kind == stalls {
		length += 10
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %d\r\n", do.Status, http.StatusText(do.Status), length)
	for i := 0; i < len(do.Header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", do.Header[i], do.Header[i+1])
	}
	fmt.Fprintf(&b, "\r\n%s", text)
	_, _ = c.Write(b.Bytes())
	if do.Kind == stalls {
		<-gone
	}
	// One request to a connection: http.Transport sends idempotent ones again by itself
	// if a connection that was used before is lost.
	return false
}

// serveHTTP2 serves one connection of HTTP/2.
func (a *actor) serveHTTP2(c net.Conn, in *bufio.Reader) {
	if _, err := io.CopyN(io.Discard, in, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	h := &http2Conn{actor: a, c: c, framer: http2.NewFramer(c, in), streams: map[uint32]*http2Stream{}, gone: make(chan struct{})}
	h.encoder = hpack.NewEncoder(&h.block)
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	defer h.playing.Wait()
	defer close(h.gone)
	h.writing.Lock()
	_ = h.framer.WriteSettings()
	h.writing.Unlock()
	for {
		f, err := h.framer.ReadFrame()
		if err != nil {
			return
		}
		h.read(f)
	}
}

// http2Conn is a connection whose frames are read by one goroutine.
type http2Conn struct {
	actor   *actor
	c       net.Conn
	streams map[uint32]*http2Stream
	last    uint32 // the last stream that was begun
	playing sync.WaitGroup
	gone    chan struct{} // the connection is

	writing sync.Mutex
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// http2Stream is a request.
type http2Stream struct {
	conn   *http2Conn
	id     uint32
	header http.Header
	body   bytes.Buffer
	gone   chan struct{} // it was given up, or its connection lost
}

func (h *http2Conn) read(f http2.Frame) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			h.write(func() { _ = h.framer.WriteSettingsAck() })
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			h.write(func() { _ = h.framer.WritePing(true, f.Data) })
		}
	case *http2.MetaHeadersFrame:
		s := &http2Stream{conn: h, id: f.StreamID, header: http.Header{}, gone: make(chan struct{})}
		for _, field := range f.RegularFields() {
			s.header.Add(field.Name, field.Value)
		}
		h.streams[f.StreamID] = s
		h.last = f.StreamID
		if f.StreamEnded() {
			h.play(s)
		}
	case *http2.DataFrame:
		if n := uint32(len(f.Data())); n > 0 {
			h.write(func() {
				_ = h.framer.WriteWindowUpdate(0, n)
				_ = h.framer.WriteWindowUpdate(f.StreamID, n)
			})
		}
		if s := h.streams[f.StreamID]; s != nil {
			s.body.Write(f.Data())
			if f.StreamEnded() {
				h.play(s)
			}
		}
	case *http2.RSTStreamFrame:
		if s := h.streams[f.StreamID]; s != nil {
			close(s.gone)
			delete(h.streams, f.StreamID)
		}
	}
}

func (h *http2Conn) write(frames func()) {
	h.writing.Lock()
	defer h.writing.Unlock()
	frames()
}

func (h *http2Conn) play(s *http2Stream) {
	p, n, do := h.actor.stage.enter(h.actor.name, s.header, s.body.String())
	if p == nil {
		p, n, do = new(stage).dummy()
	}
	h.playing.Go(func() {
		defer p.leave(n)
		s.play(p, n, do)
	})
}

func (s *http2Stream) play(p *play, n int, do act) {
	h := s.conn
	over := make(chan struct{}) // the stream is, or the connection
	h.actor.at.Go(func() {
		select {
		case <-s.gone:
		case <-h.gone:
		}
		close(over)
	})
	switch do.Kind {
	case drops:
		scripted.Lose(h.c)
		return
	case closes:
		h.c.Close()
		return
	case refuses:
		h.write(func() { _ = h.framer.WriteRSTStream(s.id, http2.ErrCodeRefusedStream) })
		return
	case fails:
		h.write(func() { _ = h.framer.WriteRSTStream(s.id, http2.ErrCodeInternal) })
		return
	case goesAway: // the stream before this one is the last that counts
		h.write(func() { _ = h.framer.WriteGoAway(scripted.Before(s.id), http2.ErrCodeNo, nil) })
		h.c.Close()
		return
	case retires:
		h.write(func() { _ = h.framer.WriteGoAway(s.id, http2.ErrCodeNo, nil) })
	case hangs:
		<-over
		return
	}
	if do.Kind == holds {
		p.hold(n, over)
	}
	if do.Until > 0 {
		p.wait(over, came(do.Until))
	}
	text := fmt.Sprintf("attempt %d", n)
	if strings.HasPrefix(s.header.Get("Content-Type"), "application/grpc") {
		s.answerGRPC(text, do)
	} else {
		s.headers(false, append([]string{":status", strconv.Itoa(do.Status)}, do.Header...)...)
		s.data(do.Kind != breaks && do.Kind != stalls, []byte(text))
	}
	switch do.Kind {
	case breaks:
		h.write(func() { _ = h.framer.WriteRSTStream(s.id, http2.ErrCodeInternal) })
	case stalls:
		<-over
	}
}

func (s *http2Stream) answerGRPC(text string, do act) {
	header := append([]string{":status", "200", "content-type", "application/grpc"}, do.Header...)
	trailer := []string{"grpc-status", strconv.Itoa(int(do.Code)), "grpc-message", text}
	switch {
	case do.Kind == bare: // which a proxy may say
		s.headers(true, ":status", strconv.Itoa(do.Status))
	case do.Kind == answers && do.Code != codes.OK:
		s.headers(true, append(header, trailer...)...)
	default:
		s.headers(false, header...)
		if do.Kind == breaks || do.Kind == stalls {
			return
		}
		if do.Kind != late {
			s.data(false, scripted.Message(text))
		}
		s.headers(true, trailer...)
	}
}

func (s *http2Stream) headers(end bool, fields ...string) {
	h := s.conn
	h.write(func() {
		h.block.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = h.encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(fields[i]), Value: fields[i+1]})
		}
		_ = h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: h.block.Bytes(), EndHeaders: true, EndStream: end})
	})
}

func (s *http2Stream) data(end bool, b []byte) {
	s.conn.write(func() { _ = s.conn.framer.WriteData(s.id, end, b) })
}
