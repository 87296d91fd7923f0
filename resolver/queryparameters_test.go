package resolver

import "testing"

// TestQueryParameters adds what must not become another parameter, and leaves alone what
// nothing changes. interop/envoy compares the rest with Envoy.
func TestQueryParameters(t *testing.T) {
	for _, test := range []struct {
		query  string
		change func(q *queryParameters)
		want   string
	}{
		{"b=%26&a=%zz;c&b=+&", func(*queryParameters) {}, "a=%zz;c&b=%26&b=+"},
		{"c=1&%62=1&a", func(q *queryParameters) { q.del("b") }, "a=&c=1"},
		{"", func(q *queryParameters) { q.add("a", "&b=\u00fc +#%") }, "a=%26b%3D%C3%BC%20%2B%23%25"},
		{"", func(q *queryParameters) { q.add("a=& +#%", "") }, "a%3D%26%20+%23%25="},
	} {
		q := parseQuery(test.query)
		test.change(&q)
		if got := q.String(); got != test.want {
			t.Errorf("%q became %q, not %q", test.query, got, test.want)
		}
	}
}
