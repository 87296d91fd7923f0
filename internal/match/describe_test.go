package match_test

import (
	"testing"

	"github.com/weft-mesh/weft/internal/match"
)

func TestStringIsWorded(t *testing.T) {
	for _, c := range []struct {
		kind       match.Kind
		value      string
		ignoreCase bool
		want       string
	}{
		{match.Exact, "a", false, `exact "a"`},
		{match.Prefix, "A", true, `prefix "a" (any case)`},
		{match.Suffix, "", false, `suffix ""`},
		{match.Contains, "x\ny", false, `contains "x\ny"`},
		{match.Regex, "a|b", true, `regex "a|b"`},
	} {
		s, err := match.NewString(c.kind, c.value, c.ignoreCase)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		if s.Kind() != c.kind {
			t.Errorf("%s: kind %s", c.want, s.Kind())
		}
	}
}
