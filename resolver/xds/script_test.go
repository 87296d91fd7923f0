package xds_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/resolver/xds"
)

// The types of the tests: a resource is the text "name=value". One whose value
// begins with "bad" is bad; without "=" not even its name can be read.
const (
	listenerURL = "type.googleapis.com/test.Listener"  // all required in SotW
	endpointURL = "type.googleapis.com/test.Endpoints" // not
)

// decoder is the Decode of the test types. It counts.
type decoder struct {
	mu    sync.Mutex
	calls int
}

func (d *decoder) decode(raw []byte) (string, any, error) {
	d.mu.Lock()
	d.calls++
	d.mu.Unlock()
	name, value, ok := strings.Cut(string(raw), "=")
	switch {
	case !ok:
		return "", nil, fmt.Errorf("cannot read %q", raw)
	case value == "panic":
		panic("a decoder with a bug")
	case strings.HasPrefix(value, "bad"):
		return name, nil, fmt.Errorf("filters[2].config: %s", value)
	}
	return name, value, nil
}

func (d *decoder) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// script is a control plane whose lines the test speaks. It is the client's
// TransportBuilder and each of its transports.
type script struct {
	t       *testing.T
	decoder decoder

	mu      sync.Mutex
	refuse  map[string]error // by method; "" for all: NewStream fails
	opened  chan *line
	methods []string // of all streams asked for, refused ones too
	built   []xds.ServerConfig
	closed  int
}

func newScript(t *testing.T) *script {
	return &script{t: t, opened: make(chan *line, 100), refuse: make(map[string]error)}
}

func (s *script) Build(c xds.ServerConfig) (xds.Transport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.built = append(s.built, c)
	return scriptTransport{s, c.URI}, nil
}

type scriptTransport struct {
	*script
	uri string
}

func (s scriptTransport) NewStream(ctx context.Context, method string) (xds.Stream, error) {
	if err := s.note(method); err != nil {
		return nil, err
	}
	l := &line{
		t: s.t, ctx: ctx, uri: s.uri, method: method,
		requests: make(chan []byte, 100), responses: make(chan []byte, 100),
		over: make(chan error, 1), unread: make(chan struct{}), accepted: make(chan struct{}),
	}
	s.opened <- l
	select {
	case <-l.accepted:
		return l, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *script) note(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.methods = append(s.methods, method)
	return cmp.Or(s.refuse[""], s.refuse[method])
}

func (s scriptTransport) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
}

// refuses makes NewStream fail; a nil error ends that.
func (s *script) refuses(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[method] = err
}

// line is one stream, seen from the server.
type line struct {
	t         *testing.T
	ctx       context.Context
	uri       string
	method    string
	requests  chan []byte
	responses chan []byte
	over      chan error
	accepted  chan struct{} // closed when the test has accepted it
	unread    chan struct{} // closed when the server no longer reads
}

func (l *line) Send(b []byte) error {
	select {
	case <-l.unread:
		<-l.ctx.Done()
		return l.ctx.Err()
	default:
	}
	select {
	case l.requests <- append([]byte(nil), b...):
		return nil
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
}

func (l *line) Recv() ([]byte, error) {
	select {
	case b := <-l.responses:
		return b, nil
	default:
	}
	select {
	case b := <-l.responses:
		return b, nil
	case err := <-l.over:
		return nil, err
	case <-l.ctx.Done():
		return nil, status.FromContextError(l.ctx.Err()).Err()
	}
}

// accept accepts the client's next stream. Until then it is not open: what is
// watched before accept is in the stream's first request.
func (s *script) accept() *line {
	s.t.Helper()
	synctest.Wait()
	select {
	case l := <-s.opened:
		close(l.accepted)
		synctest.Wait()
		return l
	default:
		s.t.Fatal("no stream was opened")
		return nil
	}
}

// end ends the stream from the server's side.
func (l *line) end(err error) {
	l.over <- err
	synctest.Wait()
}

var errReset = status.Error(codes.Unavailable, "connection reset")

// next returns the client's next request, which must have been sent by now.
func next[M proto.Message](l *line, m M) M {
	l.t.Helper()
	synctest.Wait()
	select {
	case b := <-l.requests:
		if err := proto.Unmarshal(b, m); err != nil {
			l.t.Fatal(err)
		}
	default:
		l.t.Fatal("no request was sent")
	}
	return m
}

// wantDelta checks the client's next request.
func (l *line) wantDelta(want *discoveryv3.DeltaDiscoveryRequest) {
	l.t.Helper()
	got := next(l, &discoveryv3.DeltaDiscoveryRequest{})
	if d := gocmp.Diff(want, got, protocmp.Transform()); d != "" {
		l.t.Errorf("request (-want +got):\n%s", d)
	}
}

func (l *line) wantSotW(want *discoveryv3.DiscoveryRequest) {
	l.t.Helper()
	got := next(l, &discoveryv3.DiscoveryRequest{})
	if d := gocmp.Diff(want, got, protocmp.Transform()); d != "" {
		l.t.Errorf("request (-want +got):\n%s", d)
	}
}

// wantSilence checks that the client has sent nothing more.
func (l *line) wantSilence() {
	l.t.Helper()
	synctest.Wait()
	select {
	case b := <-l.requests:
		l.t.Errorf("unexpected request %q", b)
	default:
	}
}

// say sends a response.
func (l *line) say(m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		l.t.Fatal(err)
	}
	l.sayRaw(b)
}

