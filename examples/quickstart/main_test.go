package main

import (
	"strings"
	"testing"

	"github.com/weft-mesh/weft/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

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
