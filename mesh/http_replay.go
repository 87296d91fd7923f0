package mesh

import (
	"io"
	"net/http"
	"sync"

	"github.com/weft-mesh/weft/mesh/internal/call"
)

// replay keeps what was read of a request's body, so that further attempts can send it
// again, until that is too much. Attempts may read it at the same time; each reads on where
// what is kept ends, and keeps that for the others.
type replay struct {
	call   *call.Call
	source io.ReadCloser

	reading sync.Mutex // held while the source is read

	mu      sync.Mutex
	moves   sync.Cond // held, or a reader is closed or abandoned
	held    bool      // readers wait
	kept    []byte
	err     error           // with which the source ended
	lost    *replayReader   // the one that read more than is kept; nil for none
	open    int             // readers that are not closed
	readers []*replayReader // since the last were abandoned
	done    bool            // there will be no more readers
	closed  bool            // the source is
}

// replayed returns a copy of req whose body is kept, and what keeps it.
func replayed(c *call.Call, req *http.Request) (*http.Request, *replay) {
	b := &replay{call: c, source: req.Body}
	b.moves.L = &b.mu
	r := *req
	r.Body = b.reader()
	return &r, b
}

// reader returns the body from its beginning, nil if that is lost.
func (b *replay) reader() *replayReader {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost != nil {
		return nil
	}
	b.open++
	r := &replayReader{replay: b}
	b.readers = append(b.readers, r)
	return r
}

// hold has readers wait, so that what becomes of an answer can be decided on though its
// request is still being sent: a server may answer before it has read all.
func (b *replay) hold() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = true
}

// abandon ends what readers there are, for the attempt that comes next. What they read
// meanwhile, which is no more than they were asked for, is kept for it above any limit.
func (b *replay) abandon() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.readers {
		r.abandoned = true
	}
	b.readers, b.held = b.readers[:0], false
	b.moves.Broadcast()
}

// finish says that there will be no more readers.
func (b *replay) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.held = true, false
	b.moves.Broadcast()
	b.closeUnused()
}

// closeUnused closes the source once nobody reads it any more. The caller holds b.mu.
func (b *replay) closeUnused() {
	if b.done && b.open == 0 && !b.closed {
		b.closed = true
		b.kept = nil
		b.call.Forget()
		_ = b.source.Close()
	}
}

// replayReader is the body as one attempt sends it.
type replayReader struct {
	*replay
	at int // in kept

	// Guarded by replay.mu.
	closed, abandoned bool
}

func (r *replayReader) Read(p []byte) (int, error) {
	if n, err := r.readKept(p); n > 0 || err != nil {
		return n, err
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	if n, err := r.readKept(p); n > 0 || err != nil {
		return n, err // another reader was quicker
	}
	n, err := readBody(r.source, p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	switch {
	case n == 0 || r.lost != nil || r.replay.closed: // nothing is kept once all is over
	case r.held || r.closed || r.abandoned: // somebody else's to send, or nobody's
		r.kept = append(r.kept, p[:n]...)
		r.at += n
	case r.done && r.open == 1, !r.call.Keep(n):
		r.lost = r
	default:
		r.kept = append(r.kept, p[:n]...)
		r.at += n
	}
	return n, err
}

// readKept reads what is kept, or returns why there can be no more; nothing if the source
// has to be read.
func (r *replayReader) readKept(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.held && !r.closed && !r.abandoned {
		r.moves.Wait()
	}
	switch {
	case r.closed, r.abandoned:
		return 0, http.ErrBodyReadAfterClose
	case r.at < len(r.kept):
		n := copy(p, r.kept[r.at:])
		r.at += n
		return n, nil
	case r.lost != nil && r.lost != r:
		return 0, errBodySent
	default:
		return 0, r.err
	}
}

// Close ends the attempt's reading; the source stays open for others.
func (r *replayReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.open--
		r.moves.Broadcast()
		r.closeUnused()
	}
	return nil
}
