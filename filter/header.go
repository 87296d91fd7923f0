package filter

import (
	"iter"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// HeaderName is a header's name in the forms that protocols key their headers by,
// so that these need not be computed for each call.
type HeaderName struct {
	// Lower is the name in lower case, as HTTP/2 and gRPC metadata have it.
	Lower string
	// Canonical is the name as net/http has it.
	Canonical string
}

// NewHeaderName returns name, which may be in any case, in both forms.
func NewHeaderName(name string) *HeaderName {
	return &HeaderName{Lower: strings.ToLower(name), Canonical: textproto.CanonicalMIMEHeaderKey(name)}
}

// Header is the header of a request or response, whichever protocol's: one view of
// http.Header and of gRPC's metadata. What it was made of is never changed: the
// first change makes a copy. Its zero value is empty and gRPC's. It is not safe for
// concurrent use.
//
// Names that gRPC keeps for itself (those that begin with "grpc-", content-type,
// te, user-agent) have no effect in a gRPC request. Names that end in "-bin" have
// binary values there.
//
// A value that the protocol cannot carry would fail the call: Set and Add leave the header
// as it is. In HTTP that is one with control characters (RFC 9110, 5.5), in gRPC one with
// anything but printable ASCII.
type Header struct {
	values    map[string][]string
	source    HeaderSource // of values, until someone asks
	canonical bool         // values has net/http's names
	owned     bool         // values may be changed
}

// HeaderSource makes a header when it is asked for: gRPC's metadata is costly to have. One
// that has a method Values(*HeaderName) []string too is asked by it for single headers, as
// long as nobody wants them all.
type HeaderSource interface {
	// HeaderValues returns the header, a copy that is the caller's.
	HeaderValues() map[string][]string
}

// HTTPHeader is the view of an http.Header.
func HTTPHeader(h map[string][]string) Header { return Header{values: h, canonical: true} }

// MetadataOf is the view of the metadata that a source has.
func MetadataOf(s HeaderSource) Header { return Header{source: s} }

// OwnMetadata is the view of metadata that are changed in place. owned must not be nil.
func OwnMetadata(owned map[string][]string) Header { return Header{values: owned, owned: true} }

// OwnHTTPHeader is the view of an http.Header that is changed in place. owned must not
// be nil.
func OwnHTTPHeader(owned map[string][]string) Header {
	return Header{values: owned, canonical: true, owned: true}
}

// Values returns the values of the header in the order they were added, or nothing
// when it is not set. The slice must not be changed.
func (h *Header) Values(n *HeaderName) []string {
	if one, ok := h.source.(interface{ Values(*HeaderName) []string }); ok {
		return one.Values(n)
	}
	return h.Map()[h.key(n)]
}

// Get returns the first value, or "" when the header is not set.
func (h *Header) Get(n *HeaderName) string {
	if v := h.Values(n); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set gives the header this one value.
func (h *Header) Set(n *HeaderName, value string) {
	if h.carries(n, value) {
		h.own()[h.key(n)] = []string{value}
	}
}

// Add adds a value behind those that the header has.
func (h *Header) Add(n *HeaderName, value string) {
	if !h.carries(n, value) {
		return
	}
	m, k := h.own(), h.key(n)
	m[k] = append(slices.Clip(m[k]), value) // the slice may be shared with what was copied
}

// Del removes the header.
func (h *Header) Del(n *HeaderName) {
	if _, ok := h.Map()[h.key(n)]; !ok && n.Canonical != userAgent {
		return
	}
	h.del(h.key(n))
}

// DelFunc removes the headers whose name, in lower case, del returns true for.
func (h *Header) DelFunc(del func(lower string) bool) {
	for name := range h.Map() {
		if del(strings.ToLower(name)) {
			h.del(name)
		}
	}
}

const userAgent = "User-Agent"

func (h *Header) del(key string) {
	m := h.own()
	delete(m, key)
	if key == userAgent && h.canonical {
		m[key] = nil // else http.Transport sends its own
	}
}

// All returns the headers with their values, in no particular order and with names in
// the protocol's form. The values must not be changed, nor the header meanwhile.
func (h *Header) All() iter.Seq2[string, []string] { return maps.All(h.Map()) }

// Map returns the headers by name in the protocol's form. It must not be changed,
// unless the header was.
func (h *Header) Map() map[string][]string {
	if h.source != nil {
		h.values, h.source, h.owned = h.source.HeaderValues(), nil, false
	}
	return h.values
}

// Copy returns a header of its own with the same values.
func (h *Header) Copy() Header { return Header{values: h.Map(), canonical: h.canonical} }

// Changed reports whether the header was changed, or was made to be.
func (h *Header) Changed() bool { return h.owned }

// carries reports whether the protocol can carry the value.
func (h *Header) carries(n *HeaderName, value string) bool {
	if h.canonical {
		return httpguts.ValidHeaderFieldValue(value)
	}
	return strings.HasSuffix(n.Lower, "-bin") || !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

func (h *Header) key(n *HeaderName) string {
	if h.canonical {
		return n.Canonical
	}
	return n.Lower
}

// own returns the headers, for changing them.
func (h *Header) own() map[string][]string {
	if h.owned {
		return h.values
	}
	if h.source != nil {
		h.values, h.source = h.source.HeaderValues(), nil
	} else {
		h.values = maps.Clone(h.values)
	}
	if h.values == nil {
		h.values = map[string][]string{}
	}
	h.owned = true
	return h.values
}
