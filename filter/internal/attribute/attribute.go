// Package attribute is what policy calls the attributes of a request.
package attribute

import (
	"strings"

	"github.com/weft-mesh/weft/filter"
)

// headerAttributes are the attributes that are one header.
var headerAttributes = map[string]*filter.HeaderName{
	"referer":   filter.NewHeaderName("referer"),
	"useragent": filter.NewHeaderName("user-agent"),
	"id":        filter.NewHeaderName("x-request-id"),
}

// Request are the attributes that begin with "request.", by the rest of their name (gRFC
// A106): Envoy's, without those that only a server can tell. gRPC has no scheme and no
// protocol.
func Request(r *filter.Request, withHeaders bool) map[string]any {
	a := map[string]any{
		"path": r.Path, "url_path": r.Path,
		"host":   r.Authority,
		"method": r.Method,
		"query":  r.RawQuery,
	}
	if !r.GRPC {
		a["scheme"], a["protocol"] = r.Scheme, r.Protocol
	}
	if r.RawQuery != "" {
		a["path"] = r.Path + "?" + r.RawQuery
	}
	for name, header := range headerAttributes {
		if v := r.Header.Values(header); len(v) > 0 {
			a[name] = strings.Join(v, ",")
		}
	}
	if withHeaders {
		a["headers"] = Headers(r)
	}
	return a
}

// Headers are the request's by name in lower case, with the values of each joined.
// gRPC's binary ones are left out.
func Headers(r *filter.Request) map[string]string {
	h := make(map[string]string)
	for name, values := range r.Header.All() {
		name = strings.ToLower(name)
		if len(values) == 0 || r.GRPC && strings.HasSuffix(name, "-bin") {
			continue
		}
		h[name] = strings.Join(values, ",")
	}
	return h
}
