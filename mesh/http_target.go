package mesh

import (
	"maps"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/weft-mesh/weft/mesh/internal/call"
)

// maxHTTPTargets bounds the targets that requests alone keep. A program that asks
// for ever new hosts (a crawler, a proxy) loses the ones it has not used lately;
// they are looked up anew when used again.
const maxHTTPTargets = 1024

// httpTargets finds the target of a URL without a lock or an allocation: a map that
// is copied when it changes.
type httpTargets struct {
	current atomic.Pointer[map[hostKey]*httpTarget]
	mu      sync.Mutex // held by those who change it
}

// hostKey is what a request says of its target. The scheme has a say because of its
// default port, and the authority because a sidecar goes by it.
type hostKey struct{ scheme, host, authority string }

type httpTarget struct {
	*call.Target
	used atomic.Bool // since the last sweep
}

// httpTarget returns the target of a request to u with the Host header authority.
func (m *Mesh) httpTarget(u *url.URL, authority string) (*call.Target, error) {
	if m.gate.IsShut() {
		return nil, m.errClosed(u.Host)
	}
	key := hostKey{scheme: u.Scheme, host: u.Host}
	if m.names.routeConfig != nil {
		key.authority = authority
	}
	if targets := m.http.current.Load(); targets != nil {
		if t := (*targets)[key]; t != nil {
			if !t.used.Load() { // written rarely, so that callers share the cache line
				t.used.Store(true)
			}
			return t.Target, nil
		}
	}
	return m.addHTTPTarget(key)
}

func (m *Mesh) addHTTPTarget(key hostKey) (*call.Target, error) {
	name, err := m.names.ofRequest(key.scheme, key.host, key.authority)
	if err != nil {
		return nil, err
	}
	m.http.mu.Lock()
	defer m.http.mu.Unlock()
	next := map[hostKey]*httpTarget{}
	if targets := m.http.current.Load(); targets != nil {
		if t := (*targets)[key]; t != nil {
			return t.Target, nil
		}
		next = maps.Clone(*targets)
	}
	if len(next) >= maxHTTPTargets {
		sweep(next)
	}
	t := &httpTarget{Target: m.acquire(name)}
	t.used.Store(true)
	next[key] = t
	m.http.current.Store(&next)
	return t.Target, nil
}

// sweep releases the targets that were not used since the last sweep, or, if all
// were, any half of them.
func sweep(targets map[hostKey]*httpTarget) {
	for key, t := range targets {
		if !t.used.Swap(false) {
			delete(targets, key)
			t.Release()
		}
	}
	for key, t := range targets {
		if len(targets) <= maxHTTPTargets/2 {
			break
		}
		delete(targets, key)
		t.Release()
	}
}
