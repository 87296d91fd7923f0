package xdsserver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/xdsserver/policy"
	"github.com/weft-mesh/weft/xdsserver/store"
)

// wire is a stream without a network: it keeps what is sent.
type wire struct {
	grpc.ServerStream
	ctx  context.Context
	sent [][]byte
}

func (w *wire) Context() context.Context { return w.ctx }

func (w *wire) SendMsg(m any) error {
	w.sent = append(w.sent, m.(*outbound).data.Materialize())
	return nil
}

// desk is a stream whose two goroutines are the test's one.
type desk struct {
	*stream
	wire *wire
}

func newDesk(t testing.TB, s *Server, delta bool) *desk {
	t.Helper()
	w := &wire{ctx: t.Context()}
	st := &stream{server: s, grpc: w, delta: delta, end: make(chan error, 1)}
	if err := s.admit(st); err != nil {
		t.Fatal(err)
	}
	return &desk{st, w}
}

// answer does what the sender does when it wakes, and returns what it sent.
func (d *desk) answer(t testing.TB) [][]byte {
	t.Helper()
	d.wire.sent = nil
	for _, a := range d.answers() {
		if err := d.respond(a); err != nil {
			t.Fatal(err)
		}
	}
	return d.wire.sent
}

func (d *desk) close() {
	d.leave()
	d.server.dismiss(d.stream)
}

// FuzzStream feeds a stream arbitrary requests, changing the resources in between.
// Each input is a list of messages: a byte that says how long it is, and whether
// the resources change first.
func FuzzStream(f *testing.F) {
	program := func(msgs ...proto.Message) (p []byte) {
		for i, m := range msgs {
			b := marshal(f, m)
			p = append(p, byte(len(b))<<1|byte(i&1))
			p = append(p, b...)
		}
		return p
	}
	typ := "t"
	f.Add(true, program(
		&discovery.DeltaDiscoveryRequest{TypeUrl: typ, ResourceNamesSubscribe: []string{"a", "*"}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: typ, ResourceNamesUnsubscribe: []string{"a"}, ResponseNonce: "1"},
		&discovery.DeltaDiscoveryRequest{TypeUrl: typ, ResourceNamesSubscribe: []string{"b", "x"}, ResourceNamesUnsubscribe: []string{"*"}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: typ, ResourceNamesSubscribe: []string{"a", "c"}},
	))
	f.Add(false, program(
		&discovery.DiscoveryRequest{TypeUrl: typ, ResourceNames: []string{"a", "b"}},
		&discovery.DiscoveryRequest{TypeUrl: typ, ResourceNames: []string{"*"}, ResponseNonce: "1"},
		&discovery.DiscoveryRequest{TypeUrl: typ, ResourceNames: []string{"a"}},
		&discovery.DiscoveryRequest{TypeUrl: typ},
	))
	f.Fuzz(func(t *testing.T, delta bool, program []byte) {
		s := New(Options{Logger: discard(), MaxSubscriptionBytes: 4096})
		change := func(n int) {
			list := []*policy.Resource{policy.NewResource(typ, "a", fmt.Append(nil, n)), policy.NewResource(typ, "b", []byte("b"))}
			if n%3 != 0 {
				list = append(list, policy.NewResource(typ, "c", []byte("c")))
			}
			if err := s.Apply(policy.NewResources(list...)); err != nil {
				t.Fatal(err)
			}
		}
		change(0)
		d := newDesk(t, s, delta)
		has := map[string]string{} // what a delta client has of type t
		for n := 1; len(program) > 0; n++ {
			size, changes := int(program[0]>>1), program[0]&1 == 1
			raw := program[1:min(1+size, len(program))]
			program = program[1+len(raw):]
			if changes {
				change(n)
			}
			if req, err := parseDelta(raw); delta && err == nil && d.find(req.typeURL) == nil && req.typeURL == typ {
				maps.Copy(has, req.held)
			}
			if d.handle(raw) != nil {
				break // the stream would end
			}
			for _, b := range d.answer(t) {
				takeDelta(t, delta, b, typ, has)
			}
			d.check(t)
			if sub := d.find(typ); delta && sub != nil {
				checkHas(t, sub, has, s.store.Current().Table(typ))
			}
		}
		d.close()
		if s.store.Watched() {
			t.Error("a stream that left is still in the index")
		}
	})
}

// takeDelta applies a response to what a client has. That it can be decoded is
// checked for both protocols.
func takeDelta(t *testing.T, delta bool, b []byte, typ string, has map[string]string) {
	t.Helper()
	if !delta {
		if err := proto.Unmarshal(b, new(discovery.DiscoveryResponse)); err != nil {
			t.Fatal(err)
		}
		return
	}
	var resp discovery.DeltaDiscoveryResponse
	if err := proto.Unmarshal(b, &resp); err != nil {
		t.Fatal(err)
	}
	if resp.GetTypeUrl() != typ {
		return
	}
	for _, r := range resp.GetResources() {
		has[r.GetName()] = r.GetVersion()
	}
	for _, name := range resp.GetRemovedResources() {
		delete(has, name)
	}
}

// checkHas fails if the client lacks something that it wants, or has something
// that is gone.
func checkHas(t *testing.T, sub *subscription, has map[string]string, table *store.Table) {
	t.Helper()
	for _, r := range table.All() {
		if sub.wants(r.Name()) && has[r.Name()] != r.Version() {
			t.Fatalf("%s: the client has version %q, the server %q", r.Name(), has[r.Name()], r.Version())
		}
	}
	for name := range has {
		if sub.wants(name) && table.Get(name) == nil && !slices.Contains(sub.leaving, name) {
			t.Fatalf("%s: the client has it, the server does not", name)
		}
	}
}

// check looks at what has to be true of a stream at all times.
func (d *desk) check(t *testing.T) {
	t.Helper()
	size := 0
	for _, sub := range d.subs {
		if !slices.IsSorted(sub.names) || len(slices.Compact(slices.Clone(sub.names))) != len(sub.names) {
			t.Fatalf("names %q", sub.names)
		}
		for _, name := range sub.names {
			size += len(name) + nameOverhead
		}
	}
	if size != d.subscribed || size > d.server.opts.MaxSubscriptionBytes {
		t.Fatalf("the names are counted as %d bytes and are %d", d.subscribed, size)
	}
}
