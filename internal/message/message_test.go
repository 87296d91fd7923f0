package message

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestMessages(t *testing.T) {
	type plain struct{ v string }
	for name, c := range map[string]struct {
		to, from any
		got      func(any) string
	}{
		"proto": {wrapperspb.String("old"), wrapperspb.String("new"), func(m any) string { return m.(*wrapperspb.StringValue).GetValue() }},
		"other": {&plain{"old"}, &plain{"new"}, func(m any) string { return m.(*plain).v }},
	} {
		if !Replicable(c.to) || c.got(New(c.to)) != "" {
			t.Errorf("%s: no message like it can be made", name)
		}
		if Give(c.to, c.from); c.got(c.to) != "new" {
			t.Errorf("%s: holds %q", name, c.got(c.to))
		}
	}
	for _, m := range []any{nil, (*plain)(nil), plain{}, 7} {
		if Replicable(m) {
			t.Errorf("%#v can be made anew", m)
		}
	}
	if n, ok := Size(wrapperspb.String("four")); !ok || n != 6 {
		t.Errorf("size %d, %v; want 6", n, ok)
	}
	if _, ok := Size(&plain{}); ok {
		t.Error("the size of what is no proto is known")
	}
}
