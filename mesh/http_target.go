package mesh

import (
	"maps"
	"net/http"
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
	current atomic.Pointer[hostTargets] // never nil
	mu      sync.Mutex                  // held by those who change it
}

// hostTargets are targets by the host of URLs. A host has few: they differ in what else a
// request says. The lists are not changed either.
type hostTargets struct {
	few    [fewTargets]*httpTarget // all, if it is quicker to look through them; else none
	byHost map[string][]*httpTarget
}

// fewTargets is how many those are at most.
const fewTargets = 8

// httpTarget is a target with what a request to it says.
type httpTarget struct {
	host    string
	used    atomic.Bool // since the last sweep
	sidecar bool        // more than the host has a say
	call.Target

	// A sidecar goes by these, too: by the scheme because of its default port.
	scheme, authority string
}

// use notes that the target was used.
func (t *httpTarget) use() {
	if !t.used.Load() { // written rarely, so that callers share the cache line
		t.used.Store(true)
	}
}

// addHTTPTarget returns the target of a request, which it adds if it is not there.
func (m *Mesh) addHTTPTarget(req *http.Request) (*httpTarget, error) {
	u, authority := req.URL, authorityOf(req)
	if m.gate.IsShut() {
		return nil, m.errClosed(u.Host)
	}
	name, err := m.names.ofRequest(u.Scheme, u.Host, authority)
	if err != nil {
		return nil, err
	}
	m.http.mu.Lock()
	defer m.http.mu.Unlock()
	targets := m.http.current.Load()
	if t := targets.find(req); t != nil {
		return t, nil
	}
	next := hostTargets{byHost: maps.Clone(targets.byHost)}
	if next.count() >= maxHTTPTargets {
		next.sweep()
	}
	t := &httpTarget{Target: *m.acquire(name), host: u.Host}
	if m.names.routeConfig != nil {
		t.sidecar, t.scheme, t.authority = true, u.Scheme, authority
	}
	t.use()
	next.byHost[u.Host] = append(slices.Clip(next.byHost[u.Host]), t)
	if next.count() <= fewTargets {
		copy(next.few[:], slices.Concat(slices.Collect(maps.Values(next.byHost))...))
	}
	m.http.current.Store(&next)
	return t, nil
}

// find returns the target of a request if it is there. It looks for it by its host, which is
// quicker than by the hash of a whole key.
func (h *hostTargets) find(req *http.Request) *httpTarget {
	list := h.few[:]
	if list[0] == nil {
		list = h.byHost[req.URL.Host]
	}
	for _, t := range list {
		if t == nil {
			break
		}
		if t.host == req.URL.Host && t.suits(req) {
			return t
		}
	}
	return nil
}

// suits reports whether what a request to the target's host says beside that is the target's.
func (t *httpTarget) suits(req *http.Request) bool {
	if t.sidecar {
		return t.scheme == req.URL.Scheme && t.authority == authorityOf(req)
	}
	return req.URL.Scheme == "http" || req.URL.Scheme == "https"
}

// authorityOf returns what a request's Host header is.
func authorityOf(req *http.Request) string {
	if req.Host != "" {
		return req.Host
	}
	return req.URL.Host
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
