package resolver

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weft-mesh/weft/internal/match"
)

// hostIndex finds the virtual host for an authority. The domains are matched in
// Envoy's order (envoy.config.route.v3.VirtualHost.domains): a domain that is the
// host itself, the longest "*suffix", the longest "prefix*", and "*". The asterisk
// stands for at least one character. Case does not matter.
type hostIndex struct {
	exact  map[string]*virtualHost
	suffix wildcards
	prefix wildcards
	any    *virtualHost

	// ignorePort leaves the authority's port out.
	ignorePort bool
}

// wildcards are domains with an asterisk at one end, by what is at the other.
type wildcards struct {
	hosts   map[string]*virtualHost
	lengths []int // of the keys, each once, the longest first
}

func (w *wildcards) add(key string, h *virtualHost) (fresh bool) {
	if _, ok := w.hosts[key]; ok {
		return false
	}
	if w.hosts == nil {
		w.hosts = make(map[string]*virtualHost)
	}
	w.hosts[key] = h
	if i, ok := slices.BinarySearchFunc(w.lengths, len(key), func(a, b int) int { return cmp.Compare(b, a) }); !ok {
		w.lengths = slices.Insert(w.lengths, i, len(key))
	}
	return true
}

// add adds a domain of h, and reports whether it is a new one.
func (x *hostIndex) add(domain string, h *virtualHost) (fresh bool) {
	domain = match.LowerASCII(domain)
	switch {
	case domain == "*":
		if x.any != nil {
			return false
		}
		x.any = h
		return true
	case strings.HasPrefix(domain, "*"):
		return x.suffix.add(domain[1:], h)
	case strings.HasSuffix(domain, "*"):
		return x.prefix.add(domain[:len(domain)-1], h)
	}
	if _, ok := x.exact[domain]; ok {
		return false
	}
	if x.exact == nil {
		x.exact = make(map[string]*virtualHost)
	}
	x.exact[domain] = h
	return true
}

// only returns the virtual host that is for all authorities, or nil.
func (x *hostIndex) only() *virtualHost {
	if len(x.exact)+len(x.suffix.lengths)+len(x.prefix.lengths) > 0 {
		return nil
	}
	return x.any
}

// find returns the virtual host for an authority, or nil.
func (x *hostIndex) find(authority string) *virtualHost {
	if x.ignorePort {
		authority = withoutPort(authority)
	}
	host := match.LowerASCII(authority)
	if h, ok := x.exact[host]; ok {
		return h
	}
	for _, n := range x.suffix.lengths {
		if n < len(host) {
			if h, ok := x.suffix.hosts[host[len(host)-n:]]; ok {
				return h
			}
		}
	}
	for _, n := range x.prefix.lengths {
		if n < len(host) {
			if h, ok := x.prefix.hosts[host[:n]]; ok {
				return h
			}
		}
	}
	return x.any
}

// splitPort returns an authority's host and port. The port is empty if there is
// none, and the host keeps the brackets of an IPv6 address.
func splitPort(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority, ""
	}
	if strings.IndexByte(authority[:i], ':') >= 0 && authority[0] != '[' {
		return authority, "" // an IPv6 address without brackets
	}
	return authority[:i], authority[i+1:]
}

func withoutPort(authority string) string {
	host, _ := splitPort(authority)
	return host
}
