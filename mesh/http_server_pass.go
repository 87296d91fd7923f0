package mesh

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/body"
)

// inboundReader is a request's body as filters made it. What they end it with is the answer
// to the request, if there is none yet.
type inboundReader struct {
	io.ReadCloser
	failed atomic.Pointer[error]
}

func (b *inboundReader) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && filter.ReplyOf(err) != nil {
		b.failed.Store(&err)
	}
	return n, err
}

// passed returns req with the body that the filters made of its own, and that.
func (h *handler) passed(req *http.Request, given, made filter.Body) (*http.Request, *inboundReader) {
	r := *req
	b := &inboundReader{}
	b.ReadCloser, r.ContentLength = madeBody(given, made)
	r.Body, r.TransferEncoding = b, nil
	if len(r.Header["Content-Length"]) > 0 {
		r.Header = maps.Clone(r.Header)
		delete(r.Header, "Content-Length")
		if r.ContentLength >= 0 {
			r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
		}
	}
	return &r, b
}

// passingWriter is the response to a request whose body filters may want to see. The
// handler writes it; a goroutine, which ends with the response, has it pass the filters
// and writes what they make of it. So header and body may wait for each other.
type passingWriter struct {
	*inboundWriter
	request *inboundReader // nil if filters leave the request's body alone
	header  http.Header    // the handler's
	wrote   bool           // the handler wrote the header
	bare    bool           // there is no body, by the method or the status
	pipe    *body.Pipe     // what the handler writes
	made    atomic.Pointer[filter.Body]

	done    chan struct{} // closed when the goroutine has ended
	aborted bool          // then: the response broke off
}

func newPassingWriter(w *inboundWriter, request *inboundReader) *passingWriter {
	return &passingWriter{inboundWriter: w, request: request, header: w.Header().Clone(), pipe: body.NewPipe(), done: make(chan struct{})}
}

func (w *passingWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// Unwrap hides the server's own writer, past which the filters would see nothing.
func (w *passingWriter) Unwrap() http.ResponseWriter { return hidden{w.inboundWriter.ResponseWriter} }

// hidden is a writer of which http.ResponseController finds only deadlines.
type hidden struct{ http.ResponseWriter }

func (w *passingWriter) WriteHeader(status int) {
	switch {
	case w.wrote, w.hijacked:
		return
	case status < 200 && status != http.StatusSwitchingProtocols:
		maps.Copy(w.ResponseWriter.Header(), w.header)
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.wrote = true
	w.bare = status < 200 || status == http.StatusNoContent || status == http.StatusNotModified || w.req.Method == http.MethodHead
	header := w.Header().Clone()
	go w.respond(status, header)
}

// respond has the response pass the filters.
func (w *passingWriter) respond(status int, header http.Header) {
	defer close(w.done)
	defer func() { _ = w.pipe.Close() }()
	if !w.bare {
		w.call.ShowBody(w.pipe)
	}
	if w.request != nil && w.request.failed.Load() != nil {
		w.refuse(*w.request.failed.Load())
		return
	}
	out, err := w.call.Response(w.req.Context(), filter.OwnHTTPHeader(header), status)
	if err != nil {
		w.refuse(err)
		return
	}
	given, made := w.call.ResponseBody()
	to := w.ResponseWriter.Header()
	clear(to)
	maps.Copy(to, out)
	sized := false
	if made != given && !w.bare {
		delete(to, "Content-Length")
		if made == nil {
			made = filter.BodyOf(nil)
		}
		var length int
		if length, sized = filter.BodyLen(made); sized {
			to.Set("Content-Length", strconv.Itoa(length))
		}
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
	if w.bare || made == nil {
		return
	}
	w.made.Store(&made)
	for {
		piece, err := made.Next()
		if err != nil {
			w.aborted = err != io.EOF //nolint:errorlint // as of any body
			_ = made.Close()
			return
		}
		if paced := w.call.Pace(); paced != nil {
			_, err = w.writePaced(paced, piece)
		} else {
			_, err = w.ResponseWriter.Write(piece)
		}
		if err == nil && !sized {
			_ = http.NewResponseController(w.ResponseWriter).Flush()
		}
		if err != nil {
			_ = made.Close()
			return
		}
	}
}

// maxWrite bounds the pieces of what a handler writes, in bytes.
const maxWrite = 32 << 10

func (w *passingWriter) Write(p []byte) (written int, err error) {
	if !w.wrote {
		w.sniff(p)
		w.WriteHeader(http.StatusOK)
	}
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	if w.bare {
		if w.req.Method == http.MethodHead {
			return len(p), nil
		}
		return 0, http.ErrBodyNotAllowed
	}
	for piece := range slices.Chunk(p, maxWrite) {
		if w.pipe.Write(slices.Clone(piece)) != nil {
			return written, errResponseRefused
		}
		written += len(piece)
	}
	return written, nil
}

// sniff sets the type of the response as net/http does, which gets it only with what the
// filters make of it.
func (w *passingWriter) sniff(p []byte) {
	h := w.Header()
	if _, ok := h["Content-Type"]; !ok && len(p) > 0 && h.Get("Content-Encoding") == "" && h.Get("Transfer-Encoding") == "" {
		h.Set("Content-Type", http.DetectContentType(p))
	}
}

// ReadFrom implements io.ReaderFrom.
func (w *passingWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// Flush implements http.Flusher. What passed the filters has been flushed.
func (w *passingWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController flushes by.
func (w *passingWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return nil
}

// Hijack implements http.Hijacker, for connections on which nothing was written.
func (w *passingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.wrote {
		return nil, nil, http.ErrHijacked
	}
	return w.inboundWriter.Hijack()
}

// finish ends a response that the handler has done with, or left by a panic.
func (w *passingWriter) finish(panicked bool) {
	if w.hijacked {
		return
	}
	if !w.wrote {
		if panicked {
			return
		}
		w.WriteHeader(http.StatusOK)
	}
	trailer, declared := takeTrailer(w.Header())
	if panicked {
		_ = w.pipe.Close()
		if made := w.made.Load(); made != nil {
			_ = (*made).Close()
		}
	} else {
		if len(trailer) > 0 {
			w.call.Trailed(filter.OwnHTTPHeader(trailer))
		}
		w.pipe.End()
	}
	<-w.done
	switch {
	case panicked, w.refused:
	case w.aborted:
		panic(http.ErrAbortHandler)
	case len(trailer) > 0:
		putTrailer(w.ResponseWriter.Header(), w.call.Trailer(filter.OwnHTTPHeader(trailer)), declared)
	}
}
