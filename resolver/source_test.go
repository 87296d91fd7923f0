package resolver_test

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/resolver/xds"
)

// script is a source whose every answer a test gives.
type script struct {
	mu      sync.Mutex
	watches map[string][]*scriptWatch // by type and name, "Cluster a"
	total   int                       // watches ever
}

type scriptWatch struct {
	xds.Watcher
}

func newScript() *script { return &script{watches: make(map[string][]*scriptWatch)} }

func scriptKey(typeURL, name string) string {
	return typeURL[strings.LastIndexByte(typeURL, '.')+1:] + " " + name
}

// Watch implements resolver.Source.
func (s *script) Watch(typeURL, name string, w xds.Watcher) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, watch := scriptKey(typeURL, name), &scriptWatch{w}
	s.watches[key] = append(s.watches[key], watch)
	s.total++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watches[key] = slices.DeleteFunc(s.watches[key], func(o *scriptWatch) bool { return o == watch })
		if len(s.watches[key]) == 0 {
			delete(s.watches, key)
		}
	}
}

func (s *script) watchers(key string) []*scriptWatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.watches[key])
}

// watched lists what is watched.
func (s *script) watched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := []string{}
	for key := range s.watches {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// send brings resources to those who watch them.
func (s *script) send(list ...proto.Message) {
	for _, m := range list {
		url := "type.googleapis.com/" + string(proto.MessageName(m))
		for _, t := range allTypes {
			if t.URL != url {
				continue
			}
			name, value, err := t.Decode(marshal(m))
			if err != nil {
				panic(err)
			}
			for _, w := range s.watchers(scriptKey(url, name)) {
				w.ResourceChanged(xds.Resource{Name: name, Version: "1", Value: value})
			}
		}
	}
}

// fail says of a resource, "Cluster a", that it cannot be had.
func (s *script) fail(key string, kind error) {
	typ, name, _ := strings.Cut(key, " ")
	for _, w := range s.watchers(key) {
		w.ResourceError(&xds.Error{Type: typ, Name: name, Kind: kind})
	}
}
