package envoy

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/interop/internal/scripted"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// seen is what a backend tells of a request.
type seen struct {
	Backend string
	Method  string
	Path    string // with the query, as on the wire
	Host    string
	Header  http.Header
	Body    string
}

// The headers by which a request tells the backend how to answer.
const (
	wantStatus = "x-want-status" // an HTTP status
	wantFrom   = "x-want-from"   // the backend that is to answer with it, if not all
	wantHeader = "x-want-header" // headers, in the form of a query

	wantTrailer = "x-want-trailer" // the same, of gRPC
)

// newBackend answers requests by HTTP/1.1, HTTP/2 and gRPC with what it saw of them.
func newBackend(t *testing.T, name string) *meshtest.Backend {
	return newRecorder(t, name, func(seen) {})
}

// newRecorder is a backend that tells record, too, with the body of a gRPC call as it
// was on the wire.
func newRecorder(t *testing.T, name string, record func(seen)) *meshtest.Backend {
	return meshtest.HTTP(t, telling(t, name, record))
}

// telling is what such a backend does.
func telling(t *testing.T, name string, record func(seen)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller has gone
		}
		grpc := strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
		s := seen{Backend: name, Method: r.Method, Path: r.RequestURI, Host: r.Host, Header: r.Header.Clone(), Body: string(body)}
		recorded := s
		recorded.Header = s.Header.Clone()
		record(recorded)
		if grpc {
			s.Body = ""
		}
		answer, err := json.Marshal(s)
		if err != nil {
			t.Error(err)
		}
		list, _ := url.ParseQuery(r.Header.Get(wantHeader))
		for name, values := range list {
			for _, v := range values {
				w.Header().Add(name, v)
			}
		}
		if grpc {
			list, _ := url.ParseQuery(r.Header.Get(wantTrailer))
			answerGRPC(w, string(answer), list)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if code, err := strconv.Atoi(r.Header.Get(wantStatus)); err == nil && cmp.Or(r.Header.Get(wantFrom), name) == name {
			w.WriteHeader(code)
		}
		_, _ = w.Write(answer)
	})
}

// answerGRPC sends one message, by hand: grpc.Server shows neither all headers nor
// the authority as they came.
func answerGRPC(w http.ResponseWriter, text string, trailer url.Values) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(scripted.Message(text))
	w.Header().Set("Grpc-Status", "0")
	for name, values := range trailer {
		for _, v := range values {
			w.Header().Add(http.TrailerPrefix+name, v)
		}
	}
}
