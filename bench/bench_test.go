package main

import (
	"bytes"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-mesh/weft/mesh"
)

// TestMain also is the other processes, as main is.
func TestMain(m *testing.M) {
	if ok, err := playRole(); err != nil {
		log.Fatal("bench ", err)
	} else if ok {
		return
	}
	os.Exit(m.Run())
}

func startedServers(t testing.TB) *servers {
	t.Helper()
	s, err := startServers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

func testMesh(t testing.TB, s *servers) *mesh.Mesh {
	t.Helper()
	m, err := newMesh(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeMesh(m); err != nil {
			t.Error(err)
		}
	})
	return m
}

// TestRowsSayHowSureTheyAre looks for a ratio with its interval in every column, of rounds and
// of starts.
func TestRowsSayHowSureTheyAre(t *testing.T) {
	for name, o := range map[string]options{
		"paired":         {rounds: 2, paired: true},
		"starts":         {rounds: 1, starts: 2},
		"starts, paired": {rounds: 1, starts: 2, paired: true},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			o.slot, o.callers, o.only = 10*time.Millisecond, callerCounts{1, 4}, regexp.MustCompile("^h2c: Weft")
			if err := run(t.Context(), &out, o, 2, ""); err != nil {
				t.Fatal(err)
			}
			row := regexp.MustCompile(`(?m)^\| Weft, 100 routes \| [1-9][0-9]+ \| [1-9][0-9]+ (\| [0-9]+\.[0-9]{2} \([0-9]+\.[0-9]{2}–[0-9]+\.[0-9]{2}\) ){3}\|$`)
			if !row.MatchString(out.String()) || strings.Contains(out.String(), "control") {
				t.Errorf("not just the row of Weft, with intervals:\n%s", out.String())
			}
		})
	}
}

// TestIntervalIsOfOrderStatistics has ranks as tables of the sign test give them.
func TestIntervalIsOfOrderStatistics(t *testing.T) {
	for n, want := range map[int][2]float64{1: {1, 1}, 5: {1, 5}, 6: {1, 6}, 9: {2, 8}, 20: {6, 15}, 40: {14, 27}, 100: {40, 61}} {
		var list []float64
		for i := range n {
			list = append(list, float64((i*7919)%n+1))
		}
		if low, high := interval(list); low != want[0] || high != want[1] {
			t.Errorf("of 1 to %d it is %v to %v, want %v to %v", n, low, high, want[0], want[1])
		}
	}
}

// TestTableHasEveryRow runs the command in short and looks for each row with a figure
// in every column.
func TestTableHasEveryRow(t *testing.T) {
	var out bytes.Buffer
	o := options{rounds: 2, slot: 10 * time.Millisecond, changes: 100 * time.Millisecond, callers: callerCounts{1, 4}, only: regexp.MustCompile("")}
	if err := run(t.Context(), &out, o, 2, ""); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for _, p := range protocols {
		for _, path := range p.paths {
			row := regexp.MustCompile(`^\| ` + regexp.QuoteMeta(path.name) + ` \| [1-9][0-9]+ \| [1-9][0-9]+ (\| [0-9]+\.[0-9]{2} ){3}\|$`)
			found := false
			for _, line := range lines {
				found = found || row.MatchString(line)
			}
			if !found {
				t.Errorf("no row %q of %s", path.name, p.name)
			}
		}
	}
	for _, name := range []string{"gRPC", "HTTP/1.1"} {
		for m := range modes {
			row := regexp.MustCompile(`^\| ` + name + ", " + m.String() + ` (\| [0-9]+\.[0-9]{2} ){3}\| .+ \|$`)
			if !slices.ContainsFunc(lines, row.MatchString) {
				t.Errorf("no row %q of %s", m, name)
			}
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
