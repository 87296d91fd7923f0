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

	mu     sync.Mutex
	kept   []byte
	err    error         // with which the source ended
	lost   *replayReader // the one that read more than is kept; nil for none
	open   int           // readers
	done   bool          // there will be no more readers
	closed bool          // the source is
}

// replayed returns a copy of req whose body is kept, and what keeps it.
func replayed(c *call.Call, req *http.Request) (*http.Request, *replay) {
	b := &replay{call: c, source: req.Body}
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
	return &replayReader{replay: b}
}

// finish says that there will be no more readers.
func (b *replay) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
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
	at     int  // in kept
	closed bool // guarded by replay.mu
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
	switch {
	case r.closed:
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
		r.closeUnused()
	}
	return nil
}
