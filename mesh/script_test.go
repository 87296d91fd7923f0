package mesh_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// act is what a scripted backend does with one call. The zero value answers with the
// backend's name and what it was sent.
type act struct {
	fail   codes.Code        // and the HTTP status that stands for it
	hang   bool              // until the call is cancelled
	reset  bool              // no answer
	early  bool              // a header before the failure
	header map[string]string // of the answer; in gRPC its trailer
}

// scripted is a backend whose n-th call, from 1, does as the script says.
type scripted struct {
	*meshtest.Backend
	name   string
	script func(n int) act

	mu        sync.Mutex
	seen      []http.Header // of each call, as it came
	cancelled int           // calls that hung and were cancelled
	changed   chan struct{}
}

// scripted starts a backend of the protocol.
func (p protocol) scripted(tb testing.TB, name string, script func(n int) act) *scripted {
	s := &scripted{name: name, script: script, changed: make(chan struct{}, 1000)}
	if p.name == "grpc" {
		s.Backend = meshtest.GRPC(tb, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(s.serveGRPC))
	} else {
		s.Backend = meshtest.HTTP(tb, s)
	}
	return s
}

// next takes a call.
func (s *scripted) next(h http.Header) act {
	s.mu.Lock()
	s.seen = append(s.seen, h)
	n := len(s.seen)
	s.mu.Unlock()
	return s.script(n)
}

// headers are the values of a header in each call.
func (s *scripted) headers(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var values []string
	for _, h := range s.seen {
		values = append(values, h.Get(name))
	}
	return values
}

func (s *scripted) hang(ctx context.Context) {
	<-ctx.Done()
	s.mu.Lock()
	s.cancelled++
	s.mu.Unlock()
	s.changed <- struct{}{}
}

// awaitCancelled waits until n calls were cancelled.
func (s *scripted) awaitCancelled(t *testing.T, n int) {
	t.Helper()
	ctx := within(t, long)
	for {
		s.mu.Lock()
		got := s.cancelled
		s.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			t.Fatalf("%d calls were cancelled, want %d", got, n)
		}
	}
}

func (s *scripted) serveGRPC(_ any, stream grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	h := http.Header{}
	for k, v := range md {
		h[http.CanonicalHeaderKey(k)] = v
	}
	do := s.next(h)
	if do.early {
		if err := stream.SendHeader(metadata.Pairs("early", "1")); err != nil {
			return err
		}
	}
	trailer := metadata.Pairs("end", s.name)
	for k, v := range do.header {
		trailer.Append(k, v)
	}
	stream.SetTrailer(trailer)
	switch {
	case do.hang:
		s.hang(stream.Context())
		return stream.Context().Err()
	case do.reset:
		s.Kill()
		return nil
	case do.fail != codes.OK:
		return status.Error(do.fail, "scripted by "+s.name)
	}
	_ = stream.SetHeader(metadata.Pairs("backend", s.name))
	var got []string
	for {
		in := new(wrapperspb.StringValue)
		err := stream.RecvMsg(in)
		if errors.Is(err, io.EOF) {
			return stream.SendMsg(wrapperspb.String(s.name + strings.Join(got, "")))
		} else if err != nil {
			return err
		}
		got = append(got, in.GetValue())
	}
}

// statusOf are the HTTP statuses that stand for failures.
var statusOf = map[codes.Code]int{codes.Unavailable: 503, codes.Internal: 500, codes.ResourceExhausted: 429, codes.NotFound: 404}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	do := s.next(r.Header.Clone())
	for k, v := range do.header {
		w.Header().Set(k, v)
	}
	switch {
	case do.hang:
		_, _ = io.Copy(io.Discard, r.Body)
		s.hang(r.Context())
		return
	case do.reset:
		panic(http.ErrAbortHandler)
	case do.fail != codes.OK:
		w.Header().Set("Content-Length", strconv.Itoa(10_000))
		w.WriteHeader(statusOf[do.fail])
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, s.name+string(body))
	if do.header["stall"] != "" {
		_ = http.NewResponseController(w).Flush()
		s.hang(r.Context())
	}
}

// failFirst is a script that fails its first n calls.
func failFirst(n int) func(int) act {
	return func(i int) act {
		if i <= n {
			return act{fail: codes.Unavailable}
		}
		return act{}
	}
}

// responseHeader calls target once and returns a view of the response's header.
func responseHeader(t *testing.T, p protocol, m *mesh.Mesh, target string) func(name string) string {
	t.Helper()
	if p.name == "grpc" {
		var md metadata.MD
		if err := dial(t, m, target).Invoke(within(t, long), "/a/b", wrapperspb.String("7"), new(wrapperspb.StringValue), grpc.Header(&md)); err != nil {
			t.Fatal(err)
		}
		return func(name string) string { return strings.Join(md.Get(name), ",") }
	}
	req, err := http.NewRequestWithContext(within(t, long), http.MethodGet, "http://"+target+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := m.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get
}

// httpStalling begins its responses and does not go on.
func httpStalling(tb testing.TB) *meshtest.Backend {
	return meshtest.HTTP(tb, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
}
