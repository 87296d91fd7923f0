package match_test

import (
	"strings"
	"testing"

	"github.com/weft-mesh/weft/internal/match"
)

func TestString(t *testing.T) {
	tests := []struct {
		kind  match.Kind
		value string
		fold  bool
		yes   []string
		no    []string
	}{
		{match.Exact, "ab", false, []string{"ab"}, []string{"", "a", "abc", "AB"}},
		{match.Exact, "aB", true, []string{"ab", "AB"}, []string{"abc", "a", "áB"}},
		{match.Prefix, "ab", false, []string{"ab", "abc"}, []string{"a", "Ab", "cab"}},
		{match.Prefix, "aB", true, []string{"AB", "abC"}, []string{"a", "cab"}},
		{match.Suffix, "ab", false, []string{"ab", "cab"}, []string{"b", "cAb", "abc"}},
		{match.Suffix, "Ab", true, []string{"AB", "CaB"}, []string{"b", "abc"}},
		{match.Contains, "ab", false, []string{"ab", "cabc"}, []string{"a", "cAbc", ""}},
		{match.Contains, "Ab", true, []string{"aB", "cABc", "aab"}, []string{"a", "acb"}},
		{match.Regex, "a+|b", false, []string{"a", "aa", "b"}, []string{"", "ab", "ba", "a\n", "\na"}},
		{match.Regex, "(?i)x", false, []string{"x", "X"}, []string{"xx"}},
		{match.Regex, "ab", true, []string{"ab"}, []string{"AB"}},
	}
	for _, test := range tests {
		m, err := match.NewString(test.kind, test.value, test.fold)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range test.yes {
			if !m.Match(v) {
				t.Errorf("kind %d %q (fold %t) does not match %q", test.kind, test.value, test.fold, v)
			}
		}
		for _, v := range test.no {
			if m.Match(v) {
				t.Errorf("kind %d %q (fold %t) matches %q", test.kind, test.value, test.fold, v)
			}
		}
		if got := testing.AllocsPerRun(10, func() { m.Match("SOME-Value") }); got != 0 {
			t.Errorf("kind %d %q (fold %t): Match allocates %v times", test.kind, test.value, test.fold, got)
		}
	}
}

func TestExact(t *testing.T) {
	for _, test := range []struct {
		kind match.Kind
		fold bool
		want bool
	}{{match.Exact, false, true}, {match.Exact, true, false}, {match.Prefix, false, false}} {
		m, err := match.NewString(test.kind, "v", test.fold)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.Exact(); ok != test.want {
			t.Errorf("kind %d, fold %t: Exact says %t", test.kind, test.fold, ok)
		}
	}
}

func TestBadRegex(t *testing.T) {
	// The second would be well-formed once put between the anchors.
	for _, expr := range []string{"(", "a)|(b"} {
		_, err := match.NewString(match.Regex, expr, false)
		if err == nil || !strings.Contains(err.Error(), "`"+expr+"`") {
			t.Errorf("%q: got error %v, want one that shows the expression", expr, err)
		}
	}
}

func TestLowerASCII(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "aBZ-É[`": "abz-É[`"} {
		if got := match.LowerASCII(in); got != want {
			t.Errorf("LowerASCII(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzString(f *testing.F) {
	f.Add(0, "a", false, "b")
	f.Add(4, "a(b|c)*", false, "abc")
	f.Fuzz(func(t *testing.T, kind int, value string, fold bool, v string) {
		m, err := match.NewString(match.Kind(kind), value, fold)
		if err != nil {
			return
		}
		if exact, ok := m.Exact(); ok && m.Match(v) != (exact == v) {
			t.Errorf("Exact and Match disagree on %q", v)
		}
	})
}
