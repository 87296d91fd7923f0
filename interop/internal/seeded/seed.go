// Package seeded has tests that go by chance go the same way once more.
package seeded

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// seedVar replays a run.
const seedVar = "WEFT_SEED"

// Seed is what the generators of a test begin with: by chance, unless the environment has
// WEFT_SEED, which a test that fails says how to set.
func Seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv(seedVar); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 0, 64); err != nil {
			t.Fatalf("%s: %v", seedVar, err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			folder, _ := os.Getwd() // where a test runs is its package
			t.Logf("once more: %s=%d go test -run '^%s$' ./%s", seedVar, n, strings.ReplaceAll(t.Name(), "/", "$/^"), filepath.Base(folder))
		}
	})
	return n
}
