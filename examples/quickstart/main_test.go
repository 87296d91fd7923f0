package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// A server of net/http takes half a second to end a connection whose request it did not
// read, which is longer than goleak waits.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// TestQuickstart runs the story to its end and looks for what it must have shown.
func TestQuickstart(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	for _, want := range []string{
		"v1: asked 100 %, got 100.0 %",
		"In effect for both protocols",
		"gRPC, x-canary: 1   v1: asked   0 %, got   0.0 %  v2: asked 100 %, got 100.0 %",
		"HTTP, x-canary: 1   v1: asked   0 %, got   0.0 %  v2: asked 100 %, got 100.0 %",
		`"v3" is not defined`,
		`did you mean "v1"?`,
		" 0 failed.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story does not show %q", want)
		}
	}
}
