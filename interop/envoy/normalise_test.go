package envoy

import (
	"net/http"
	"strings"
)

// normalise is the one place that says what may differ between a call through a proxy
// and one from within the program.
func (a *answer) normalise(grpc bool) {
	if a.Seen != nil {
		if grpc {
			// gRFC A81 and A111 rewrite the authority and keep no note of it.
			drop(a.Seen.Header, "X-Envoy-Original-Host", "X-Forwarded-Host")
		}
		drop(a.Seen.Header,
			// What a proxy tells the backend of the connection it has from its caller,
			// and of the time it gives the request.
			"X-Forwarded-Proto", "X-Envoy-Expected-Rq-Timeout-Ms",
			// How a message is framed on one connection.
			"Connection", "Content-Length",
			// What is left of the deadline when the backend gets to see it.
			"Grpc-Timeout",
		)
	}
	if grpc && strings.HasPrefix(a.Body, "policy answers ") {
		a.Body = "" // what a status says of which policy says nothing
	}
	drop(a.Header,
		// What a proxy says of itself and of the backend.
		"Server", "Date", "X-Envoy-Upstream-Service-Time",
		// How a message is framed on one connection. The bodies are compared.
		"Connection", "Content-Length", "Trailer",
	)
}

// normalise does the same for a request that a mirror may have got.
func (s *seen) normalise(grpc bool) {
	(&answer{Seen: s}).normalise(grpc)
	// Where a proxy says that a copy comes from.
	drop(s.Header, "X-Envoy-Internal", "X-Forwarded-For")
}

func drop(h http.Header, names ...string) {
	for _, name := range names {
		h.Del(name)
	}
}
