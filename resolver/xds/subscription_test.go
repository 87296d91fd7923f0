package xds

import (
	"fmt"
	"testing"
)

// While there is no stream, or it is stuck, watches that come and go leave nothing.
func TestPassingInterestLeavesNothing(t *testing.T) {
	c, err := New(Config{
		Servers:   []ServerConfig{{URI: "cp"}},
		Types:     []ResourceType{{URL: fuzzURL, Decode: decodeFuzz}},
		Transport: unreachable{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.mu.Lock()
	s := c.serverFor(c.config.Servers[0])
	s.running = true // but nobody sends
	c.mu.Unlock()
	for i := range 100 {
		c.Watch(fuzzURL, fmt.Sprint(i), nobody{})()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sub := s.subs[fuzzURL]
	if len(sub.entries)+len(sub.changed)+len(sub.bodies) > 0 {
		t.Errorf("%d entries, %d changes, %d bodies are left", len(sub.entries), len(sub.changed), len(sub.bodies))
	}
}
