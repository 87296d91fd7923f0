package mesh

import (
	"maps"
	"net/url"
	"slices"
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
	current atomic.Pointer[hostTargets]
	mu      sync.Mutex // held by those who change it
}

// hostTargets are targets by the host of URLs. A host has few: they differ in what else a
// request says. The lists are not changed either.
type hostTargets struct {
	byHost map[string][]*httpTarget
	few    []*httpTarget // all, if it is quicker to look through them; else nil
}

// fewTargets is how many those are at most.
const fewTargets = 8

// httpTarget is a target with what a request to it says. The scheme has a say because of
// its default port, and the authority where a sidecar goes by it.
type httpTarget struct {
	*call.Target
	scheme, host string
	authority    string      // empty if it has no say
	used         atomic.Bool // since the last sweep
}

// httpTarget returns the target of a request to u with the Host header authority.
func (m *Mesh) httpTarget(u *url.URL, authority string) (*call.Target, error) {
	if targets := m.http.current.Load(); targets != nil {
		if t := targets.find(u, authority); t != nil {
			if !t.used.Load() { // written rarely, so that callers share the cache line
				t.used.Store(true)
			}
			return t.Target, nil
		}
	}
	return m.addHTTPTarget(u, authority)
}

func (m *Mesh) addHTTPTarget(u *url.URL, authority string) (*call.Target, error) {
	if m.gate.IsShut() {
		return nil, m.errClosed(u.Host)
	}
	if m.names.routeConfig == nil {
		authority = ""
	}
	name, err := m.names.ofRequest(u.Scheme, u.Host, authority)
	if err != nil {
		return nil, err
	}
	m.http.mu.Lock()
	defer m.http.mu.Unlock()
	next := hostTargets{byHost: make(map[string][]*httpTarget)}
	if targets := m.http.current.Load(); targets != nil {
		if t := targets.find(u, authority); t != nil {
			return t.Target, nil
		}
		next.byHost = maps.Clone(targets.byHost)
	}
	if next.count() >= maxHTTPTargets {
		next.sweep()
	}
	t := &httpTarget{Target: m.acquire(name), host: u.Host, scheme: u.Scheme, authority: authority}
	t.used.Store(true)
	next.byHost[u.Host] = append(slices.Clip(next.byHost[u.Host]), t)
	if next.count() <= fewTargets {
		next.few = slices.Concat(slices.Collect(maps.Values(next.byHost))...)
	}
	m.http.current.Store(&next)
	return t.Target, nil
}

// find looks for one by its host, which is quicker than by the hash of a whole key.
func (h *hostTargets) find(u *url.URL, authority string) *httpTarget {
	list := h.few
	if list == nil {
		list = h.byHost[u.Host]
	}
	for _, t := range list {
		if t.host == u.Host && t.scheme == u.Scheme && (t.authority == "" || t.authority == authority) {
			return t
		}
	}
	return nil
}

func (h *hostTargets) count() (n int) {
	for _, list := range h.byHost {
		n += len(list)
	}
	return n
}

// sweep releases the targets that were not used since the last sweep, or, if all
// were, any half of them.
func (h *hostTargets) sweep() {
	h.release(func(t *httpTarget) bool { return !t.used.Swap(false) })
	left := h.count()
	h.release(func(*httpTarget) bool {
		if left <= maxHTTPTargets/2 {
			return false
		}
		left--
		return true
	})
}

func (h *hostTargets) release(unwanted func(*httpTarget) bool) {
	for host, list := range h.byHost {
		var kept []*httpTarget
		for _, t := range list {
			if unwanted(t) {
				t.Release()
			} else {
				kept = append(kept, t)
			}
		}
		if h.byHost[host] = kept; kept == nil {
			delete(h.byHost, host)
		}
	}
}
