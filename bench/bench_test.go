package main

import (
	"bytes"
	"log"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weft-mesh/weft/mesh"
)

// TestMain also is the servers, as main is.
func TestMain(m *testing.M) {
	if isServers() {
		if err := runServers(os.Stdin, os.Stdout); err != nil {
			log.Fatal("bench servers: ", err)
		}
		return
	}
	os.Exit(m.Run())
}

func startedServers(t *testing.T) *servers {
	t.Helper()
	s, err := startServers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

func testMesh(t *testing.T, s *servers) *mesh.Mesh {
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
	o := options{rounds: 2, slot: 10 * time.Millisecond, callers: callerCounts{1, 4}, only: regexp.MustCompile("")}
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
	if t.Failed() {
		t.Log(out.String())
	}
}

// TestFurtherTargetsAreCheap counts ADS streams in the control plane, and goroutines
// and memory here. Goroutines are exact. Memory is what the runtime has after it
// collected, and its bounds are the design's.
func TestFurtherTargetsAreCheap(t *testing.T) {
	const n = 8
	s := startedServers(t)
	for _, c := range []struct {
		name           string
		measure        func() (targetCost, error)
		kb, goroutines float64
		streams        int
	}{
		{"grpc-go xDS", func() (targetCost, error) { return xdsTargets(t.Context(), s, n) }, 1000, 100, n + firstTargets},
		{"Weft, gRPC", func() (targetCost, error) { return weftTargets(t.Context(), s, n) }, 90, 9, 1},
		{"Weft, HTTP", func() (targetCost, error) { return weftHTTPTargets(t.Context(), s, n) }, 90, 9, 1},
		{"Weft, HTTP, the same target", func() (targetCost, error) { return weftHTTPHandles(t.Context(), s, n) }, 4, 0, 1},
	} {
		got, err := c.measure()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		t.Logf("%s: %.1f KB, %.1f goroutines, %d ADS streams", c.name, got.bytes/1000, got.goroutines, got.streams)
		if got.streams != c.streams {
			t.Errorf("%s: %d targets have %d ADS streams, want %d", c.name, n+firstTargets, got.streams, c.streams)
		}
		if got.goroutines > c.goroutines {
			t.Errorf("%s: a further target has %.1f goroutines, want at most %v", c.name, got.goroutines, c.goroutines)
		}
		if got.bytes > c.kb*1000 {
			t.Errorf("%s: a further target takes %.1f KB, want at most %v", c.name, got.bytes/1000, c.kb)
		}
	}
}
