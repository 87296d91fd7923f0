package xds

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// structuredName is an "xdstp://authority/type/id?key=value" name (gRFC A47).
type structuredName struct {
	authority string
	typ       string // "envoy.config.cluster.v3.Cluster"
	canonical string // the name with its parameters sorted by key
}

// parseName reads a structured name; ok is false for any other name.
func parseName(name string) (n structuredName, ok bool, err error) {
	rest, ok := strings.CutPrefix(name, "xdstp:")
	if !ok {
		return structuredName{}, false, nil
	}
	rest, slashes := strings.CutPrefix(rest, "//")
	if slashes {
		n.authority, rest, slashes = strings.Cut(rest, "/")
	} else {
		rest, slashes = strings.CutPrefix(rest, "/")
	}
	if !slashes {
		return n, true, fmt.Errorf("%q is not of the form xdstp://AUTHORITY/TYPE/ID", name)
	}
	if n.authority, err = url.PathUnescape(n.authority); err != nil {
		return n, true, fmt.Errorf("%q: authority: %w", name, err)
	}
	rest, _, _ = strings.Cut(rest, "#") // directives are the client's business, not part of the name
	path, query, _ := strings.Cut(rest, "?")
	typ, id, found := strings.Cut(path, "/")
	if !found || typ == "" || id == "" {
		return n, true, fmt.Errorf("%q is not of the form xdstp://AUTHORITY/TYPE/ID", name)
	}
	n.typ = typ
	n.canonical = "xdstp://" + url.PathEscape(n.authority) + "/" + path
	if query != "" {
		parameters := strings.Split(query, "&")
		slices.Sort(parameters)
		n.canonical += "?" + strings.Join(parameters, "&")
	}
	return n, true, nil
}

// canonicalName is the form of a name under which it is cached.
func canonicalName(name string) string {
	if n, ok, err := parseName(name); ok && err == nil {
		return n.canonical
	}
	return name
}
