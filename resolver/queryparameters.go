package resolver

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// queryParameters are those of one request, to be changed. Those that nothing changes
// stay as they stand in the query, whatever they are.
type queryParameters []queryParameter

// queryParameter is one of them.
type queryParameter struct {
	name string // decoded
	text string // name=value, as written
}

// parseQuery reads a query. As in Envoy a plus is a plus, and what is not well escaped
// is taken as it stands.
func parseQuery(query string) queryParameters {
	var list queryParameters
	for query != "" {
		var text string
		text, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(text, "=")
		decoded, err := url.PathUnescape(name)
		if err != nil {
			decoded = name
		}
		list = append(list, queryParameter{decoded, name + "=" + value})
	}
	return list
}

// String is the query: by name, as Envoy writes it, and parameters of one name in the
// order in which they came.
func (q *queryParameters) String() string {
	slices.SortStableFunc(*q, func(a, b queryParameter) int { return cmp.Compare(a.name, b.name) })
	var b strings.Builder
	for i, p := range *q {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.text)
	}
	return b.String()
}

func (q *queryParameters) has(name string) bool {
	return slices.ContainsFunc(*q, func(p queryParameter) bool { return p.name == name })
}

func (q *queryParameters) del(name string) {
	*q = slices.DeleteFunc(*q, func(p queryParameter) bool { return p.name == name })
}

// add adds a value, which is escaped: whatever a header of the request brings must not
// become a parameter of its own.
func (q *queryParameters) add(name, value string) {
	*q = append(*q, queryParameter{name, escapeQuery(name, "-._*~!$'()+,:@/?;") + "=" + escapeQuery(value, "-._*")})
}

// escapeQuery escapes all but letters, digits and the bytes of plain. Envoy escapes so
// the values, and leaves the names, which here are escaped where the query would not be
// one otherwise.
func escapeQuery(s, plain string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', strings.IndexByte(plain, c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
