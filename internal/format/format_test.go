package format

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for s, want := range map[string][]Part{
		"":                            nil,
		"plain":                       {{Text: "plain"}},
		"100%%":                       {{Text: "100%"}},
		"%%%PROTOCOL%%%":              {{Text: "%"}, {Command: "PROTOCOL"}, {Text: "%"}},
		"a-%REQ(x-a?:path):12%-b":     {{Text: "a-"}, {Command: "REQ", Arg: "x-a?:path", Max: 12}, {Text: "-b"}},
		"%START_TIME(%Y/%m)%":         {{Command: "START_TIME", Arg: "%Y/%m"}},
		"%ROUTE_NAME%%VIRTUAL_HOST%!": {{Command: "ROUTE_NAME"}, {Command: "VIRTUAL_HOST"}, {Text: "!"}},
	} {
		got, err := Parse(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", s, diff)
		}
	}
	for _, s := range []string{"%", "100% sure", "%REQ(x%", "%REQ", "a%b%", "%%%"} {
		if got, err := Parse(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a%%%REQ(x):3%")
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := Parse(s)
		if err != nil {
			return
		}
		again := ""
		for _, p := range parts {
			again += p.String()
		}
		reread, err := Parse(again)
		if diff := cmp.Diff(parts, reread); err != nil || diff != "" {
			t.Errorf("%q is written %q: %v\n%s", s, again, err, diff)
		}
	})
}
