package resolver

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weft-mesh/weft/internal/match"
)

// MutableHeaders are a call's headers, whatever the protocol keeps them in, in a copy
// that policy may change.
type MutableHeaders interface {
	Headers
	// Set gives the header this one value.
	Set(n *HeaderName, value string)
	// Add adds a value behind those that the header has.
	Add(n *HeaderName, value string)
	// Del removes the header.
	Del(n *HeaderName)
	// DelFunc removes the headers whose name, in lower case, del returns true for.
	DelFunc(del func(lower string) bool)
}

// headerOp is one change of a header, in the flat list of a route's levels.
type headerOp struct {
	name   *HeaderName
	action headerAction
	// level is where the change comes from: all that one level changes is told from
	// the headers as they were before it.
	level     uint8
	keepEmpty bool
	// http says that gRPC calls leave it out: the header is gRPC's own, or binary.
	http  bool
	value *substitution
	names match.String // removeMatching
}

type headerAction uint8

// In the order in which Envoy applies the changes of one level.
const (
	removeHeader headerAction = iota
	overwrite
	overwriteIfExists
	appendOrAdd
	addIfAbsent
	removeMatching
)

// headerMutation is a flat list of changes. Nil is none.
type headerMutation []headerOp

// of is how many of the changes, which are the first, come from a level.
func (m headerMutation) of(level uint8) int {
	n := 0
	for n < len(m) && m[n].level == level {
		n++
	}
	return n
}

// apply changes h.
func (m headerMutation) apply(h MutableHeaders, of *subject) {
	var few [8]newValue
	for len(m) > 0 {
		n := m.of(m[0].level)
		m[:n].applyLevel(h, of, few[:0])
		m = m[n:]
	}
}

// newValue is what one change comes to.
type newValue struct {
	text  string
	leave bool // the header as it is
}

// applyLevel removes, then evaluates everything, then changes.
func (m headerMutation) applyLevel(h MutableHeaders, of *subject, values []newValue) {
	grpc := of.request.GRPC
	for len(m) > 0 && m[0].action == removeHeader {
		if !grpc || !m[0].http {
			h.Del(m[0].name)
		}
		m = m[1:]
	}
	for i := range m {
		op := &m[i]
		var v newValue
		if op.value != nil {
			v.text = op.value.value(of)
			v.leave = v.text == "" && !op.keepEmpty || grpc && op.http
		}
		switch op.action {
		case overwriteIfExists:
			v.leave = v.leave || len(h.Values(op.name)) == 0
		case addIfAbsent:
			v.leave = v.leave || len(h.Values(op.name)) > 0
		}
		values = append(values, v)
	}
	for i := range m {
		if values[i].leave {
			continue
		}
		switch op := &m[i]; op.action {
		case removeMatching:
			h.DelFunc(func(name string) bool { return op.names.Match(name) && !(grpc && ownedByGRPC(name)) })
		case overwrite, overwriteIfExists:
			h.Set(op.name, values[i].text)
		default:
			h.Add(op.name, values[i].text)
		}
	}
}

// headerLevel is what one level of a route configuration changes. Its lists are as
// they are applied: what is removed first, then what is overwritten, then what is added.
type headerLevel struct{ request, response headerMutation }

func (l headerLevel) changes() bool { return len(l.request)+len(l.response) > 0 }

// headerFields are the fields of a level.
var headerFields = fieldNames("request_headers_to_add", "request_headers_to_remove",
	"response_headers_to_add", "response_headers_to_remove")

// headerMutator is a message with those fields.
type headerMutator interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

// headerLevel reads what m changes, numbered by how specific m is.
func (p *path) headerLevel(m headerMutator, number uint8) (level headerLevel, err error) {
	if level.request, err = p.headerChanges("request", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove(), number); err != nil {
		return level, err
	}
	level.response, err = p.headerChanges("response", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove(), number)
	return level, err
}

func (p *path) headerChanges(direction string, add []*corev3.HeaderValueOption, remove []string, number uint8) (headerMutation, error) {
	var m headerMutation
	for i, name := range remove {
		op, err := p.at(direction+"_headers_to_remove", i).headerOp(name, number)
		if err != nil {
			return nil, err
		}
		m = append(m, op)
	}
	for i, option := range add {
		op, err := p.at(direction+"_headers_to_add", i).headerOption(option, direction == "response", number)
		if err != nil {
			return nil, err
		}
		if op.value != nil {
			m = append(m, op)
		}
	}
	return m.inPhases(), nil
}

// inPhases puts the changes of one level in order.
func (m headerMutation) inPhases() headerMutation {
	slices.SortStableFunc(m, func(a, b headerOp) int { return a.action.phase() - b.action.phase() })
	return m
}

// phase orders the changes of one level.
func (a headerAction) phase() int {
	switch a {
	case removeHeader:
		return 0
	case overwrite, overwriteIfExists:
		return 1
	default:
		return 2
	}
}

// headerOp checks the name of a header that is to be changed. Host and what begins
// with a colon have changes of their own (rewrites), as in Envoy.
func (p *path) headerOp(name string, number uint8) (headerOp, error) {
	op := headerOp{name: NewHeaderName(name), level: number}
	switch lower := op.name.Lower; {
	case !validHeaderName(name):
		return op, p.errorf("%q is not the name of a header", name)
	case lower == "host":
		return op, p.errorf("host and headers that begin with a colon must not be changed")
	default:
		op.http = ownedByGRPC(lower)
	}
	return op, nil
}

// ownedByGRPC reports whether gRPC calls keep a header of that name, in lower case, to
// themselves.
func ownedByGRPC(lower string) bool {
	return strings.HasPrefix(lower, "grpc-") || strings.HasSuffix(lower, "-bin") ||
		lower == "content-type" || lower == "te" || lower == "user-agent"
}

// headerOption reads an envoy.config.core.v3.HeaderValueOption. A value that cannot
// be told leaves the header as it is, with a warning, and the op without a value: in
// Envoy it is empty for calls that have no downstream connection, and an empty value
// is not added.
func (p *path) headerOption(o *corev3.HeaderValueOption, response bool, number uint8) (headerOp, error) {
	op, err := p.to("header").to("key").headerOp(o.GetHeader().GetKey(), number)
	if err != nil {
		return op, err
	}
	op.keepEmpty = o.GetKeepEmptyValue()
	switch o.GetAppendAction() {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		op.action = appendOrAdd
		if o.GetAppend() != nil && !o.GetAppend().GetValue() { // deprecated
			op.action = overwrite
		}
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		op.action = addIfAbsent
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		op.action = overwrite
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		op.action = overwriteIfExists
	default:
		return op, p.to("append_action").errorf("unknown value %d", o.GetAppendAction())
	}
	if o.GetAppend() != nil && o.GetAppendAction() != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
		return op, p.to("append").errorf("must not stand beside append_action")
	}
	q, value := p.to("header").to("value"), o.GetHeader().GetValue()
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		if value != "" {
			return op, p.to("header").errorf("has both value and raw_value")
		}
		q, value = p.to("header").to("raw_value"), string(raw)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return op, q.errorf("holds a line break")
	}
	sub, ok, err := q.substitution(value, response)
	switch {
	case err != nil:
		return op, err
	case ok:
		op.value = sub
	default:
		q.warn()
	}
	return op, nil
}

func validHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return name != ""
}
