package main

import (
	"strings"
	"testing"

	"github.com/weft-mesh/weft/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// TestCanary brings out a good version, which stays, and a bad one, which does not.
func TestCanary(t *testing.T) {
	for _, c := range []struct {
		name     string
		bad      bool
		promoted bool
		shows    []string
		hides    []string
	}{
		{"good", false, true, []string{"  1 %: v2 answered", "100 %: v2 answered", "v2 has all the calls.", " 0 failed"}, []string{"back to v1"}},
		{"bad", true, false, []string{"  1 %: v2 answered", "everything goes back to v1.", "v2 gets no call any more."}, []string{"100 %: v2 answered", "v2 has all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			promoted, err := run(t.Context(), &out, c.bad)
			t.Log("\n" + out.String())
			if err != nil || promoted != c.promoted {
				t.Errorf("promoted %v, %v; want %v", promoted, err, c.promoted)
			}
			for _, text := range c.shows {
				if !strings.Contains(out.String(), text) {
					t.Errorf("it does not show %q", text)
				}
			}
			for _, text := range c.hides {
				if strings.Contains(out.String(), text) {
					t.Errorf("it shows %q", text)
				}
			}
		})
	}
}
