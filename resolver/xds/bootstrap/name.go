package bootstrap

import (
	"net/url"
	"strings"
)

// escapePath percent-encodes what may not stand in the path of a URI, as gRFC A47
// has it for the names put into an "xdstp:" template. A slash may.
func escapePath(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; inPath(c) {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return b.String()
}

// inPath reports whether c is a pchar of RFC 3986, section 3.3, or a slash.
func inPath(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0
}

// authorityOf returns the authority of an "xdstp:" name, unescaped; empty if it
// has none.
func authorityOf(name string) string {
	rest, ok := strings.CutPrefix(name, "xdstp://")
	if !ok {
		return ""
	}
	authority, _, _ := strings.Cut(rest, "/")
	if plain, err := url.PathUnescape(authority); err == nil {
		return plain
	}
	return authority
}
