package resolver

import (
	"net/url"
	"strings"

	"github.com/weft-mesh/weft/filter"
)

// Request is what a route match may look at: one call of the application, before
// it has a cluster. [Table.Route] reads it, escapes its path if that is asked for, and
// keeps nothing of it but what a path leads to.
type Request struct {
	// Path is the path without the query, as it goes on the wire.
	Path string

	last recollection

	// GRPC says that the call is a gRPC call, to which gRFC A28 applies: binary
	// headers are invisible, content-type is always application/grpc, and a route
	// with query parameters never matches.
	GRPC bool
	// Unescaped says that Path is still to be escaped, as a [url.URL] without a RawPath
	// does it: Route, unless it fails, leaves it false and Path as it goes on the wire.
	// Paths that are asked for often need not be looked at for that.
	Unescaped bool
	// Headers gives the call's headers. Nil means that there are none.
	Headers Headers
	// Authority is the host that the call names, with its port if it has one
	// (HTTP's Host, gRPC's :authority).
	Authority string
	// RawQuery is the query without the question mark. gRPC has none.
	RawQuery string
	// Method is the HTTP method. Empty means GET for HTTP; gRPC is always POST.
	Method string
	// Scheme is "http" or "https".
	Scheme string
}

// recollection is the route that a Request had before, which a table has all requests of that
// path take that have none of the headers.
type recollection struct {
	table   *Table
	path    string
	route   *Route
	headers []*HeaderName
}

// Headers gives a call's headers, whatever the protocol keeps them in. It is only
// asked when a route that could match depends on a header.
type Headers interface {
	// Values returns the values of the header in the order they were added, or
	// nothing when it is not set. The slice is not changed.
	Values(*HeaderName) []string
}

// HeaderName is a header's name in the forms that protocols key their headers by,
// computed once per table.
type HeaderName = filter.HeaderName

// NewHeaderName returns name in both forms.
func NewHeaderName(name string) *HeaderName { return filter.NewHeaderName(name) }

// hasAny reports whether the request has a header of one of the names.
func (r *Request) hasAny(names []*HeaderName) bool {
	for _, n := range names {
		if r.Headers != nil && len(r.Headers.Values(n)) > 0 {
			return true
		}
	}
	return false
}

// Heeds reports whether there are headers that what [Table.Again] says is not for.
func (r *Request) Heeds() bool { return len(r.last.headers) > 0 }

// HasHeeded reports whether the request has any of them.
func (r *Request) HasHeeded() bool { return r.hasAny(r.last.headers) }

// escape makes Path what goes on the wire, and returns it.
func (r *Request) escape() string {
	if r.Unescaped {
		r.Path, r.Unescaped = escaped(r.Path), false
	}
	return r.Path
}

// escaped returns the path of a URL as it goes on the wire.
func escaped(path string) string {
	u := url.URL{Path: path}
	return u.EscapedPath()
}

func (r *Request) method() string {
	switch {
	case r.GRPC:
		return "POST"
	case r.Method == "":
		return "GET"
	default:
		return r.Method
	}
}

// isGRPC reports whether the call is gRPC by any means: a gRPC call, or an HTTP
// request in gRPC's form.
func (r *Request) isGRPC() bool {
	if r.GRPC {
		return true
	}
	ct, ok := contentType.get(r)
	rest, found := strings.CutPrefix(ct, grpcContentType)
	return ok && found && (rest == "" || rest[0] == '+')
}

const grpcContentType = "application/grpc"

var contentType = newHeaderRef("content-type")
