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

	mu      sync.Mutex
	moves   sync.Cond // what readers wait for may have come
	reading bool      // the source is being read
	kept    []byte
	err     error         // with which the source ended
	lost    *replayReader // the one that read more than is kept; nil for none
	open    int           // readers that are not closed
	done    bool          // there will be no more attempts
}

// upload is what an attempt sends of the body, by one reader after another.
type upload struct {
	// Guarded by replay.mu.
	held      bool // readers wait
	abandoned bool // readers end
}

// replayed returns a copy of req whose body is kept, and what keeps it.
func replayed(c *call.Call, req *http.Request) (*http.Request, *replay) {
	b := &replay{call: c, source: req.Body}
	b.moves.L = &b.mu
	r := *req
	r.Body = b.reader(&upload{})
	return &r, b
}

// reader returns the body from its beginning; nil if that is lost, or of use to nobody.
func (b *replay) reader(u *upload) *replayReader {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost != nil || b.done {
		return nil
	}
	b.open++
	return &replayReader{replay: b, upload: u}
}

// hold has the readers of an attempt wait, so that what becomes of its answer can be decided
// on though its request is still being sent: a server may answer before it has read all.
func hold(attempt *http.Request) {
	if r, ok := attempt.Body.(*replayReader); ok {
		r.hold()
	}
}

func (r *replayReader) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = true
}

// abandon ends the readers of an attempt that is not the call's. What they read meanwhile,
// which is no more than they were asked for, is kept for other attempts above any limit.
func abandon(attempt *http.Request) {
	if r, ok := attempt.Body.(*replayReader); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.abandoned = true
	}
}

// finish says that there will be no more attempts, and none waits any more.
func (b *replay) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
	b.moves.Broadcast()
	b.closeUnused()
}

// closeUnused closes the source once nobody reads it any more, nor will. The caller holds
// b.mu.
func (b *replay) closeUnused() {
	if b.done && b.open == 0 {
		b.forget()
		_ = b.source.Close()
	}
}

// forget lets go of what is kept. The caller holds b.mu.
func (b *replay) forget() {
	b.kept = nil
	b.call.Forget()
}

// replayReader is the body as an attempt sends it.
type replayReader struct {
	*replay
	*upload
	at int // in kept

	ended bool // Close was called; guarded by replay.mu
}

func (r *replayReader) Read(p []byte) (int, error) {
	if n, ok, err := r.readKept(p); ok {
		return n, err
	}
	n, err := readBody(r.source, p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading, r.err = false, err
	r.moves.Broadcast()
	switch {
	case r.lost != nil:
	case r.waits() || r.ended || r.abandoned: // somebody else's to send, or nobody's
		r.kept = append(r.kept, p[:n]...)
		r.at += n
	case r.done:
		r.forget()
	case !r.call.Keep(n):
		r.lost = r
	default:
		r.kept = append(r.kept, p[:n]...)
		r.at += n
	}
	return n, err
}

// readKept reads what is kept, or returns why there can be no more; false if the source is
// the reader's to read.
func (r *replayReader) readKept(p []byte) (n int, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.ended, r.abandoned:
			return 0, true, http.ErrBodyReadAfterClose
		case r.waits():
		case r.at < len(r.kept):
			n := copy(p, r.kept[r.at:])
			r.at += n
			return n, true, nil
		case r.lost != nil && r.lost != r:
			return 0, true, errBodySent
		case r.err != nil:
			return 0, true, r.err
		case !r.reading:
			r.reading = true
			return 0, false, nil
		}
		r.moves.Wait()
	}
}

// waits reports whether the reader waits. The caller holds replay.mu.
func (r *replayReader) waits() bool { return r.held && !r.done }

// Close ends the reader; the source stays open for others.
func (r *replayReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.ended = true
		r.open--
		r.moves.Broadcast()
		r.closeUnused()
	}
	return nil
}