func (l *line) sayRaw(b []byte) {
	l.responses <- b
	synctest.Wait()
}

// body is a resource of a type, "name=value".
func body(typeURL, text string) *anypb.Any {
	return &anypb.Any{TypeUrl: typeURL, Value: []byte(text)}
}

// deltaOf is a delta response with the resources "name=value", all of one version.
func deltaOf(typeURL, nonce, version string, texts ...string) *discoveryv3.DeltaDiscoveryResponse {
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: nonce}
	for _, text := range texts {
		name, _, _ := strings.Cut(text, "=")
		r.Resources = append(r.Resources, &discoveryv3.Resource{Name: name, Version: version, Resource: body(typeURL, text)})
	}
	return r
}

func sotwOf(typeURL, nonce, version string, texts ...string) *discoveryv3.DiscoveryResponse {
	r := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, Nonce: nonce, VersionInfo: version}
	for _, text := range texts {
		r.Resources = append(r.Resources, body(typeURL, text))
	}
	return r
}

func deltaAck(typeURL, nonce string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResponseNonce: nonce}
}

// client makes a client of the script. Backoff is a second, then two, and so on,
// without jitter.
func (s *script) client(change ...func(*xds.Config)) *xds.Client {
	s.t.Helper()
	config := xds.Config{
		Node:    &corev3.Node{Id: "me"},
		Servers: []xds.ServerConfig{{URI: "cp:1"}},
		Types: []xds.ResourceType{
			{URL: listenerURL, Name: "Listener", AllRequiredInSotW: true, Decode: s.decoder.decode},
			{URL: endpointURL, Name: "Endpoints", Decode: s.decoder.decode},
		},
		Transport: s,
		Backoff:   func(attempt int) time.Duration { return time.Duration(attempt+1) * time.Second },
	}
	for _, f := range change {
		f(&config)
	}
	c, err := xds.New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func pin(p xds.Protocol) func(*xds.Config) {
	return func(c *xds.Config) { c.Servers[0].Protocol = p }
}

func failOnDataErrors(c *xds.Config) { c.Servers[0].FailOnDataErrors = true }

// log is a Watcher that writes down what it is told, one line each.
type log struct {
	mu    sync.Mutex
	lines []string
	// hook, if set, is called with each line, in the watcher's call.
	hook func(string)
}

func (l *log) add(line string) {
	l.mu.Lock()
	l.lines = append(l.lines, line)
	l.mu.Unlock()
	if l.hook != nil {
		l.hook(line)
	}
}

func (l *log) ResourceChanged(r xds.Resource) {
	l.add(strings.TrimSuffix(fmt.Sprintf("%s=%v@%s", r.Name, r.Value, r.Version), "@"))
}
func (l *log) ResourceError(err error) { l.add("error: " + err.Error()) }
func (l *log) AmbientError(err error)  { l.add("ambient: " + err.Error()) }

// want checks what the watcher was told since the last want.
func (l *log) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := gocmp.Diff(want, l.lines); d != "" {
		t.Errorf("watcher was told (-want +got):\n%s", d)
	}
	l.lines = nil
}
