package resolver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// path locates a field in a resource for errors and warnings. Its text is built
// when something is said about the field, which for most fields is never.
type path struct {
	decoder *decoder
	parent  *path
	field   string
	index   int // -1 if the field is not an element of a list
}

// decoder is what decoding one resource says things with.
type decoder struct {
	config TypesConfig
	kind   string             // "Cluster"
	name   string             // of the resource
	warned func(field string) // in place of the configuration's Warnings; nil for those
	server bool               // the resource is a server's
}

// root is the path of the resource itself.
func (d *decoder) root() *path { return &path{decoder: d, index: -1} }

func (p *path) to(field string) *path {
	return &path{decoder: p.decoder, parent: p, field: field, index: -1}
}

func (p *path) at(field string, index int) *path {
	return &path{decoder: p.decoder, parent: p, field: field, index: index}
}

// String is the path with its indexes: virtual_hosts[0].routes[2].match.
func (p *path) String() string { return p.text(true) }

func (p *path) text(indexes bool) string {
	var parts []string
	for ; p.parent != nil; p = p.parent {
		part := p.field
		switch {
		case p.index >= 0 && indexes:
			part += "[" + strconv.Itoa(p.index) + "]"
		case p.index >= 0:
			part += "[]"
		}
		parts = append(parts, part)
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString(parts[i])
		if i > 0 {
			b.WriteByte('.')
		}
	}
	return b.String()
}

// errorf is an error about the field.
func (p *path) errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if p.parent == nil {
		return err
	}
	return fmt.Errorf("%s: %w", p, err)
}

// warn says once that the field is not acted on.
func (p *path) warn() { p.report(false) }

// warnFails says once that calls fail for the field.
func (p *path) warnFails() { p.report(true) }

func (p *path) report(fails bool) {
	if f := p.decoder.warned; f != nil {
		f(p.text(false))
		return
	}
	if w := p.decoder.config.Warnings; w != nil {
		w.add(warningKey{p.decoder.kind, p.text(false), fails}, p.decoder.name)
	}
}

// fields are names of a message's fields.
type fields map[protoreflect.Name]bool

func fieldNames(names ...protoreflect.Name) fields {
	f := make(fields, len(names))
	for _, n := range names {
		f[n] = true
	}
	return f
}

// warnUnread warns about each field of m that is set and not in one of the sets: the
// fields that the code acts on, and those that change nothing about where a call goes
// and how it fares (names for statistics and the like).
//
// Looking at what is set, not at a list of what to warn about, leaves no field out
// that a newer control plane may send.
func (p *path) warnUnread(m proto.Message, read ...fields) {
	if p.decoder.config.Warnings == nil && p.decoder.warned == nil {
		return
	}
	r := m.ProtoReflect()
	r.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.ContainsFunc(read, func(f fields) bool { return f[fd.Name()] }) {
			p.to(string(fd.Name())).warn()
		}
		return true
	})
	if len(r.GetUnknown()) > 0 {
		p.to("(fields unknown to this version)").warn()
	}
}
