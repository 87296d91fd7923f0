package policy

import (
	"fmt"
	"strconv"
)

// Position is a place in a file. Line and Column count from 1; the column counts
// characters, not bytes.
type Position struct {
	File         string
	Line, Column int
}

// String is file:line:column.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// place is where a part of the policy was read: its name, if it has one, and its value.
type place struct{ key, value Position }

// positions remembers where each part of a policy was read. Parts are found by
// path, not by pointer, so that a copy of a policy keeps them. It is nil in a
// policy that a program built.
type positions map[path]place

// find returns the place of the part at p or, if that is not known, the value of
// the nearest part around it: so it is with text that stands for a mapping.
func (ps positions) find(p path) place {
	if at, ok := ps[p]; ok {
		return at
	}
	for p != "" {
		p = p.parent()
		if at, ok := ps[p]; ok {
			return place{at.value, at.value}
		}
	}
	return place{}
}

// path names a part of a policy: services.orders.endpoints[1].address. A name
// that is not a plain word is quoted: routes["shop.example:8080"][0], so that
// different parts have different paths.
type path string

// field is the path of a field or a map entry of p.
func (p path) field(name string) path {
	if !plainWord(name) {
		return p + "[" + path(strconv.Quote(name)) + "]"
	}
	if p == "" {
		return path(name)
	}
	return p + "." + path(name)
}

// index is the path of a list's element.
func (p path) index(i int) path { return p + "[" + path(strconv.Itoa(i)) + "]" }

// parent is the path without its last step. A dot or bracket within quotes is
// not a step.
func (p path) parent() path {
	quoted := false
	cut := 0
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '.' || c == '['):
			cut = i
		}
	}
	return p[:cut]
}

func plainWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return s != ""
}
