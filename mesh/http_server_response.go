package mesh

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// inboundWriter is the response to a request that filters follow.
type inboundWriter struct {
	http.ResponseWriter
	call   *call.Call
	server *server
	req    *http.Request

	status   int  // 0 before the header is written
	hijacked bool // the connection is the handler's
	refused  bool // a filter put another in place of the handler's
}

// errResponseRefused is what a handler gets for writing a response that a filter refused.
var errResponseRefused = errors.New("weft: a filter refused the response")

// Unwrap returns the server's own writer, for http.ResponseController.
func (w *inboundWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *inboundWriter) WriteHeader(status int) {
	switch {
	case w.refused:
		return
	case w.status != 0, w.hijacked, status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	if !w.call.FollowsResponse() {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	// It is changed in place, being the map that the server sends.
	if _, err := w.call.Response(w.req.Context(), filter.OwnHTTPHeader(w.Header()), status); err != nil {
		w.refuse(err)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// refuse answers with err in place of the response.
func (w *inboundWriter) refuse(err error) {
	clear(w.Header())
	reply := replyTo(w.server.outside(w.call, err))
	w.status, w.refused = reply.HTTPStatus(), true
	writeReply(w.ResponseWriter, reply)
}

// begin writes the header if that is still to be done.
func (w *inboundWriter) begin() error {
	if w.status == 0 && !w.hijacked {
		w.WriteHeader(http.StatusOK)
	}
	if w.refused {
		return errResponseRefused
	}
	return nil
}

func (w *inboundWriter) Write(p []byte) (int, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	if paced := w.call.Pace(); paced != nil {
		return w.writePaced(paced, p)
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, by which files are sent without being read.
func (w *inboundWriter) ReadFrom(r io.Reader) (int64, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	if paced := w.call.Pace(); paced != nil {
		return io.Copy(pacedWriter{w, paced}, r)
	}
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements http.Flusher.
func (w *inboundWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController flushes by.
func (w *inboundWriter) FlushError() error {
	if err := w.begin(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker. The error is http.ErrNotSupported if the connection
// cannot be had.
func (w *inboundWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = w.hijacked || err == nil
	return conn, rw, err
}

// finish ends a response that the handler has done with.
func (w *inboundWriter) finish() {
	if w.hijacked || !w.call.Follows() {
		return
	}
	if w.begin() != nil || !w.call.FollowsTrailer() {
		return
	}
	trailer, declared := takeTrailer(w.Header())
	if len(trailer) > 0 {
		putTrailer(w.Header(), w.call.Trailer(filter.OwnHTTPHeader(trailer)), declared)
	}
}

// takeTrailer takes the trailer out of a response's header, and says which names of it the
// header declares.
func takeTrailer(header http.Header) (trailer http.Header, declared map[string]bool) {
	trailer, declared = http.Header{}, map[string]bool{}
	for _, list := range header["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if declared[name] = true; len(header[name]) > 0 {
				trailer[name] = header[name]
				delete(header, name)
			}
		}
	}
	for name, values := range header {
		if plain, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			trailer[plain] = values
			delete(header, name)
		}
	}
	return trailer, declared
}

// putTrailer puts a trailer where net/http looks for it.
func putTrailer(header, trailer http.Header, declared map[string]bool) {
	for name, values := range trailer {
		if !declared[name] {
			name = http.TrailerPrefix + name
		}
		header[name] = values
	}
}
