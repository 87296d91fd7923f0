package balancer

import (
	"maps"
	"reflect"
)

// plaintext secures the endpoints that no Socket matches.
var plaintext = &Socket{Name: "plaintext"}

// socketFor returns the first of the sockets that fits an endpoint with these
// socket labels (envoy transport_socket_matches).
func socketFor(sockets []Socket, labels map[string]string) *Socket {
	for i := range sockets {
		if sockets[i].fits(labels) {
			return &sockets[i]
		}
	}
	return plaintext
}

func (s *Socket) fits(labels map[string]string) bool {
	for key, want := range s.Match {
		if got, ok := labels[key]; !ok || got != want {
			return false
		}
	}
	return true
}

// secures reports whether connections made under s are also good under o. TLS is
// compared by identity: nobody but its maker can tell whether two are the same.
func (s *Socket) secures(o *Socket) bool {
	if s.Err != nil || o.Err != nil {
		return s.Err != nil && o.Err != nil && s.Err.Error() == o.Err.Error()
	}
	return s.TLS == o.TLS && s.Proxied == o.Proxied && s.DefaultProxy == o.DefaultProxy
}

// sameLabels is maps.Equal, quick for the same map: endpoints that did not change keep it
// from one assignment to the next.
func sameLabels(a, b map[string]Value) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer() || maps.Equal(a, b))
}
