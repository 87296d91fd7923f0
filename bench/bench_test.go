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
