package xds

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const fuzzURL = "type.googleapis.com/test.Listener"

func decodeFuzz(raw []byte) (string, any, error) {
	name, value, ok := strings.Cut(string(raw), "=")
	if !ok {
		return "", nil, errors.New("unreadable")
	}
	if strings.HasPrefix(value, "bad") {
		return name, nil, errors.New("bad")
	}
	return name, value, nil
}

// responses are the seeds of the fuzzing: what servers send on a good and on a bad day.
func responses(f *testing.F, d dialect) [][]byte {
	f.Helper()
	body := func(text string) *anypb.Any { return &anypb.Any{TypeUrl: fuzzURL, Value: []byte(text)} }
	resource := func(name, text string) *discoveryv3.Resource {
		return &discoveryv3.Resource{Name: name, Version: "v2", Resource: body(text)}
	}
	var messages []proto.Message
	if d == delta {
		messages = []proto.Message{
			&discoveryv3.DeltaDiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n", Resources: []*discoveryv3.Resource{
				resource("held", "held=2"), resource("asked", "asked=bad"), resource("asked", "asked=1"), resource("none", "x"),
			}},
			&discoveryv3.DeltaDiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n", RemovedResources: []string{"held", "asked"}},
			&discoveryv3.DeltaDiscoveryResponse{TypeUrl: fuzzURL, ResourceErrors: []*discoveryv3.ResourceError{
				{ResourceName: &discoveryv3.ResourceName{Name: "held"}},
			}},
			&discoveryv3.DeltaDiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n", Resources: []*discoveryv3.Resource{{Name: "held", Version: "v1"}}},
		}
	} else {
		wrapper, err := anypb.New(resource("held", "held=3"))
		if err != nil {
			f.Fatal(err)
		}
		messages = []proto.Message{
			&discoveryv3.DiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n", VersionInfo: "2", Resources: []*anypb.Any{
				body("held=2"), body("asked=bad"), body("asked=1"), body("nameless"), wrapper,
			}},
			&discoveryv3.DiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n", VersionInfo: "3"},
			&discoveryv3.DiscoveryResponse{TypeUrl: fuzzURL, Nonce: "n", Resources: []*anypb.Any{body("held=1")}},
		}
	}
	var all [][]byte
	for _, m := range messages {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, b, b[:len(b)*2/3])
	}
	return all
}

// FuzzDelta and FuzzSotW let a server say anything. Nothing panics; what is held
// stays held; a good resource in front of whatever was said is taken; and every
// answer can be sent.
func FuzzDelta(f *testing.F) {
	for _, b := range responses(f, delta) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		good, err := proto.Marshal(&discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: fuzzURL, Nonce: "good", Resources: []*discoveryv3.Resource{
				{Name: "late", Version: "v", Resource: &anypb.Any{TypeUrl: fuzzURL, Value: []byte("late=good")}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		survive(t, delta, b, good)
	})
}

func FuzzSotW(f *testing.F) {
	for _, b := range responses(f, sotw) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		good, err := proto.Marshal(&discoveryv3.DiscoveryResponse{
			TypeUrl: fuzzURL, Nonce: "good", VersionInfo: "good", Resources: []*anypb.Any{
				{TypeUrl: fuzzURL, Value: []byte("late=good")},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		survive(t, sotw, b, good)
	})
}

type nobody struct{}

func (nobody) ResourceChanged(Resource) {}
func (nobody) ResourceError(error)      {}
func (nobody) AmbientError(error)       {}

// unreachable is the transport of a client whose streams the test makes itself.
type unreachable struct{}

func (unreachable) Build(ServerConfig) (Transport, error) { return nil, errors.New("unreachable") }

func survive(t *testing.T, d dialect, said, good []byte) {
	c, err := New(Config{
		Servers:   []ServerConfig{{URI: "cp"}},
		Types:     []ResourceType{{URL: fuzzURL, Name: "Listener", AllRequiredInSotW: true, Decode: decodeFuzz}},
		Transport: unreachable{},
		Backoff:   func(int) time.Duration { return time.Hour },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.mu.Lock()
	s := c.serverFor(c.config.Servers[0])
	s.running = true // by the test
	sub := s.subscriptionTo(c.types[fuzzURL])
	c.mu.Unlock()
	for _, name := range []string{"held", "asked", "late"} {
		c.Watch(fuzzURL, name, nobody{})
	}
	st := &stream{server: s, dialect: d}
	st.next()
	held := &response{typeURL: fuzzURL, nonce: "first", items: []item{
		{name: "held", version: "v1", typeURL: []byte(fuzzURL), body: []byte("held=1"), value: "1"},
	}}
	c.mu.Lock()
	sub.apply(held, delta)
	c.mu.Unlock()

	if err := st.receive(context.Background(), said); err == nil {
		answers(t, st)
	}
	check := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		e := sub.entries["held"]
		if e.held == nil && !errors.Is(e.lastErr, errExpired) {
			t.Error("what was held is lost")
		}
		if len(sub.bodies) > len(sub.entries) {
			t.Errorf("%d bodies of %d resources", len(sub.bodies), len(sub.entries))
		}
		for _, e := range sub.entries {
			if e.held != nil && sub.holderOf(e.body) == nil {
				t.Errorf("the body of %s is not found", e.name)
			}
		}
	}
	check()

	// The same with a good resource before it. (Behind it, a field of what was said
	// may swallow the resource.)
	both := append(bytes.Clone(good), said...)
	if r, err := d.parse(both); err != nil || r.typeURL != fuzzURL {
		return
	}
	if err := st.receive(context.Background(), both); err != nil {
		t.Fatal(err)
	}
	answers(t, st)
	check()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := sub.entries["late"]; e.held == nil || e.held.Value != "good" {
		t.Error("a good resource is lost")
	}
}

// answers checks that all there is to send can be sent.
func answers(t *testing.T, st *stream) {
	for {
		_, message, _ := st.next()
		if message == nil {
			return
		}
		if _, err := proto.Marshal(message); err != nil {
			t.Errorf("request cannot be sent: %v", err)
		}
	}
}
