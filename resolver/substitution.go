package resolver

import (
	"strconv"
	"strings"

	"github.com/weft-mesh/weft/internal/format"
)

// substitution is a compiled format string: text with %COMMAND%s in it.
type substitution struct {
	text  string // all of it, if there are no parts
	parts []substitute
	// missing stands for what is not there.
	missing string
}

// substitute writes one part of the value.
type substitute struct {
	source      substituteSource
	text        string
	header      headerRef // REQ and RESP
	alternative *headerRef
	max         int
}

type substituteSource uint8

const (
	fromText substituteSource = iota
	fromRequest
	fromResponse
	fromProtocol
	fromResponseCode
	fromRoute
	fromCluster
)

// subject is what a format string may ask about. It is the call that a route was
// chosen for.
type subject struct {
	request  *Request // as changed so far
	protocol string

	response Headers // nil before there is one
	status   int

	route   string // its name
	cluster string
}

// substitution compiles a format string. ok is false if it asks for something that a
// client in the process cannot tell: those of Envoy's commands that are about the
// connection from a downstream, which there is none of.
func (p *path) substitution(s string, response bool) (sub *substitution, ok bool, err error) {
	parts, err := format.Parse(s)
	if err != nil {
		return nil, false, p.errorf("%w", err)
	}
	sub = &substitution{}
	if len(parts) == 0 || len(parts) == 1 && parts[0].Command == "" {
		for _, part := range parts {
			sub.text = part.Text
		}
		return sub, true, nil
	}
	for _, part := range parts {
		one := substitute{text: part.Text, max: part.Max}
		switch part.Command {
		case "":
		case "REQ", "REQUEST_HEADER", "RESP", "RESPONSE_HEADER":
			one.source = fromRequest
			if strings.HasPrefix(part.Command, "RESP") {
				if one.source = fromResponse; !response {
					return nil, false, nil
				}
			}
			name, other, _ := strings.Cut(part.Arg, "?")
			if name == "" {
				return nil, false, p.errorf("%s names no header", part)
			}
			one.header = newHeaderRef(name)
			if other != "" {
				ref := newHeaderRef(other)
				one.alternative = &ref
			}
		case "PROTOCOL":
			one.source = fromProtocol
		case "RESPONSE_CODE":
			if one.source = fromResponseCode; !response {
				return nil, false, nil
			}
		case "ROUTE_NAME":
			one.source = fromRoute
		case "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW":
			one.source = fromCluster
		default:
			return nil, false, nil
		}
		sub.parts = append(sub.parts, one)
	}
	return sub, true, nil
}

// value is the text for a subject.
func (s *substitution) value(of *subject) string {
	switch len(s.parts) {
	case 0:
		return s.text
	case 1:
		return s.parts[0].value(of, s.missing)
	}
	var b strings.Builder
	for i := range s.parts {
		b.WriteString(s.parts[i].value(of, s.missing))
	}
	return b.String()
}

func (s *substitute) value(of *subject, missing string) string {
	var v string
	ok := true
	switch s.source {
	case fromText:
		return s.text
	case fromRequest:
		v, ok = s.first(of.request)
	case fromResponse:
		v, ok = s.first(&Request{Headers: of.response})
	case fromProtocol:
		v = of.protocol
	case fromResponseCode:
		v = strconv.Itoa(of.status)
	case fromRoute:
		v = of.route
		ok = v != ""
	case fromCluster:
		v = of.cluster
	}
	if !ok {
		v = missing
	}
	if s.max > 0 && len(v) > s.max {
		v = v[:s.max]
	}
	return v
}

// first is the first value of the header, as in Envoy's %REQ(X?Y)%, or of the other.
func (s *substitute) first(r *Request) (value string, ok bool) {
	if v, ok := s.header.first(r); ok || s.alternative == nil {
		return v, ok
	}
	return s.alternative.first(r)
}

// first returns the header's first value.
func (h *headerRef) first(r *Request) (value string, ok bool) {
	if h.source != sourceHeader || r.Headers == nil {
		return h.get(r)
	}
	if values := r.Headers.Values(h.name); len(values) > 0 {
		return values[0], true
	}
	return "", false
}
