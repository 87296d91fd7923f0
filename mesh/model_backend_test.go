package mesh_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// move is what a modelled backend does with one attempt: it reads so much of the request,
// or all if there is not so much, and then does as it is told.
type move struct {
	read   int // messages, or bytes; all for -1
	do     ending
	status codes.Code // of the lastEnding that have one; in HTTP what stands for it
	never  bool       // pushback: not again
}

// ending is how an answer ends.
type ending int

const (
	endAnswer     ending = iota // header, answer, status
	endFail                     // a status and nothing else
	endFailBegun                // a status after the header
	endReset                    // no answer
	endResetBegun               // none after the header
	endHang                     // until it is cancelled
	lastEnding
)

func (m move) String() string {
	return fmt.Sprintf("{reads %d, %s %v %v}", m.read, [...]string{"answers", "fails", "fails begun", "resets", "resets begun", "hangs"}[m.do], m.status, m.never)
}

// modelled is a backend whose n-th attempt, from 0, gets the n-th move, or the last.
type modelled struct {
	moves []move

	mu  sync.Mutex
	got []received
}

// received is what an attempt was seen to send.
type received struct {
	parts []string
	all   bool   // to its end
	count string // by its header
}

func (b *modelled) attempts() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]received(nil), b.got...)
}

// restart has the attempts from now on be the first ones again.
func (b *modelled) restart(moves []move) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moves, b.got = moves, nil
}

// next takes an attempt.
func (b *modelled) next(count string) (int, move) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, received{count: count})
	n := len(b.got)
	return n, b.moves[min(n, len(b.moves))-1]
}

func (b *modelled) read(n int, part string, end bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &b.got[n-1]
	if end {
		r.all = true
	} else {
		r.parts = append(r.parts, part)
	}
}

// ServeHTTP speaks gRPC by hand, because grpc.Server resets no streams.
func (b *modelled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, m := b.next(r.Header.Get(previousAttempts))
	var answer []string
	for i := 0; i != m.read; i++ {
		text, err := readMessage(r.Body)
		if errors.Is(err, io.EOF) {
			b.read(n, "", true)
			break
		} else if err != nil {
			panic(http.ErrAbortHandler)
		}
		b.read(n, text, false)
		answer = append(answer, text)
	}
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Attempt", strconv.Itoa(n))
	if m.do == endAnswer || m.do == endFailBegun || m.do == endResetBegun {
		_ = http.NewResponseController(w).Flush()
	}
	switch m.do {
	case endHang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case endReset, endResetBegun:
		panic(http.ErrAbortHandler)
	case endAnswer:
		for _, text := range answer {
			writeMessage(w, text)
		}
	}
	prefix := http.TrailerPrefix
	if m.do == endFail {
		prefix = "" // the one block of headers has all
	}
	h.Set(prefix+"Grpc-Status", strconv.Itoa(int(m.status)))
	h.Set(prefix+"End", strconv.Itoa(n))
	if m.never {
		h.Set(prefix+"Grpc-Retry-Pushback-Ms", "-1")
	}
}

const previousAttempts = "Grpc-Previous-Rpc-Attempts"

func readMessage(r io.Reader) (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	raw := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(r, raw); err != nil {
		return "", err
	}
	m := new(wrapperspb.StringValue)
	err := proto.Unmarshal(raw, m)
	return m.GetValue(), err
}

func writeMessage(w io.Writer, text string) {
	raw, _ := proto.Marshal(wrapperspb.String(text))
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(raw))), raw...))
}

// serveMemory serves h by HTTP/1.1 and h2c at an address of a network in memory, until the
// function that it returns is called.
func serveMemory(tb testing.TB, n *memory, address string, h http.Handler) (stop func()) {
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	l := n.listen(tb, address)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	return func() {
		_ = s.Close()
		done.Wait()
	}
}
